"""Fits: what comes of a batch, on the data's own scales."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bridge.batch.curve import stage
from bridge.batch.descent import columns, optimum
from bridge.batch.inference import halves, kenward_roger, satterthwaite
from bridge.batch.plan import Plan, Sums
from bridge.errors import DataError
from bridge.model import Matrix, Vector

LANE = 1024
"""Replicates that move together. Memory beyond the responses is that of one lane, whatever their number."""


@dataclass(frozen=True, eq=False, slots=True)
class Fits:
    """r fits of one plan. Variances, not sds; replicates first.

    Attributes
    ----------
    beta, std_error, df : (r, p) arrays
        sqrt diag Phi; Satterthwaite's df, with zero variances taken as known (lmerTest's rule).
    adjusted_error, adjusted_df : (r, p) arrays
        Kenward and Roger's; NaN under ML or if not wanted.
    G : (r, k, k) array
        Covariance of the random effects; terms of one factor as blocks.
    sigma2, loglik : (r,) arrays
    converged : (r,) bool array
        The next Newton step would gain less than rounding.
    singular : (r,) bool array
        Some direction has exactly zero variance.
    """

    beta: Matrix
    std_error: Matrix
    df: Matrix
    adjusted_error: Matrix
    adjusted_df: Matrix
    G: Matrix
    sigma2: Vector
    loglik: Vector
    converged: NDArray[np.bool_]
    singular: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: list[Fits]) -> Fits:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def fit(plan: Plan, Y: Matrix, *, adjusted: bool = False, lane: int = LANE) -> Fits:
    """Fit every response to the plan's design.

    Parameters
    ----------
    plan : Plan
    Y : (r, n) array
        Responses, rows in the order of the plan's model.
    adjusted : bool
        Kenward and Roger's standard errors and df too (REML alone).
    lane : int
        Replicates at a time; memory grows with it, not with r.

    Raises
    ------
    DataError
        Y has no rows, rows of another length, or numbers that are not finite.
    """
    Y = np.asarray(Y, float)
    if Y.ndim != 2 or Y.shape[1] != plan.n or not len(Y):
        raise DataError(f"responses: an array of shape {Y.shape}; give (replicates, {plan.n})")
    return Fits.joined([_lane(plan, Y[i : i + lane], adjusted) for i in range(0, len(Y), lane)])


def _lane(plan: Plan, Y: Matrix, adjusted: bool) -> Fits:
    if not np.isfinite(Y).all():
        raise DataError("responses: some are NaN or infinite; leave those replicates out")
    s = Sums.of(plan, Y)
    best, converged = optimum(s)
    at = stage(s, best.theta)
    sigma = s.scale * np.sqrt(at.r2 / plan.nu)
    half = halves(s, at)
    inner = np.einsum("ij,jbr->ibr", plan.U, at.factor)
    extra = kenward_roger(s, at) if adjusted and plan.reml else [np.full((plan.p, len(Y)), np.nan)] * 2
    return Fits(
        beta=(s.beta + s.scale * (plan.T @ at.tail)).T,
        std_error=(np.sqrt(np.einsum("imr,imr->ir", half, half)) * sigma).T,
        df=satterthwaite(s, at).T,
        adjusted_error=extra[0].T,
        adjusted_df=extra[1].T,
        G=np.einsum("ibr,jbr->rij", inner, inner) * (sigma**2)[:, None, None],
        sigma2=sigma**2,
        loglik=-at.value / 2,
        converged=converged,
        singular=(columns(plan, best.theta) == 0).any(0),
    )
