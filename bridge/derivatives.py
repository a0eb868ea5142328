"""Derivatives: how the criterion, beta and Phi move with the variance parameters, by algebra alone.

Along a direction, V0 = V / sigma2 moves by Z S Z' with S symmetric and the same in each level of a
term. With N = P0 (REML) or V0^-1 (ML), P0 = V0^-1 - V0^-1 X Phi0 X'V0^-1 and s = Z'P0 y:

* d (log|V0| [+ log|X'V0^-1 X|]) = tr N Z S_i Z', and by j: tr N Z S_ij Z' - tr N Z S_i Z' N Z S_j Z';
* d r2 = -s'S_i s, and by j: 2 s'S_i Z'P0 Z S_j s - s'S_ij s;
* d beta = -Phi0 X'V0^-1 Z S_i s, d Phi0 = Phi0 X'V0^-1 Z S_i Z'V0^-1 X Phi0.

Harville (1977), doi 10.1080/01621459.1977.10480998; Lindstrom & Bates (1988), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bridge.criterion import Criterion, Factors, Point
from bridge.model import Matrix, Vector
from bridge.structure import Bucket

Direction = tuple[int, Matrix]
"""Random term and a symmetric (k, k) matrix S in its Structure's coordinates."""


@dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Sums over the units of rows, X orthonormal in V0^-1 (so that Phi0 = I).

    Attributes
    ----------
    trace : (d,) array
        tr V0^-1 V_i, V_i = Z S_i Z'.
    product : (d, d) array
        tr V0^-1 V_i V0^-1 V_j.
    first : (d, p, p) array
        X'V0^-1 V_i V0^-1 X.
    second : (d, d, p, p) array
        X'V0^-1 V_i V0^-1 V_j V0^-1 X.
    pull : (d, p) array
        X'V0^-1 V_i P0 y.
    push : (d,) array
        y'P0 V_i P0 y.
    cross : (d, d) array
        y'P0 V_i V0^-1 V_j P0 y.
    """

    trace: Vector
    product: Matrix
    first: Matrix
    second: Matrix
    pull: Matrix
    push: Vector
    cross: Matrix

    @classmethod
    def of(cls, point: Point, directions: Sequence[Direction]) -> Moments:
        """At a Point, along each direction."""
        d, p = len(directions), len(point.beta)
        inverse = np.linalg.pinv(point.RX)
        trace, push, pull = np.zeros(d), np.zeros(d), np.zeros((d, p))
        product, cross = np.zeros((d, d)), np.zeros((d, d))
        first, second = np.zeros((d, p, p)), np.zeros((d, d, p, p))
        for w in point.rows:
            M = np.swapaxes(w.Z, 1, 2) @ w.Z
            C = np.swapaxes(w.X @ inverse, 1, 2) @ w.Z
            s = np.einsum("jmq,jm->jq", w.Z, w.y - w.X @ point.beta)
            MS, CS, sS = ([_times(A, w.bucket, S) for S in directions] for A in (M, C, s))
            for i in range(d):
                trace[i] += np.einsum("jqq->", MS[i])
                first[i] += np.einsum("jpq,jrq->pr", CS[i], C)
                pull[i] += np.einsum("jpq,jq->p", CS[i], s)
                push[i] += np.sum(sS[i] * s)
                CSM, sSM = CS[i] @ M, np.einsum("jq,jqr->jr", sS[i], M)
                for j in range(d):
                    product[i, j] += np.sum(MS[i] * np.swapaxes(MS[j], 1, 2))
                    second[i, j] += np.einsum("jpq,jrq->pr", CSM, CS[j])
                    cross[i, j] += np.sum(sSM * sS[j])
            if w.eliminated is not None:
                e = w.eliminated
                Ce, se = (e.X @ inverse).T, e.y - e.X @ point.beta
                size = np.array([S[0, 0] if t == e.pivot.term else 0.0 for t, S in directions])
                both = np.outer(size, size)
                trace += size * np.sum(e.diagonal)
                first += size[:, None, None] * (Ce @ Ce.T)
                pull += size[:, None] * (Ce @ se)
                push += size * (se @ se)
                product += both * e.squares
                second += both[:, :, None, None] * (e.times(Ce) @ Ce.T)
                cross += both * (e.times(se) @ se)
                CZ, sZ = Ce @ e.Z, se @ e.Z
                for i, j in np.ndindex(d, d):
                    if size[i] and not size[j]:
                        product[[i, j], [j, i]] += size[i] * np.sum(
                            _times(e.Z, w.bucket, directions[j]) * e.Z
                        )
                        second[i, j] += size[i] * CZ @ CS[j][0].T
                        second[j, i] += size[i] * CS[j][0] @ CZ.T
                        cross[[i, j], [j, i]] += size[i] * sZ @ sS[j][0]
        return cls(trace, product, first, second, pull, push, cross)

    @property
    def projected(self) -> Matrix:
        """(d, d): tr P0 V_i P0 V_j, twice sigma2^2 times REML's expected information."""
        once = np.einsum("ijpp->ij", self.second)
        twice = np.einsum("ipr,jrp->ij", self.first, self.first)
        return np.asarray(self.product - once - once.T + twice, float)


