"""Screen: does a cluster's size go with its mean? If so, lm and the mixed model estimate different things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.leverage import sums
from bridge.model import Model, Vector

if TYPE_CHECKING:
    from bridge.leverage import Grouping, Leverage

SPREAD = 1.5
"""Largest over smallest cluster from which sizes are told apart; fewer rows of one may just be missing."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Regression of cluster means on their mean x and log n, weighted by 1 / variance at given theta.

    Attributes
    ----------
    slope : float
        Change of a cluster's mean when its size is e times as large; NaN if it cannot be had.
    std_error : float
        At the given covariances.
    reason : str
        Why there is none.
    """

    slope: float = np.nan
    std_error: float = np.nan
    reason: str = ""

    @property
    def z(self) -> float:
        """Slope in standard errors."""
        return self.slope / self.std_error


def screen(model: Model, found: Leverage, g: Grouping | None, noise: Vector) -> Screen:
    """Screen for informative cluster size (Kahan, Li, Copas & Harhay 2023, doi 10.1093/ije/dyac131).

    Parameters
    ----------
    g : Grouping or None
        The independent one; None if there is none.
    noise : (n,) array
        Residual variance of each row.
    """
    if g is None:
        return Screen(reason="there are no independent clusters")
    number = len(g.levels)
    n = np.bincount(g.index, minlength=number)
    if np.all(n == n[0]):
        return Screen(reason="all clusters have the same size")
    if n.max() <= SPREAD * n.min():
        return Screen(reason="cluster sizes hardly differ")
    y = model.y if model.offset is None else model.y - model.offset
    part = 1 / n[g.index]
    variance = sums(part**2 * noise, g.index, number)
    for other in found.groupings:
        home = np.zeros(len(other.levels), dtype=np.intp)
        home[other.index] = g.index
        through = sums(part[:, None] * other.Z, other.index, len(other.levels))
        variance += sums(np.einsum("jk,kl,jl->j", through, other.psi, through), home, number)
    X = sums(model.X * part[:, None], g.index, number)
    size = np.log(n)
    half = 1 / np.sqrt(variance)
    basis, triangle = np.linalg.qr(half[:, None] * X)
    keep = np.abs(np.diag(triangle)) > 1e-10 * np.max(np.abs(triangle), initial=1e-300)
    if number <= int(np.sum(keep)) + 1:
        return Screen(reason="there are too few clusters")
    own = half * size - basis @ (basis.T @ (half * size))
    length = float(own @ own)
    if length < 1e-10 * float(np.sum((half * size) ** 2)):
        return Screen(reason="the model's predictors determine the cluster sizes")
    mean = sums(part * (y - model.X @ found.beta), g.index, number)
    return Screen(float(own @ (half * mean)) / length, 1 / float(np.sqrt(length)))
