"""Inference: standard errors and denominator degrees of freedom of each coefficient, at the optima.

The rules are those of `bridge.denominator`, in the sums that the fit has at hand anyway.
"""

from __future__ import annotations

import numpy as np

from bridge.batch import lanes
from bridge.batch.curve import Stage, curvature, directions, slopes
from bridge.batch.plan import Sums
from bridge.model import Matrix


def halves(s: Sums, at: Stage) -> Matrix:
    """A (p, p, r) with A A' = Phi / sigma2, user's coefficients, relative to the unit of y."""
    found: Matrix = np.einsum("ij,mjr->imr", s.plan.T, at.B)
    return found


def satterthwaite(s: Sums, at: Stage) -> Matrix:
    """Satterthwaite's df (p, r), 2 v^2 / g'A g; NaN where the Hessian is not positive definite.

    Where a column of Lambda is zero, its directions drop out, as they do in lmerTest: v does not depend
    on them to first order. With no variance left these are the n - p of ordinary least squares.
    """
    plan, sigma2 = s.plan, at.r2 / s.plan.nu
    m = slopes(at, directions(s, at.factor))
    logs, squares, _, _ = curvature(s, at, m, 1 / sigma2)
    d, r = m.trace.shape
    H = np.empty((d + 1, d + 1, r))
    H[:d, :d] = logs + squares
    H[d, :d] = H[:d, d] = m.push / sigma2
    H[d, d] = plan.nu
    empty = np.einsum("abr,abr->br", at.factor, at.factor) == 0
    gone = np.append(empty[plan.basis.sum(1).argmax(1)], np.zeros((1, r), bool), 0)
    H = np.where(gone[:, None] | gone, np.eye(d + 1)[:, :, None], H)
    half = halves(s, at)
    v = np.einsum("imr,imr->ir", half, half)
    g = np.concatenate([np.einsum("imr,jmsr,isr->jir", half, m.first, half), v[None]])
    scale = 1 / np.sqrt(np.abs(np.einsum("iir->ir", H)))
    W = lanes.inverse(lanes.root(H * scale * scale[:, None]))
    along = np.einsum("ijr,jpr->ipr", W, scale[:, None] * g)
    out: Matrix = v**2 / (along * along).sum(0)
    return out


def kenward_roger(s: Sums, at: Stage) -> tuple[Matrix, Matrix]:
    """Kenward and Roger's standard errors and df, (p, r) each, for REML; NaN if undefined.

    Defined where variances are zero: the expected information is that of the entries of Psi.
    """
    plan, r = s.plan, len(at.r2)
    p, fixed = plan.p, plan.basis + plan.basis.swapaxes(1, 2)
    m = slopes(at, np.repeat(fixed[:, :, :, None], r, 3), whole=True)
    d = len(fixed) + 1
    P = np.empty((d, p, p, r))
    P[0], P[1:] = np.eye(p)[:, :, None], m.first
    Q = np.empty((d, d, p, p, r))
    Q[0, 1:] = Q[1:, 0] = m.first
    Q[0, 0], Q[1:, 1:] = np.eye(p)[:, :, None], m.second
    K = np.empty((d, d, r))
    K[0, 1:] = K[1:, 0] = m.trace
    K[0, 0], K[1:, 1:] = plan.n, m.product
    information = K - 2 * np.einsum("ijppr->ijr", Q) + np.einsum("ipsr,jspr->ijr", P, P)
    scale = 1 / np.sqrt(np.einsum("iir->ir", information))
    root = lanes.inverse(lanes.root(information * scale * scale[:, None])) * scale
    W = 2 * np.einsum("mir,mjr->ijr", root, root)
    U = np.einsum("ijr,ijpsr->psr", W, Q) - np.einsum("ijr,iptr,jtsr->psr", W, P, P)
    half = halves(s, at)
    v = np.einsum("imr,imr->ir", half, half)
    t = np.einsum("kpr,ipsr,ksr->ikr", half, P, half) / v
    adjusted = v + 2 * np.einsum("kpr,psr,ksr->kr", half, U, half)
    sigma = s.scale * np.sqrt(at.r2 / plan.nu)
    return np.sqrt(adjusted) * sigma, 2 / np.einsum("ijr,ikr,jkr->kr", W, t, t)
