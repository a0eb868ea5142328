"""Deviance: the profiled criterion (minus twice the log-likelihood) and its derivatives, at a cost without n.

With V = I + sum_t Z_t Lambda_t Lambda_t' Z_t' (relative to sigma2) it needs log|V| and V^-1-products of
[Z2 X y]: the levels of the largest factor are eliminated first, S = E + sum_l C_l' M_l^-1 C_l; the dense
Cholesky factor of B'SB + I, B = blockdiag(Lambda over the levels of the others), gives the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from bridge.engines.products import Block, Products
from bridge.model import Matrix, Vector

LOOSE = 1e-2  # least eigenvalue of Lambda Z'Z Lambda' from which I - J has the digits of Gamma
FEW = 200  # matrices up to which LAPACK's calls cost less than passes over their entries


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """Where both eliminations stand.

    Attributes
    ----------
    factors : list of (k, k) arrays
        Lambda of each block.
    F : (q, k, k) array
        F'F = Z_l'V_l^-1 Z_l of the eliminated block.
    D : (q k, m + 1) array, sparse if the products are large
        Z_l'V_l^-1 [Z2 X y].
    S : (m + 1, m + 1) array
        [Z2 X y]'V1^-1 [Z2 X y], V1 with the eliminated block alone.
    L : (m + 1, m + 1) array
        Cholesky factor of B'SB + blockdiag(I, 0); its last diagonal is the square root of r2.
    value : float
        The criterion.
    """

    factors: list[Matrix]
    F: Matrix
    D: Any
    S: Matrix
    L: Matrix
    value: float


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The criterion near one theta.

    Attributes
    ----------
    theta, gradient : (d,) arrays
    value : float
    gamma : tuple of (k, k) arrays
        Per term, half the derivative with respect to G/sigma2: `Gamma` of the boundary test.
    noise : tuple of float
        Size of the two parts that Gamma is the difference of.
    hessian : (d, d) array, or None
        Exact; from the average information if the products are large.
    """

    theta: Vector
    value: float
    gradient: Vector
    gamma: tuple[Matrix, ...]
    noise: tuple[float, ...]
    hessian: Matrix | None


def whitener(N: Matrix) -> tuple[Matrix, Matrix]:
    """W (..., k, k), lower, with W'W = (I + N N')^-1, and log|I + N N'| (...)."""
    k = N.shape[-1]
    if k == 1:
        square = N * N
        return 1 / np.sqrt(1 + square), np.log1p(square)[..., 0, 0]
    M = times(N, N.swapaxes(-1, -2)) + np.eye(k)
    if M.size <= FEW * k * k:
        L = np.linalg.cholesky(M)
        return np.linalg.inv(L), 2 * np.log(L.diagonal(0, -2, -1)).sum(-1)
    L, W = np.zeros_like(M), np.zeros_like(M)
    for j in range(k):
        for i in range(j, k):
            rest = M[..., i, j] - (L[..., i, :j] * L[..., j, :j]).sum(-1)
            L[..., i, j] = np.sqrt(rest) if i == j else rest / L[..., j, j]
        W[..., j, j] = 1 / L[..., j, j]
        for i in range(j):
            W[..., j, i] = -(L[..., j, i:j] * W[..., i:j, i]).sum(-1) * W[..., j, j]
    return W, 2 * np.log(L.diagonal(0, -2, -1)).sum(-1)


def times(A: Matrix, B: Matrix) -> Matrix:
    """A @ B of stacks (..., k, k) and (..., k, columns); numpy's own is slow on many small matrices."""
    if A.size <= FEW * A.shape[-1] ** 2 and A.shape[-1] > 1:
        return A @ B
    out: Matrix = A[..., :1] * B[..., :1, :]
    for j in range(1, A.shape[-1]):
        out += A[..., j : j + 1] * B[..., j : j + 1, :]
    return out


def spread(blocks: Matrix) -> Any:
    """Sparse block-diagonal matrix of blocks (q, k, k)."""
    from scipy.sparse import csr_array

    q, k, _ = blocks.shape
    index = np.arange(q * k, dtype=np.int32).reshape(q, 1, k).repeat(k, 1)
    return csr_array((blocks.ravel(), index.ravel(), np.arange(0, q * k * k + 1, k)), shape=(q * k, q * k))


def scaled(p: Products, A: Matrix, factors: list[Matrix], transpose: bool = False) -> Matrix:
    """B A, or B'A, for A (s, rows, columns) and factors (s, k, k)."""
    out = np.array(A)
    for block, L in zip(p.blocks[1:], factors[1:], strict=True):
        rows = out[:, block.at]
        if block.k == 1:
            rows *= L
        else:
            left = (L.swapaxes(1, 2) if transpose else L)[:, None]
            out[:, block.at] = (left @ rows.reshape(len(out), block.q, block.k, -1)).reshape(rows.shape)
    return out


