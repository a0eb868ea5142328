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


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """Where both eliminations stand.

    Attributes
    ----------
    factors : list of (k, k) arrays
        Lambda of each block.
    F : (k, k, q) array
        F'F = Z_l'V_l^-1 Z_l of the eliminated block.
    D : (k, m + 1, q) array, or sparse (k q, m + 1) if the products are large
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
class Solved:
    """What y adds to a stage.

    Attributes
    ----------
    w : (m,) array
        Coefficients of [Z2 X].
    a : list of (k, q) arrays
        Z_t'P y of each block.
    """

    w: Vector
    a: list[Matrix]


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The criterion near one theta.

    Attributes
    ----------
    theta, gradient : (d,) arrays
    gamma : tuple of (k, k) arrays
        Per term, half the derivative with respect to G/sigma2: `Gamma` of the boundary test.
    noise : tuple of float
        Size of the two parts that Gamma is the difference of.
    hessian : (d, d) array, or None
        Exact; from the average information if the products are large.
    stage, solved
        What it was made of, and estimates will be.
    """

    theta: Vector
    gradient: Vector
    gamma: tuple[Matrix, ...]
    noise: tuple[float, ...]
    hessian: Matrix | None
    stage: Stage
    solved: Solved

    @property
    def value(self) -> float:
        """The criterion."""
        return self.stage.value


def eliminated(N: Matrix, right: Matrix) -> tuple[Matrix, Matrix]:
    """W right (..., k, columns, q), with W'W = (I + N N')^-1, and log|I + N N'| (..., q).

    W is triangular: forward elimination, a pivot of all N (..., k, k, q) at a time.
    """
    k = N.shape[-3]
    M = np.einsum("...ijq,...kjq->...ikq", N, N)
    diagonal = np.einsum("...iiq->...iq", M)
    diagonal += 1.0
    A = np.concatenate([M, np.broadcast_to(right, (*M.shape[:-2], *right.shape[-2:]))], axis=-2)
    logs = np.zeros(())
    for j in range(k):
        row = A[..., j, j:, :]
        logs = logs + np.log(row[..., 0, :])
        row /= np.sqrt(row[..., :1, :])
        if j < k - 1:
            A[..., j + 1 :, j + 1 :, :] -= row[..., 1 : k - j, None, :] * row[..., None, 1:, :]
    return A[..., k:, :], logs


def spread(blocks: Matrix) -> Any:
    """Sparse matrix (k q, k q) of blocks (k, k, q), each entry with its levels in turn."""
    from scipy.sparse import csr_array

    k, _, q = blocks.shape
    index = (np.arange(q, dtype=np.int32)[:, None] + q * np.arange(k, dtype=np.int32)).ravel()
    pointer = np.arange(0, q * k * k + 1, k)
    return csr_array((blocks.transpose(0, 2, 1).ravel(), np.tile(index, k), pointer), shape=(q * k, q * k))


def scaled(p: Products, A: Matrix, factors: list[Matrix], transpose: bool = False) -> Matrix:
    """B A, or B'A, for A (s, rows, columns) and factors (s, k, k)."""
    out = np.array(A)
    for block, L in zip(p.blocks[1:], factors[1:], strict=True):
        rows = out[:, block.at]
        if block.k == 1:
            rows *= L
        else:
            left = L.swapaxes(1, 2) if transpose else L
            out[:, block.at] = (left @ rows.reshape(len(out), block.k, -1)).reshape(rows.shape)
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
    Y, logs = eliminated(np.einsum("ijq,sjk->sikq", p.R, factors[0]), p.C)
    S = p.E + (Y @ Y.swapaxes(-1, -2)).sum(1)
    try:
        L = np.asarray(np.linalg.cholesky(sandwich(p, S, factors)), np.float64)
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
    N, k = np.einsum("ijq,jk->ikq", p.R, factors[0][0]), p.blocks[0].k
    if p.large:
        WF, logs = eliminated(
            N, np.concatenate([np.broadcast_to(np.eye(k)[:, :, None], N.shape), p.R], axis=1)
        )
        F, Y = WF[:, k:], spread(WF[:, :k]) @ p.C
        S = p.E + (Y.T.tocsr() @ Y).toarray()
        D = spread(F.swapaxes(0, 1)) @ Y
    else:
        FY, logs = eliminated(N, np.concatenate([p.R, p.C], axis=1))
        F, Y = FY[:, :k], FY[:, k:]
        S = p.E + (Y @ Y.swapaxes(1, 2)).sum(0)
        D = np.einsum("iaq,icq->acq", F, Y)
    H = sandwich(p, S[None], factors)[0]
    L, info = lapack.dpotrf(H.T, lower=1, clean=1, overwrite_a=H is not S)
    if info:
        raise np.linalg.LinAlgError(f"not positive definite at column {info}")
    value = float(total(p, logs.sum(), L.diagonal()))
    return Stage([factor[0] for factor in factors], F, D, S, L, value)


