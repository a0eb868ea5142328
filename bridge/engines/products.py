"""Products: cross-products of a model, and its profiled criterion at any theta, at a cost without n.

With V = I + sum_t Z_t Lambda_t Lambda_t' Z_t' (relative to sigma2) the criterion needs log|V| and
V^-1-products of [X y]. The terms of the largest grouping factor come first: in each level Z_l = Q_l R_l,
so that V_l is I outside the span of Q_l and M_l = I + R_l Lambda Lambda' R_l' in it. Products of the
other terms Z2, of X and of y are then E (outside, constant) + sum_l C_l' M_l^-1 C_l, a sum without
cancellation; the dense Cholesky factor of what remains gives beta and the rest of the determinant.

Every function of theta takes a stack (s, d) of them: a Hessian by differences of the analytic gradient,
or a whole line of starts, costs one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.engines.orthogonal import coordinates, level_bases, orthonormal, sums
from bridge.errors import ModelError
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector

CHUNK = 4_000_000  # doubles in one pass over a stack of theta


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """A random term in its own orthonormal coordinates: Z T has T'Z'Z T = n I.

    Attributes
    ----------
    position : int
        In the formula's order.
    k, q : int
        Columns and levels.
    at : slice
        Its columns among those of the eliminated factor, or its k q columns in Z2 (level by level).
    theta : slice
        Its part of theta, the lower triangle by columns.
    T : (k, k) array
        b = T b', G = T G' T'.
    """

    position: int
    k: int
    q: int
    at: slice
    theta: slice
    T: Matrix
    tril: tuple[NDArray[np.intp], NDArray[np.intp]]

    def factor(self, thetas: Matrix) -> Matrix:
        """Lambda (s, k, k) of a stack of theta."""
        L = np.zeros((len(thetas), self.k, self.k))
        L[:, self.tril[0], self.tril[1]] = thetas[:, self.theta]
        return L


@dataclass(frozen=True, eq=False, slots=True)
class Values:
    """The criterion (minus twice the log-likelihood) at a stack of theta.

    Attributes
    ----------
    value : (s,) array
    gradient : (s, d) array
    gamma : tuple of (s, k, k) arrays
        Per term, half the derivative with respect to G/sigma2: `Gamma` of the boundary test.
    noise : tuple of (s,) arrays
        Size of the two parts that Gamma is the difference of.
    """

    value: Vector
    gradient: Matrix
    gamma: tuple[Matrix, ...]
    noise: tuple[Vector, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Solution:
    """What follows from theta, on the data's own scales; variances, not sds."""

    beta: Vector
    std_error: Vector
    sigma2: float
    G: tuple[Matrix, ...]
    b: tuple[Matrix, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """Where both eliminations stand, at a stack of s thetas.

    Attributes
    ----------
    Lambda, L1 : (s, k, k), (s, q, k, k) arrays
        Factor of the eliminated terms side by side; L1 L1' = M_l.
    Y : (s, q, k, k + m + 1) array
        L1^-1 [R C].
    S : (s, m + 1, m + 1) array
        [Z2 X y]' V1^-1 [Z2 X y], V1 with the eliminated terms alone.
    factors : list of (s, k, k) arrays
        Lambda of the other terms.
    L : (s, m + 1, m + 1) array
        Cholesky factor of B'SB + blockdiag(I, 0); its last diagonal is the square root of r2.
    """

    Lambda: Matrix
    L1: Matrix
    Y: Matrix
    S: Matrix
    factors: list[Matrix]
    L: Matrix


@dataclass(frozen=True, eq=False, slots=True)
class Products:
    """Everything that the criterion needs of the data.

    Attributes
    ----------
    first, rest : tuple of Term
        Terms of the eliminated factor, and the others.
    R : (q, k, k) array
    C : (q, k, m + 1) array
        Products of Q_l with [Z2 X y].
    E : (m + 1, m + 1) array
        Products of [Z2 X y] outside the spans of the Q_l.
    q2, p, nu : int
        Columns of Z2 and X; n - p (REML) or n (ML).
    constant : float
        Added to the criterion for the scales of y and X.
    beta, T : (p,), (p, p) arrays
        Coefficients = beta + T times those in the coordinates used here.
    scale : float
        Unit of y.
    """

    first: tuple[Term, ...]
    rest: tuple[Term, ...]
    R: Matrix
    C: Matrix
    E: Matrix
    q2: int
    p: int
    nu: int
    reml: bool
    constant: float
    beta: Vector
    T: Matrix
    scale: float

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms in the formula's order."""
        return tuple(sorted(self.first + self.rest, key=lambda term: term.position))

    def scaled(self, array: Matrix, factors: Sequence[Matrix], transpose: bool) -> Matrix:
        """B'A (or B A), B = blockdiag(Lambda of the rest over their levels, I), A (s, rows, columns)."""
        out = np.array(array)
        for term, L in zip(self.rest, factors, strict=True):
            block = out[:, term.at].reshape(len(out), term.q, term.k, -1)
            left = (np.swapaxes(L, 1, 2) if transpose else L)[:, None]
            out[:, term.at] = (left @ block).reshape(len(out), term.q * term.k, -1)
        return out

    def stage(self, thetas: Matrix) -> Stage:
        """Both eliminations, at a stack of theta."""
        s, (q, k, _) = len(thetas), self.R.shape
        Lambda = np.zeros((s, k, k))
        for term in self.first:
            Lambda[:, term.at, term.at] = term.factor(thetas)
        N = self.R @ Lambda[:, None]
        L1 = np.asarray(np.linalg.cholesky(N @ np.swapaxes(N, 2, 3) + np.eye(k)), np.float64)
        if k == 1:
            Y = np.concatenate([self.R, self.C], axis=2) / L1
        else:
            Y = np.linalg.solve(L1, np.concatenate([self.R, self.C], axis=2))
        flat = Y[..., k:].reshape(s, q * k, -1)
        S = self.E + np.swapaxes(flat, 1, 2) @ flat
        factors = [term.factor(thetas) for term in self.rest]
        H = self.scaled(np.swapaxes(self.scaled(S, factors, True), 1, 2), factors, True)
        H[:, range(self.q2), range(self.q2)] += 1.0
        return Stage(Lambda, L1, Y, S, factors, np.asarray(np.linalg.cholesky(H), np.float64))

    def values(self, thetas: Matrix) -> Values:
        """Criterion, gradient and Gamma at a stack of theta (s, d)."""
        s, (q, k, _), m, q2 = len(thetas), self.R.shape, self.q2 + self.p, self.q2
        stage = self.stage(thetas)
        Y, S, L, factors = stage.Y, stage.S, stage.L, stage.factors
        diagonal = np.log(np.diagonal(L, axis1=1, axis2=2))
        value = 2 * np.log(np.diagonal(stage.L1, axis1=2, axis2=3)).sum((1, 2)) + self.constant
        value += 2 * diagonal[:, : m if self.reml else q2].sum(1)
        value += self.nu * (1 + math.log(2 * math.pi / self.nu) + 2 * diagonal[:, m])

        inverse = np.linalg.inv(L[:, :m, :m])
        weight = math.sqrt(self.nu) / L[:, m, m, None, None]
        u = np.swapaxes(inverse, 1, 2) @ L[:, m, :m, None]
        w = self.scaled(u, factors, False)
        use = m if self.reml else q2
        half = inverse[:, :use, :use]

        # Z_l'P Z_l and Z_l'P y of the eliminated factor, then of the rest
        YR, YW, Yy = Y[..., :k], Y[..., k:-1], Y[..., -1:]
        a = np.swapaxes(YR, 2, 3) @ (Yy - (YW.reshape(s, q * k, m) @ w).reshape(s, q, k, 1))
        D = (np.swapaxes(YR, 2, 3) @ YW[..., :use]).reshape(s, q * k, use)
        D = half @ self.scaled(np.swapaxes(D, 1, 2), factors, True)
        U = D.reshape(s, use * q, k)
        F, A = YR.reshape(s, q * k, k), weight * a[..., 0]
        spread = np.swapaxes(F, 1, 2) @ F
        first = (spread - np.swapaxes(U, 1, 2) @ U, np.swapaxes(A, 1, 2) @ A, spread)
        parts = {t.position: tuple(x[:, t.at, t.at] for x in first) for t in self.first}
        if self.rest:
            a2 = weight * (S[:, :q2, m:] - S[:, :q2, :m] @ w)
            D2 = half @ self.scaled(S[:, :use, :q2], factors, True)
            for t in self.rest:
                block = S[:, t.at, t.at].reshape(s, t.q, t.k, t.q, t.k)
                spread = np.einsum("slalb->sab", block)
                Ut, At = D2[:, :, t.at].reshape(s, -1, t.k), a2[:, t.at].reshape(s, t.q, t.k)
                minus = np.swapaxes(Ut, 1, 2) @ Ut
                parts[t.position] = (spread - minus, np.swapaxes(At, 1, 2) @ At, spread)

        gradient = np.empty_like(thetas)
        gamma, noise = [], []
        for t in self.terms:
            left, right, spread = parts[t.position]
            gamma.append(left - right)
            noise.append(np.trace(spread + right, axis1=1, axis2=2))
            slope = 2 * gamma[-1] @ t.factor(thetas)
            gradient[:, t.theta] = slope[:, t.tril[0], t.tril[1]]
        return Values(value, gradient, tuple(gamma), tuple(noise))

    def solve(self, theta: Vector) -> Solution:
        """Coefficients, standard errors sqrt diag Phi, variances and BLUPs at one theta (d,)."""
        m, k = self.q2 + self.p, self.R.shape[1]
        stage = self.stage(theta[None])
        Y, L, Lambda = stage.Y, stage.L, stage.Lambda[0]
        inverse = np.linalg.inv(L[0, :m, :m])
        w = self.scaled((inverse.T @ L[0, m, :m])[None, :, None], stage.factors, False)[0, :, 0]
        sigma2 = self.scale**2 * float(L[0, m, m]) ** 2 / self.nu
        root = self.T @ inverse[self.q2 :, self.q2 :].T
        a = np.swapaxes(Y[0, ..., :k], 1, 2) @ (Y[0, ..., -1:] - Y[0, ..., k:-1] @ w[:, None])
        b1 = a[..., 0] @ (Lambda @ Lambda.T)
        G, b = [], []
        for t in self.terms:
            factor = t.T @ t.factor(theta[None])[0]
            G.append(sigma2 * factor @ factor.T)
            own = b1[:, t.at] if t in self.first else w[t.at].reshape(t.q, t.k)
            b.append(self.scale * own @ t.T.T)
        return Solution(
            beta=self.beta + self.scale * (self.T @ w[self.q2 :]),
            std_error=math.sqrt(sigma2) * np.sqrt((root**2).sum(1)),
            sigma2=sigma2,
            G=tuple(G),
            b=tuple(b),
        )


def layout(model: Model) -> tuple[tuple[Term, ...], tuple[Term, ...], list[Matrix]]:
    """Terms of the factor with the most levels, the other terms, and each term's Z T."""
    largest = max(model.random, key=lambda term: len(term.levels)).group
    place, size = 0, {True: 0, False: 0}
    terms: dict[bool, list[Term]] = {True: [], False: []}
    columns = []
    for position, term in enumerate(model.random):
        Z, T = coordinates(term)
        columns.append(Z)
        k, q, first = Z.shape[1], len(term.levels), term.group == largest
        upper = np.triu_indices(k)
        width, count = k if first else k * q, len(upper[0])
        at, theta = slice(size[first], size[first] + width), slice(place, place + count)
        terms[first].append(Term(position, k, q, at, theta, T, (upper[1], upper[0])))
        size[first] += width
        place += count
    return tuple(terms[True]), tuple(terms[False]), columns


def fixed_part(model: Model, nu: int, reml: bool) -> tuple[Matrix, Matrix, Vector, float, float]:
    """[X y] orthonormal, T, beta at zero, unit of y, and what these add to the criterion."""
    X, T, logs, where = orthonormal(model.X)
    if not np.isfinite(logs).all():
        names = ", ".join(np.array(model.names)[~np.isfinite(logs)])
        raise ModelError(f"fixed effects are linearly dependent: {names} can be left out")
    beta, y = np.zeros(model.p), model.y
    if where is not None:
        beta[where] = y.mean() / model.X[0, where]
        y = y - beta[where] * model.X[0, where]
    residual, parts = y, np.zeros(model.p)
    for _ in range(2):
        step = X.T @ residual
        residual, parts = residual - X @ step, parts + step
    scale = float(np.linalg.norm(residual)) / math.sqrt(nu)
    if scale <= 1e-13 * np.linalg.norm(y):
        raise ModelError("the fixed effects fit the response exactly: zero residual variance")
    constant = 2 * nu * math.log(scale) + (2 * float(logs.sum()) if reml else 0.0)
    return np.column_stack([X, residual / scale]), T, beta + T @ parts, scale, constant


def products(model: Model, method: Method) -> Products:
    """All cross-products of a model; the one pass over its rows.

    Raises
    ------
    ModelError
        X is rank deficient, or there is nothing left to explain.
    """
    reml = method == "REML"
    nu = model.n - model.p if reml else model.n
    Xy, T, beta, scale, constant = fixed_part(model, nu, reml)
    first, rest, columns = layout(model)
    level, q = model.random[first[0].position].index, first[0].q
    q2 = sum(term.q * term.k for term in rest)
    m = q2 + model.p
    Q, R = level_bases(np.column_stack([columns[t.position] for t in first]), level, q)
    k = Q.shape[1]

    C, E = np.zeros((q, k, m + 1)), np.zeros((m + 1, m + 1))
    C[:, :, q2:] = sums(Q[:, :, None] * Xy[:, None, :], level, q)
    outside = Xy - np.einsum("ij,ijk->ik", Q, C[:, :, q2:][level])
    E[q2:, q2:] = outside.T @ outside
    spread = [
        (t.at.start + model.random[t.position].index * t.k + b, columns[t.position][:, b])
        for t in rest
        for b in range(t.k)
    ]
    for where, z in spread:
        for a in range(k):
            np.add.at(C[:, a], (level, where), Q[:, a] * z)
        for b in range(model.p + 1):
            E[:q2, q2 + b] += np.bincount(where, z * outside[:, b], q2)
        for other, x in spread:
            np.add.at(E, (where, other), z * x)
    E[q2:, :q2] = E[:q2, q2:].T
    flat = C[:, :, :q2].reshape(q * k, q2)
    E[:q2, :q2] -= flat.T @ flat
    return Products(first, rest, R, C, E, q2, model.p, nu, reml, constant, beta, T, scale)