def sandwich(p: Products, S: Matrix, factors: list[Matrix]) -> Matrix:
    """B'SB + blockdiag(I, 0) for S (s, m + 1, m + 1)."""
    if not p.q2:
        return S
    H = congruent(p, S, factors, True)
    H[:, range(p.q2), range(p.q2)] += 1.0
    return H


def congruent(p: Products, S: Matrix, factors: list[Matrix], transpose: bool = False) -> Matrix:
    """B S B', or B'SB, for symmetric S (s, columns, columns)."""
    if any(block.k > 1 for block in p.blocks[1:]):
        return scaled(p, scaled(p, S, factors, transpose).swapaxes(1, 2), factors, transpose)
    b = np.ones((len(factors[0]), S.shape[1]))
    for block, L in zip(p.blocks[1:], factors[1:], strict=True):
        b[:, block.at] = L[:, 0]
    H: Matrix = S * b[:, :, None]
    H *= b[:, None]
    return H


def total(p: Products, logdet: Any, diagonal: Matrix) -> Any:
    """The criterion from log|M| summed over levels and the diagonal of L; both may be stacks."""
    logs = 2 * np.log(diagonal)
    out = logdet + p.constant + logs[..., : p.m if p.reml else p.q2].sum(-1)
    return out + p.nu * (1 + math.log(2 * math.pi / p.nu) + logs[..., p.m])


def values(p: Products, thetas: Matrix) -> Vector:
    """The criterion alone at a stack of theta (s, d); Inf where theta is out of reach."""
    if p.heavy:
        return np.array([reach(p, theta) for theta in thetas])
    factors = [block.factors(thetas) for block in p.blocks]
    (q, k, _), s = p.R.shape, len(thetas)
    W, logs = whitener(times(p.R, factors[0][:, None]))
    Y = times(W, p.C.reshape(q, k, -1)).reshape(s, q * k, -1)
    try:
        L = np.asarray(np.linalg.cholesky(sandwich(p, p.E + Y.swapaxes(1, 2) @ Y, factors)), np.float64)
    except np.linalg.LinAlgError:
        return np.array([reach(p, theta) for theta in thetas])
    out: Vector = total(p, logs.sum(-1), L.diagonal(0, 1, 2))
    return out


def reach(p: Products, theta: Vector) -> float:
    """The criterion at one theta, or Inf."""
    try:
        return stage(p, theta).value
    except np.linalg.LinAlgError:
        return math.inf


def stage(p: Products, theta: Vector) -> Stage:
    """Both eliminations at one theta (d,)."""
    factors = [block.factors(theta[None]) for block in p.blocks]
    q, k, _ = p.R.shape
    W, logs = whitener(times(p.R, factors[0]))
    F = times(W, p.R)
    if p.large:
        Y = spread(W) @ p.C
        S = p.E + (Y.T.tocsr() @ Y).toarray()
        D = spread(F.swapaxes(1, 2)) @ Y
    else:
        Y3 = times(W, p.C.reshape(q, k, -1))
        Y = Y3.reshape(q * k, -1)
        S = p.E + Y.T @ Y
        D = times(F.swapaxes(1, 2), Y3).reshape(q * k, -1)
    H = sandwich(p, S[None], factors)[0]
    L, info = lapack.dpotrf(H.T, lower=1, clean=1, overwrite_a=H is not S)
    if info:
        raise np.linalg.LinAlgError(f"not positive definite at column {info}")
    value = float(total(p, logs.sum(), L.diagonal()))
    return Stage([factor[0] for factor in factors], F, D, S, L, value)


@dataclass(frozen=True, eq=False, slots=True)
class Solved:
    """What y adds to a stage.

    Attributes
    ----------
    w : (m,) array
        Coefficients of [Z2 X].
    a : list of (q, k) arrays
        Z_t'P y of each block.
    """

    w: Vector
    a: list[Matrix]


def solved(p: Products, at: Stage) -> Solved:
    """Coefficients and Z'P y."""
    m = p.m
    u = lapack.dtrtrs(at.L[:m, :m], at.L[m, :m], lower=1, trans=1)[0] if m else np.zeros(0)
    w = scaled(p, u[None, :, None], [f[None] for f in at.factors])[0, :, 0] if p.q2 else u
    tail = np.append(-w, 1.0)
    a = [(at.D @ tail).reshape(p.blocks[0].q, -1)]
    if p.q2:
        a2 = at.S[: p.q2] @ tail
        a += [a2[block.at].reshape(block.q, block.k) for block in p.blocks[1:]]
    return Solved(w, a)