def solved(p: Products, at: Stage) -> Solved:
    """Coefficients and Z'P y."""
    m = p.m
    u = lapack.dtrtrs(at.L[:m, :m], at.L[m, :m], lower=1, trans=1)[0] if m else np.zeros(0)
    w = scaled(p, u[None, :, None], [f[None] for f in at.factors])[0, :, 0] if p.q2 else u
    tail = np.append(-w, 1.0)
    a = [(at.D @ tail if p.large else tail @ at.D).reshape(p.blocks[0].k, -1)]
    if p.q2:
        a2 = at.S[: p.q2] @ tail
        a += [a2[block.at].reshape(block.k, block.q) for block in p.blocks[1:]]
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
    """Sum over levels of the diagonal blocks of A (k q, k q)."""
    out: Matrix = np.einsum("iljl->ij", A.reshape(block.k, block.q, block.k, block.q))
    return out


def square(A: Matrix, k: int) -> Matrix:
    """Sum over rows and levels of A[:, i l] A[:, j l], A (rows, k q): the k columns of a block."""
    flat = A.reshape(len(A), k, -1).transpose(1, 0, 2).reshape(k, -1)
    return flat @ flat.T


def gram(A: Matrix) -> Matrix:
    """Rows (i, j), columns (k, l): sum of A[i, k] A[j, l] over levels, A (k_t, k_u, ...)."""
    k, other = A.shape[:2]
    flat = A.reshape(k * other, -1)
    return turned(flat @ flat.T, k, other)


def paired(t: Block, u: Block, A: Matrix) -> Matrix:
    """A (k_t q_t, k_u q_u) as `gram` wants it."""
    return A.reshape(t.k, t.q, u.k, u.q).swapaxes(1, 2)


def turned(K: Matrix, k: int, other: int) -> Matrix:
    """From rows (i, k), columns (j, l) to rows (i, j), columns (k, l)."""
    return K.reshape(k, other, k, other).swapaxes(1, 2).reshape(k * k, other * other)


