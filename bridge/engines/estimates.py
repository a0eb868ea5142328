"""Estimates: what follows from theta, on the data's own scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from bridge.engines.deviance import Point
from bridge.engines.products import Products
from bridge.model import Matrix, Vector


@dataclass(frozen=True, eq=False, slots=True)
class Estimates:
    """Variances, not sds.

    Attributes
    ----------
    beta, std_error : (p,) arrays
        Coefficients and sqrt diag Phi.
    sigma2 : float
    G, b : tuple of (k, k) and (q, k) arrays
        Per term, in the formula's order.
    """

    beta: Vector
    std_error: Vector
    sigma2: float
    G: tuple[Matrix, ...]
    b: tuple[Matrix, ...]


def estimates(p: Products, best: Point) -> Estimates:
    """Coefficients, standard errors, variances and BLUPs at a point."""
    at, of_y, m = best.stage, best.solved, p.m
    sigma2 = p.scale**2 * float(at.L[m, m]) ** 2 / p.nu
    root = lapack.dtrtri(at.L[p.q2 : m, p.q2 : m], lower=1)[0] @ p.T.T if p.p else p.T
    G, b = [], []
    for t in p.terms:
        own = at.factors[t.block][t.at, t.at]
        factor = t.T @ own
        G.append(sigma2 * factor @ factor.T)
        b.append((p.scale * factor @ (own.T @ of_y.a[t.block][t.at])).T)
    return Estimates(
        beta=p.beta + p.scale * (p.T @ of_y.w[p.q2 :]),
        std_error=math.sqrt(sigma2) * np.sqrt((root**2).sum(0)),
        sigma2=sigma2,
        G=tuple(G),
        b=tuple(b),
    )