@dataclass(frozen=True, eq=False, slots=True)
class Derivatives:
    """First and second derivatives by theta, the entries of relative factors along given directions.

    Attributes
    ----------
    log_det, log_det2 : (d,) and (d, d) arrays
        Of log|V0|, for REML plus log|X'V0^-1 X|.
    r2, r22 : (d,) and (d, d) arrays
        Of the penalised residual sum of squares.
    beta : (p, d) array
        Of beta, user's coding and units.
    phi0 : (d, p, p) array
        Of Phi / sigma2, user's coding and units.
    """

    log_det: Vector
    log_det2: Matrix
    r2: Vector
    r22: Matrix
    beta: Matrix
    phi0: Matrix

    @classmethod
    def of(cls, criterion: Criterion, point: Point, directions: Sequence[Direction]) -> Derivatives:
        """Along directions dLambda (k, k) of one term each, from ``point.factors``."""
        factors = point.factors
        slopes = [(t, D @ factors[t].T + factors[t] @ D.T) for t, D in directions]
        m = Moments.of(point, slopes)
        reml = criterion.method == "REML"
        log_det = m.trace - (np.einsum("ipp->i", m.first) if reml else 0.0)
        log_det2 = -(m.projected if reml else m.product)
        r22 = 2 * (m.cross - m.pull @ m.pull.T)
        bends = [
            (i, j, t, D @ E.T + E @ D.T)
            for i, (t, D) in enumerate(directions)
            for j, (u, E) in enumerate(directions)
            if t == u
        ]
        gamma = criterion.gamma(point)
        scale = criterion.nu / point.r2
        for i, j, t, S in bends:
            total, curve = gamma[t]
            log_det2[i, j] += np.sum(curve * S)
            r22[i, j] -= np.sum((curve - total) * S) / scale
        half = criterion.structure.fixed.T @ np.linalg.pinv(point.RX)
        return cls(
            log_det,
            log_det2,
            -m.push,
            r22,
            -half @ m.pull.T / criterion.structure.unit,
            half @ m.first @ half.T,
        )

    def gradient(self, r2: float, nu: int) -> Vector:
        """(d,): of the profiled criterion."""
        return self.log_det + nu * self.r2 / r2

    def hessian(self, r2: float, nu: int) -> Matrix:
        """(d, d): of the profiled criterion."""
        return self.log_det2 + nu * (self.r22 / r2 - np.outer(self.r2, self.r2) / r2**2)


def triangles(factors: Factors) -> list[Direction]:
    """Unit directions of theta: lower triangles by rows, one term after the other."""
    return [
        (t, np.outer(np.eye(len(L))[a], np.eye(len(L))[b]))
        for t, L in enumerate(factors)
        for a, b in zip(*np.tril_indices(len(L)), strict=True)
    ]


def _times(A: Matrix, bucket: Bucket, direction: Direction) -> Matrix:
    """A (..., q) times S in each block of its term, zero elsewhere."""
    t, S = direction
    out = np.zeros_like(A)
    starts = [offset for owner, offset in zip(bucket.blocks, bucket.offsets, strict=False) if owner == t]
    if starts:
        columns = (np.array(starts)[:, None] + np.arange(len(S))).ravel()
        blocks = A[..., columns].reshape(*A.shape[:-1], len(starts), len(S))
        out[..., columns] = (blocks @ S).reshape(*A.shape[:-1], columns.size)
    return out