def traces(p: Products, at: Stage, hessian: bool) -> Traces:
    """`Traces` by the inverse of L: exact to rounding for any Lambda."""
    first, *rest = p.blocks
    k, use, q2 = first.k, p.m if p.reml else p.q2, p.q2
    N = np.einsum("iaq,ibq->abq", at.F, at.F)
    N0 = N.sum(-1)
    U = at.D[:, :0]
    if use:
        half = lapack.dtrtri(at.L[:use, :use], lower=1)[0]
        BT = half if not q2 else scaled(p, half.T[None], [f[None] for f in at.factors])[0].T
        U = BT @ at.D[:, :use]
    flat = U.reshape(k, -1)
    left, size = [N0 - flat @ flat.T], [N0]
    if q2:
        inner = at.S[:q2, :q2]
        HS = BT @ at.S[:use, :q2]
        size += [levelwise(b, inner[b.at, b.at]) for b in rest]
        left += [whole - square(HS[:, b.at], b.k) for whole, b in zip(size[1:], rest, strict=True)]
    if not hessian:
        return Traces(left, size, [])
    V = np.einsum("acq,bcq->abq", U, U).reshape(k * k, -1)
    W = (U[:, None] @ U.swapaxes(1, 2)).reshape(k * k, -1)
    N = N.reshape(k * k, -1)
    cross = N @ V.T
    out = [[turned(N @ N.T - cross - cross.T, k, k) + W @ W.T]]
    if q2:
        outer = at.D[:, :q2] - HS.T @ U
        inner = inner - HS.T @ HS
        out[0] += [gram(outer[:, u.at].reshape(k, u.k, -1)) for u in rest]
        out += [[gram(paired(t, u, inner[t.at, u.at])) for u in rest] for t in rest]
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
    D = [at.D[i * q : (i + 1) * q, :use] for i in range(k)]
    size = [np.einsum("iaq,ibq->ab", at.F, at.F)]
    left = [size[0] - np.array([[np.vdot(JB, (a.T.tocsr() @ b).toarray()) for b in D] for a in D])]
    for b, factor in zip(rest, at.factors[1:], strict=True):
        size.append(levelwise(b, at.S[b.at, b.at]))
        if np.linalg.svd(factor, compute_uv=False)[-1] ** 2 * size[-1].trace() > LOOSE * b.q * b.k:
            inverse = np.linalg.inv(factor)
            left.append(inverse.T @ (b.q * np.eye(b.k) - levelwise(b, J[b.at, b.at])) @ inverse)
        else:
            BS = scaled(p, at.S[None, :use, b.at], factors, True)[0]
            left.append(size[-1] - square(lapack.dtrtrs(at.L[:use, :use], BS, lower=1)[0], b.k))
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
    of_y = solved(p, at)
    A = [weight * a for a in of_y.a]
    gradient, gammas, noises = np.empty(p.d), [], []
    for b, factor, a, left, size in zip(p.blocks, at.factors, A, found.left, found.size, strict=True):
        right = a @ a.T
        gammas.append(left - right)
        noises.append(size + right)
        gradient[b.index] = b.basis.reshape(len(b.index), -1) @ (2 * gammas[-1] @ factor).ravel()
    gamma = tuple(gammas[t.block][t.at, t.at] for t in p.terms)
    noise = tuple(float(noises[t.block][t.at, t.at].trace()) for t in p.terms)
    second = curvature(p, at, A, gammas, found.gram) if hessian else None
    return Point(theta, gradient, gamma, noise, second, at, of_y)


def curvature(
    p: Products, at: Stage, A: list[Matrix], gammas: list[Matrix], grams: list[list[Matrix]]
) -> Matrix:
    """Hessian: second derivatives of Lambda Lambda', log-determinants, and nu log r2.

    Without `grams` tr(P dV P dV) is put equal to its y'P dV P dV P y / sigma2: the average information
    of Gilmour, Thompson & Cullis (1995), doi 10.2307/2533274, which costs a solve for each parameter.
    """
    m, k, out = p.m, p.blocks[0].k, np.zeros((p.d, p.d))
    h, G, slope = [], [], np.empty(p.d)
    W = np.zeros((p.d, m + 1))
    for number, (b, factor) in enumerate(zip(p.blocks, at.factors, strict=True)):
        d = len(b.index)
        step = b.basis @ factor.T
        step = step + step.swapaxes(1, 2)
        G.append(step.reshape(d, -1))
        h.append((step @ A[number]).reshape(d, -1))
        slope[b.index] = G[-1] @ (A[number] @ A[number].T).ravel()
        if number:
            W[b.index] = h[-1] @ at.S[b.at]
        elif p.large:
            W[b.index] = h[-1] @ at.D
        else:
            W[b.index] = (h[-1].reshape(d, k, -1).swapaxes(0, 1) @ at.D.swapaxes(1, 2)).sum(0)
        bent = 2 * b.basis.reshape(d, -1) @ (gammas[number] @ b.basis).reshape(d, -1).T
        out[b.index[:, None], b.index] += bent
    W = W[:, :m]
    z = scaled(p, W.T[None], [f[None] for f in at.factors], True)[0] if p.q2 else W.T
    z = lapack.dtrtrs(at.L[:m, :m], z, lower=1)[0] if m else z
    out -= (2 if grams else 1) * z.T @ z + np.multiply.outer(slope, slope) / p.nu
    for t, b in enumerate(p.blocks):
        for u, c in enumerate(p.blocks[t:], t):
            if u == 0:
                Fh = np.einsum("iaq,daq->diq", at.F, h[0].reshape(-1, k, b.q)).reshape(len(h[0]), -1)
                quad = Fh @ Fh.T
            else:
                quad = W[b.index][:, c.at] @ h[u].T
            part = 2 * quad - G[t] @ grams[t][u - (t > 0)] @ G[u].T if grams else quad
            out[b.index[:, None], c.index] += part
            if u > t:
                out[c.index[:, None], b.index] += part.T
    return out
