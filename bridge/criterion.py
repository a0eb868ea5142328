"""Criterion: minus twice the REML or ML log-likelihood, exactly, and all that follows from theta.

STATISTICS: Bates, Maechler, Bolker & Walker (2015), J. Stat. Softw. 67(1), section 3. The
algebra here goes through orthogonal factors of the augmented rows [Z Lambda, X, y; I, 0, 0]
and never forms a cross-product, so it shares neither code nor rounding errors with an engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bridge.fit import Method
from bridge.model import Matrix, Model, Vector
from bridge.pivot import Eliminated, Pivot
from bridge.residual import settled
from bridge.structure import Bucket, Structure, triangle

EPS = float(np.finfo(float).eps)
Factors = tuple[Matrix, ...]
"""One (k, k) relative factor Lambda per random term, in the Structure's coordinates; any square root."""


@dataclass(frozen=True, eq=False, slots=True)
class Whitened:
    """A bucket's rows after V0^(-1/2), V0 = I + Z Lambda Lambda' Z': inner products are V0^-1 ones.

    Those with the columns of a term that is eliminated from the bucket are in `eliminated`.
    """

    bucket: Bucket
    Z: Matrix
    X: Matrix
    y: Matrix
    eliminated: Eliminated | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The criterion at one Lambda, and what follows from it by linear algebra.

    Everything is in the Structure's coordinates; `Criterion` has the way back.

    Attributes
    ----------
    value : float
        Profiled criterion (deviance scale, the user's units of y and X).
    bound : float
        Estimate of its rounding error, absolute.
    sigma2 : float
        Profiled residual variance r2 / nu.
    beta : (p,) array
    RX : (p, p) upper triangle, ``RX' RX = X' V0^-1 X``
    log_L, log_RX : float
        log|L| and log|R_X| (the latter in the user's coding of X).
    r2 : float
        Penalised residual sum of squares.
    rows : tuple of Whitened
    """

    value: float
    bound: float
    sigma2: float
    beta: Vector
    RX: Matrix
    log_L: float
    log_RX: float
    r2: float
    factors: Factors
    rows: tuple[Whitened, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Criterion:
    """The criterion of one model by one method.

    Attributes
    ----------
    structure : Structure
    method : {"REML", "ML"}
    """

    structure: Structure
    method: Method

    @classmethod
    def of(cls, model: Model, method: Method, errors: Vector) -> Criterion:
        """That of a model, settled at its errors' parameters; empty for plain errors."""
        return cls(Structure.of(settled(model, errors)), method)

    @property
    def nu(self) -> int:
        """Degrees of freedom of sigma2: n - p for REML, n for ML."""
        model = self.structure.model
        return model.n - model.p if self.method == "REML" else model.n

    def at(self, factors: Factors) -> Point:
        """Evaluate at relative factors (theta), sigma2 and beta profiled out."""
        p = self.structure.model.p
        log_L, size, rows = 0.0, 0.0, []
        for bucket in self.structure.buckets:
            whitened, logs = _whiten(bucket, factors)
            rows.append(whitened)
            log_L += float(np.sum(logs))
            size += float(np.sum(np.abs(logs)))
        stacked = np.concatenate(
            [np.concatenate([w.X, w.y[:, :, None]], axis=2).reshape(-1, p + 1) for w in rows]
        )
        R = triangle(stacked)
        RX, rhs = R[:p, :p], R[:p, p]
        r2 = float(R[p, p] ** 2) if len(R) > p else 0.0
        diagonal = np.abs(np.diag(RX))
        deficient = bool(np.any(diagonal <= EPS * 100 * np.max(diagonal, initial=0.0)))
        beta = np.linalg.lstsq(RX, rhs)[0] if deficient else np.linalg.solve(RX, rhs)
        with np.errstate(divide="ignore"):
            logs = np.log(diagonal)
            log_RX = float(np.sum(logs)) - self.structure.fixed.logdet
        per_row = math.log(2 * math.pi * r2 / self.nu) if r2 > 0 else -math.inf
        value = 2 * log_L + self.nu * (1 + per_row - 2 * math.log(self.structure.unit))
        if self.method == "REML":
            value += 2 * log_RX
        value -= self.structure.log_weights
        reach = float(np.linalg.norm(R[:, p]) + np.linalg.norm(RX) * np.linalg.norm(beta))
        wide = 4 + math.sqrt(max(w.y.size for w in rows))
        size += float(np.sum(np.abs(logs))) + self.nu * (4 + 2 * reach / max(math.sqrt(r2), 1e-300))
        size += abs(self.structure.log_weights)
        bound = EPS * wide * size
        return Point(
            value, bound, r2 / self.nu, np.asarray(beta, float), RX, log_L, log_RX, r2, factors, tuple(rows)
        )

    def unprofiled(self, psi: Factors, sigma2: float) -> tuple[float, Point]:
        """The criterion at a given (Psi, sigma2) of the user's scale, and the Point at its Lambda.

        Parameters
        ----------
        psi : tuple of (k, k) arrays
            Covariances, variance scale, user's coordinates, one per random term.
        sigma2 : float
            Residual variance, user's scale.
        """
        point = self.at(self.factors(psi, sigma2))
        inner = sigma2 * self.structure.unit**2
        value = point.value + self.nu * (math.log(inner / point.sigma2) - 1) + point.r2 / inner
        return value, point

    def factors(self, psi: Factors, sigma2: float) -> Factors:
        """(Psi, sigma2) of the user's scale -> relative factors; negative eigenvalues are cut to 0."""
        inner = sigma2 * self.structure.unit**2
        return tuple(root(G / inner) for G in self.structure.inward(psi))

    def psi(self, point: Point) -> Factors:
        """The user's covariances (variance scale) at a Point."""
        return self.structure.outward(tuple(point.sigma2 * L @ L.T for L in point.factors))

    def sigma2(self, point: Point) -> float:
        """Residual variance, user's scale."""
        return point.sigma2 / self.structure.unit**2

    def beta(self, point: Point) -> Vector:
        """Fixed effects, user's coding and units."""
        return self.structure.beta_outward(point.beta)

    def phi(self, point: Point, sigma2: float | None = None) -> Matrix:
        """Phi = (X'V^-1 X)^-1, (p, p), user's coding and units; `sigma2` (user's scale) if not profiled."""
        half = self.structure.fixed.T @ np.linalg.pinv(point.RX)
        scale = self.sigma2(point) if sigma2 is None else sigma2
        return scale * half @ half.T

    def gamma(self, point: Point) -> tuple[tuple[Matrix, Matrix], ...]:
        """Per term, sum over levels of Z_l'M Z_l - (nu / r2) s_l s_l', and of Z_l'M Z_l alone.

        M is P (REML) or V0^-1 (ML), s = Z'V0^-1(y - X beta). The first is sigma2 times the
        Gamma of the boundary test, and the gradient with respect to Lambda is twice it times Lambda.
        """
        sizes = [c.T.shape[0] for c in self.structure.terms]
        total = [np.zeros((k, k)) for k in sizes]
        curve = [np.zeros((k, k)) for k in sizes]
        inverse = np.linalg.pinv(point.RX)
        for w in point.rows:
            residual = w.y - w.X @ point.beta
            s = np.einsum("jmq,jm->jq", w.Z, residual)
            W = np.einsum("jmq,jmp->jqp", w.Z, w.X) @ inverse
            for b, t in enumerate(w.bucket.blocks):
                cut = slice(w.bucket.offsets[b], w.bucket.offsets[b + 1])
                Zb = w.Z[:, :, cut]
                M = np.einsum("jmk,jml->kl", Zb, Zb)
                if self.method == "REML":
                    M -= np.einsum("jkp,jlp->kl", W[:, cut], W[:, cut])
                curve[t] += M
                total[t] += M - (self.nu / point.r2) * np.einsum("jk,jl->kl", s[:, cut], s[:, cut])
            if (e := w.eliminated) is not None:
                t, seen = e.pivot.term, float(np.sum(e.diagonal))
                if self.method == "REML":
                    seen -= float(np.sum((e.X @ inverse) ** 2))
                curve[t] += seen
                total[t] += seen - (self.nu / point.r2) * np.sum((e.y - e.X @ point.beta) ** 2)
        return tuple(zip(total, curve, strict=True))

    def gradient(self, point: Point) -> Factors:
        """Derivative of value by Lambda, per term, every entry free."""
        return tuple(2 * g @ L for (g, _), L in zip(self.gamma(point), point.factors, strict=True))

    def blups(self, point: Point, beta: Vector | None = None) -> tuple[Matrix, ...]:
        """Conditional modes ``b_l = G Z_l'V^-1(y - X beta)``, per term (levels, k), user's units.

        `beta` (user's units) is the engine's own where its answer is checked against itself.
        """
        inner = point.beta if beta is None else self.structure.beta_inward(beta)
        out = [np.zeros((len(t.levels), t.Z.shape[1])) for t in self.structure.model.random]
        for w in point.rows:
            s = np.einsum("jmq,jm->jq", w.Z, w.y - w.X @ inner)
            for b, t in enumerate(w.bucket.blocks):
                cut = slice(w.bucket.offsets[b], w.bucket.offsets[b + 1])
                L = point.factors[t]
                out[t][w.bucket.levels[:, b]] = s[:, cut] @ (L @ L.T)
            if (e := w.eliminated) is not None:
                L = point.factors[e.pivot.term]
                out[e.pivot.term][e.pivot.levels] = (e.y - e.X @ inner)[:, None] @ (L @ L.T)
        return tuple(b @ c.T.T / self.structure.unit for b, c in zip(out, self.structure.terms, strict=True))

    def floors(self, point: Point) -> Factors:
        """F_t, the mean over levels of (Z_l'V_(-t)^-1 Z_l)^-1: variance with which one level is seen.

        Variance scale, user's coordinates. V_(-t) is V without term t.
        """
        out = []
        for t, term in enumerate(self.structure.model.random):
            k = term.Z.shape[1]
            without = tuple(np.zeros_like(L) if i == t else L for i, L in enumerate(point.factors))
            seen = []
            for w in self.at(without).rows:
                for b in [b for b, owner in enumerate(w.bucket.blocks) if owner == t]:
                    Zb = w.Z[:, :, w.bucket.offsets[b] : w.bucket.offsets[b + 1]]
                    seen.append(np.einsum("jmk,jml->jkl", Zb, Zb))
                if w.eliminated is not None and w.eliminated.pivot.term == t:
                    seen.append(w.eliminated.diagonal[:, None, None])
            A = np.concatenate(seen) if seen else np.zeros((0, k, k))
            eigenvalues = np.linalg.eigvalsh(A)
            good = eigenvalues[:, 0] > 1e-10 * np.maximum(eigenvalues[:, -1], 1e-300)
            F = np.mean(np.linalg.inv(A[good]), axis=0) if good.any() else np.linalg.pinv(np.mean(A, axis=0))
            out.append(point.sigma2 * F)
        return self.structure.outward(tuple(out))


def root(G: Matrix) -> Matrix:
    """A square root L of the nearest positive semidefinite matrix, ``L L' = G``, lower triangular."""
    values, vectors = np.linalg.eigh((G + G.T) / 2)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    return lower(half)


def lower(half: Matrix) -> Matrix:
    """Lower triangular L with the same ``L L'``, diagonal >= 0 (theta's shape)."""
    R = triangle(half.T)
    sign = np.where(np.diag(R) < 0, -1.0, 1.0)
    return np.asarray(np.tril((sign[:, None] * R).T))


def _whiten(bucket: Bucket, factors: Factors) -> tuple[Whitened, Vector]:
    """Orthogonal reduction of [Z Lambda, Z, X, y; I, 0, 0, 0]; returns log|diag| of its first block."""
    if bucket.pivot is not None:
        return _eliminate(bucket, bucket.pivot, factors)
    q = bucket.offsets[-1]
    if q == 0:
        return Whitened(bucket, bucket.Z, bucket.X, bucket.y), np.zeros(0)
    R = _reduce(bucket, _spread(bucket, factors))
    logs = np.log(np.abs(np.diagonal(R[:, :q, :q], axis1=1, axis2=2)))
    T = R[:, q:, q:]
    return Whitened(bucket, T[:, :, :q], T[:, :, q:-1], T[:, :, -1]), logs.ravel()


def _spread(bucket: Bucket, factors: Factors) -> Matrix:
    """Block-diagonal Lambda (q, q) of one unit."""
    q = bucket.offsets[-1]
    Lambda = np.zeros((q, q))
    for b, t in enumerate(bucket.blocks):
        cut = slice(bucket.offsets[b], bucket.offsets[b + 1])
        Lambda[cut, cut] = factors[t]
    return Lambda


def _reduce(bucket: Bucket, Lambda: Matrix) -> Matrix:
    """Orthogonal factors R of [Z Lambda, Z, X, y; I, 0, 0, 0], one a unit."""
    J, m, q = bucket.Z.shape
    p = bucket.X.shape[2]
    A = np.zeros((J, m + q, 2 * q + p + 1))
    A[:, :m, :q] = bucket.Z @ Lambda
    A[:, :m, q : 2 * q] = bucket.Z
    A[:, :m, 2 * q : -1] = bucket.X
    A[:, :m, -1] = bucket.y
    A[:, m:, :q] = np.eye(q)
    return triangle(A)


def _eliminate(bucket: Bucket, pivot: Pivot, factors: Factors) -> tuple[Whitened, Vector]:
    """`_whiten` of a unit with a pivot: its scaled rows join the others, which then have no pivot."""
    q, factor = bucket.offsets[-1], float(factors[pivot.term][0, 0])
    scale, rows = pivot.scaled(factor)
    rest = np.concatenate([bucket.Z, bucket.X, bucket.y[:, :, None]], axis=2)[0]
    joined = triangle(np.concatenate([rows, rest]))[None]
    whole = replace(bucket, Z=joined[:, :, :q], X=joined[:, :, q:-1], y=joined[:, :, -1], pivot=None)
    Lambda = _spread(bucket, factors)
    R = _reduce(whole, Lambda)
    logs = np.log(np.abs(np.diagonal(R[0, :q, :q])))
    T = R[:, q:, q:]
    found = Eliminated.of(pivot, factor, Lambda, R[0, :q])
    return Whitened(bucket, T[:, :, :q], T[:, :, q:-1], T[:, :, -1], found), np.r_[logs, -np.log(scale)]