@dataclass(frozen=True, eq=False, slots=True)
class Traces:
    """The part of the derivatives that comes from log-determinants.

    Attributes
    ----------
    left, size : list of (k, k) arrays
        Per block, the sum over levels of Z_l'P Z_l (ML: V^-1 for P), and of what it is subtracted from.
    gram : list of lists of (k_t k_u, k_t k_u) arrays
        Per pair of blocks, sums over pairs of levels of products of the entries (i, k), (j, l) of Z'P Z,
        rows (i, j) and columns (k, l); empty if not wanted.
    """

    left: list[Matrix]
    size: list[Matrix]
    gram: list[list[Matrix]]


def levelwise(block: Block, A: Matrix) -> Matrix:
    """Sum over levels of the diagonal blocks of A (q k, q k)."""
    out: Matrix = np.einsum("lilj->ij", A.reshape(block.q, block.k, block.q, block.k))
    return out


def gram(t: Block, u: Block, A: Matrix) -> Matrix:
    """Rows (i, j), columns (k, l): sum of A[l i, l' k] A[l j, l' l] over levels, A (q_t k_t, q_u k_u)."""
    if t.k == u.k == 1:
        return np.array([[np.vdot(A, A)]])
    X = A.reshape(t.q, t.k, u.q, u.k).transpose(1, 3, 0, 2).reshape(t.k * u.k, -1)
    return turned(X @ X.T, t.k, u.k)


def turned(K: Matrix, k: int, other: int) -> Matrix:
    """From rows (i, k), columns (j, l) to rows (i, j), columns (k, l)."""
    return K.reshape(k, other, k, other).swapaxes(1, 2).reshape(k * k, other * other)


def traces(p: Products, at: Stage, hessian: bool) -> Traces:
    """`Traces` by the inverse of L: exact to rounding for any Lambda."""
    first, *rest = p.blocks
    q, k, use, q2 = first.q, first.k, p.m if p.reml else p.q2, p.q2
    flat = at.F.reshape(q * k, k)
    N0 = flat.T @ flat
    if not use:
        U, half = np.zeros((q, k, 0)), np.zeros((0, 0))
    else:
        half = lapack.dtrtri(at.L[:use, :use], lower=1)[0]
        BT = half if not q2 else scaled(p, half.T[None], [f[None] for f in at.factors])[0].T
        U = (at.D[:, :use] @ BT.T).reshape(q, k, use)
    UU = U.transpose(1, 0, 2).reshape(k, -1)
    left, size = [N0 - UU @ UU.T], [N0]
    if q2:
        inner = at.S[:q2, :q2]
        HS = BT @ at.S[:use, :q2]
        minus = [HS[:, b.at].reshape(use * b.q, b.k) for b in rest]
        size += [levelwise(b, inner[b.at, b.at]) for b in rest]
        left += [whole - part.T @ part for whole, part in zip(size[1:], minus, strict=True)]
    if not hessian:
        return Traces(left, size, [])
    N = times(at.F.swapaxes(1, 2), at.F).reshape(q, k * k)
    V = (U @ U.swapaxes(1, 2) if q <= FEW else np.einsum("lia,lja->lij", U, U)).reshape(q, k * k)
    W = [(U[:, i].T @ U[:, j]).ravel() for i in range(k) for j in range(k)]
    cross = N.T @ V
    K = turned(N.T @ N - cross - cross.T, k, k) + np.array([[a @ b for b in W] for a in W])
    out = [[K]]
    if q2:
        outer = at.D[:, :q2] - U.reshape(q * k, use) @ HS
        inner = inner - HS.T @ HS
        out[0] += [gram(first, u, outer[:, u.at]) for u in rest]
        out += [[gram(t, u, inner[t.at, u.at]) for u in rest] for t in rest]
    return Traces(left, size, out)


def large_traces(p: Products, at: Stage) -> Traces:
    """`Traces` by the inverse J of L L': without the products of S and L^-1 where Lambda allows it."""
    first, *rest = p.blocks
    q, k, use = first.q, first.k, p.m if p.reml else p.q2
    J = lapack.dpotri(at.L[:use, :use], lower=1, overwrite_c=1)[0].T
    J = J + J.T
    J[range(use), range(use)] /= 2
    factors = [f[None] for f in at.factors]
    JB = congruent(p, J[None], factors)[0]
    D = [at.D[i::k, :use] for i in range(k)]
    flat = at.F.reshape(q * k, k)
    size = [flat.T @ flat]
    left = [size[0] - np.array([[np.vdot(JB, (a.T.tocsr() @ b).toarray()) for b in D] for a in D])]
    for b, factor in zip(rest, at.factors[1:], strict=True):
        size.append(levelwise(b, at.S[b.at, b.at]))
        if np.linalg.svd(factor, compute_uv=False)[-1] ** 2 * size[-1].trace() > LOOSE * b.q * b.k:
            inverse = np.linalg.inv(factor)
            left.append(inverse.T @ (b.q * np.eye(b.k) - levelwise(b, J[b.at, b.at])) @ inverse)
        else:
            BS = scaled(p, at.S[None, :use, b.at], factors, True)[0]
            part = lapack.dtrtrs(at.L[:use, :use], BS, lower=1)[0].reshape(use * b.q, b.k)
            left.append(size[-1] - part.T @ part)
    return Traces(left, size, [])


def point(p: Products, theta: Vector, hessian: bool = True) -> Point:
    """The criterion, its gradient and Gamma at one theta (d,), and its Hessian if wanted.

    Raises
    ------
    numpy.linalg.LinAlgError
        Theta is out of reach: B'SB + I is not positive definite in float64.
    """
    at = stage(p, theta)
    found = large_traces(p, at) if p.large else traces(p, at, hessian)
    weight = math.sqrt(p.nu) / at.L[p.m, p.m]
    A = [weight * a for a in solved(p, at).a]
    gradient, gammas, noises = np.empty(p.d), [], []
    for b, factor, a, left, size in zip(p.blocks, at.factors, A, found.left, found.size, strict=True):
        right = a.T @ a
        gammas.append(left - right)
        noises.append(size + right)
        gradient[b.index] = b.basis.reshape(len(b.index), -1) @ (2 * gammas[-1] @ factor).ravel()
    gamma = tuple(gammas[t.block][t.at, t.at] for t in p.terms)
    noise = tuple(float(noises[t.block][t.at, t.at].trace()) for t in p.terms)
    second = curvature(p, at, A, gammas, found.gram) if hessian else None
    return Point(theta, at.value, gradient, gamma, noise, second)


def curvature(
    p: Products, at: Stage, A: list[Matrix], gammas: list[Matrix], grams: list[list[Matrix]]
) -> Matrix:
    """Hessian: second derivatives of Lambda Lambda', log-determinants, and nu log r2.

    Without `grams` tr(P dV P dV) is put equal to its y'P dV P dV P y / sigma2: the average information
    of Gilmour, Thompson & Cullis (1995), doi 10.2307/2533274, which costs a solve for each parameter.
    """
    m, out = p.m, np.zeros((p.d, p.d))
    h, G, slope = [], [], np.empty(p.d)
    W = np.zeros((p.d, m))
    for number, (b, factor) in enumerate(zip(p.blocks, at.factors, strict=True)):
        d = len(b.index)
        step = b.basis @ factor.T
        step = step + step.swapaxes(1, 2)
        G.append(step.reshape(d, -1))
        h.append((A[number] @ step).reshape(d, -1))
        slope[b.index] = G[-1] @ (A[number].T @ A[number]).ravel()
        rows = at.D if not number else at.S[b.at]
        W[b.index] = (rows.T @ h[-1].T).T[:, :m]
        bent = 2 * b.basis.reshape(d, -1) @ (gammas[number] @ b.basis).reshape(d, -1).T
        out[np.ix_(b.index, b.index)] += bent
    z = scaled(p, W.T[None], [f[None] for f in at.factors], True)[0] if p.q2 else W.T
    z = lapack.dtrtrs(at.L[:m, :m], z, lower=1)[0] if m else z
    out -= (2 if grams else 1) * z.T @ z + np.multiply.outer(slope, slope) / p.nu
    for t, b in enumerate(p.blocks):
        for u, c in enumerate(p.blocks[t:], t):
            if u == 0:
                Fh = np.matmul(at.F, h[0].reshape(-1, b.q, b.k, 1)).reshape(len(h[0]), -1)
                quad = Fh @ Fh.T
            else:
                quad = h[t] @ (W[c.index][:, b.at].T if t else at.D[:, c.at] @ h[u].T)
            part = 2 * quad - G[t] @ grams[t][u - (t > 0)] @ G[u].T if grams else quad
            out[np.ix_(b.index, c.index)] += part
            if u > t:
                out[np.ix_(c.index, b.index)] += part.T
    return out
