"""Products: cross-products of a model, all that the criterion needs, in coordinates without units or origins.

The terms of the largest grouping factor come first: in each level Z_l = Q_l R_l, so that V_l is I outside
the span of Q_l and I + R_l Lambda Lambda' R_l' in it. Products of the other terms Z2, of X and of y are
then E (outside, constant) + sum_l C_l' M_l^-1 C_l, a sum without cancellation. With weights, rows of Z, X
and y are those times sqrt(w), and the column that they are centred by is weighted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from bridge.engines.orthogonal import Basis, coordinates, level_bases, levelled, orthonormal, sums
from bridge.errors import ModelError
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HEAVY = 100_000  # entries of C from which stacks of theta do not pay
LEAST = 1e-3  # eigenvalue of G at a start
MANY = 5_000  # levels that are enough for moments
LARGE = 2_000_000  # entries of C from which its zeros are not stored


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """A random term in its own orthonormal coordinates: Z T has T'Z'Z T = n I.

    Attributes
    ----------
    k, q : int
        Columns and levels.
    block : int
        Its `Block`: 0 if it is eliminated first.
    at : slice
        Its columns among the k of its block.
    theta : slice
        Its part of theta, the lower triangle by columns.
    T : (k, k) array
        b = T b', G = T G' T'.
    """

    k: int
    q: int
    block: int
    at: slice
    theta: slice
    T: Matrix
    tril: tuple[NDArray[np.intp], NDArray[np.intp]]

    def factor(self, theta: Vector) -> Matrix:
        """Lambda (k, k) at a theta (d,)."""
        L = np.zeros((self.k, self.k))
        L[self.tril] = theta[self.theta]
        return L


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Terms of the eliminated factor side by side, or one other term.

    Attributes
    ----------
    k, q : int
        Columns and levels.
    at : slice
        Columns in Z2, each with its levels in turn; unused by the eliminated block.
    index : (d,) int array
        Its entries of theta.
    basis : (d, k, k) array
        Lambda = sum of theta[index] times these.
    """

    k: int
    q: int
    at: slice
    index: NDArray[np.intp]
    basis: Matrix

    def factors(self, thetas: Matrix) -> Matrix:
        """Lambda (s, k, k) at a stack of theta (s, all)."""
        flat = thetas[:, self.index] @ self.basis.reshape(len(self.index), -1)
        return flat.reshape(len(thetas), self.k, self.k)


@dataclass(frozen=True, eq=False, slots=True)
class Products:
    """Everything that the criterion needs of the data.

    Attributes
    ----------
    terms : tuple of Term
        In the formula's order.
    blocks : tuple of Block
        The eliminated one, then one for each other term.
    R : (k, k, q) array
    C : (k, m + 1, q) array, or sparse (k q, m + 1) if large
        Products of Q_l with [Z2 X y].
    E : (m + 1, m + 1) array
        Products of [Z2 X y] outside the spans of the Q_l.
    q2, p, nu : int
        Columns of Z2 and X; n - p (REML) or n (ML).
    constant : float
        Added to the criterion for the scales of y and X, and the weights.
    beta, T : (p,), (p, p) arrays
        Coefficients = beta + T times those in the coordinates used here.
    scale : float
        Unit of y.
    start : (d,) array
        Theta by the method of moments, level by level and term by term: the optimum in balanced data.
    """

    terms: tuple[Term, ...]
    blocks: tuple[Block, ...]
    R: Matrix
    C: Matrix | csr_array
    E: Matrix
    q2: int
    p: int
    nu: int
    reml: bool
    constant: float
    beta: Vector
    T: Matrix
    scale: float
    start: Vector

    @property
    def d(self) -> int:
        """Length of theta."""
        return sum(len(block.index) for block in self.blocks)

    @property
    def m(self) -> int:
        """Columns of [Z2 X]."""
        return self.q2 + self.p

    @property
    def large(self) -> bool:
        """Whether C is sparse, and exact Hessians too dear."""
        return not isinstance(self.C, np.ndarray)

    @property
    def heavy(self) -> bool:
        """Whether one theta at a time is enough to do."""
        return self.large or self.C.size > HEAVY


@cache
def triangle(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a lower triangle, by columns."""
    column, row = np.triu_indices(k)
    return row, column


def layout(
    model: Model, root: Vector | None, fixed: Basis | None = None
) -> tuple[tuple[Term, ...], tuple[Block, ...], list[Matrix]]:
    """Terms, blocks, and each term's (Z T)' (k, n), weighted; `fixed` is the basis of X, often that of Z."""
    largest = max(model.random, key=lambda term: len(term.levels)).group
    place, width, q2, blocks = 0, 0, 0, 0
    terms, columns, rest = [], [], []
    for term in model.random:
        Z, T = coordinates(term, root, fixed if np.array_equal(term.Z, model.X) else None)
        columns.append(Z)
        k, q, first = len(Z), len(term.levels), term.group == largest
        tril = triangle(k)
        theta = slice(place, place + len(tril[0]))
        at = slice(width, width + k) if first else slice(0, k)
        made = Term(k, q, 0 if first else blocks + 1, at, theta, T, tril)
        if first:
            width += k
        else:
            rest.append(block([made], k, slice(q2, q2 + k * q)))
            q2, blocks = q2 + k * q, blocks + 1
        terms.append(made)
        place = theta.stop
    return tuple(terms), (block([t for t in terms if not t.block], width, slice(0, 0)), *rest), columns


def block(terms: list[Term], k: int, at: slice) -> Block:
    """A block of terms side by side in k columns."""
    index = np.concatenate([np.arange(t.theta.start, t.theta.stop) for t in terms])
    basis = np.zeros((len(index), k, k))
    row = np.concatenate([t.tril[0] + t.at.start for t in terms])
    column = np.concatenate([t.tril[1] + t.at.start for t in terms])
    basis[np.arange(len(index)), row, column] = 1.0
    return Block(k, terms[0].q, at, index, basis)


def fixed_part(
    model: Model, root: Vector | None, basis: Basis, nu: int, reml: bool
) -> tuple[Matrix, Vector, float, float]:
    """[X y]' orthonormal (p + 1, n), beta at zero, unit of y, and what these add to the criterion."""
    X, T, logs, where = basis
    if not np.isfinite(logs).all():
        names = ", ".join(np.array(model.names)[~np.isfinite(logs)])
        raise ModelError(f"fixed effects are linearly dependent: {names} can be left out")
    beta = np.zeros(model.p)
    y = model.y if model.offset is None else model.y - model.offset
    if where is not None:
        mean = y.sum() / len(y) if root is None else float(root**2 @ y) / float(root @ root)
        beta[where] = mean / model.X[0, where]
        y = y - mean
    residual = y if root is None else root * y
    size = math.sqrt(float(residual @ residual))
    parts = np.zeros(model.p)
    for _ in range(2):
        step = X @ residual
        residual, parts = residual - step @ X, parts + step
    scale = math.sqrt(float(residual @ residual) / nu)
    if scale <= 1e-13 * size:
        raise ModelError("the fixed effects fit the response exactly: zero residual variance")
    constant = 2 * nu * math.log(scale) + (2 * float(logs.sum()) if reml else 0.0)
    if root is not None:
        constant -= 2 * float(np.log(root).sum())
    return np.vstack([X, residual / scale]), beta + T @ parts, scale, constant


def products(model: Model, method: Method) -> Products:
    """All cross-products of a model; the one pass over its rows.

    Raises
    ------
    ModelError
        X is rank deficient, or there is nothing left to explain.
    """
    reml = method == "REML"
    nu = model.n - model.p if reml else model.n
    root = None if model.weights is None else np.sqrt(model.weights)
    basis = orthonormal(model.X, root)
    Xy, beta, scale, constant = fixed_part(model, root, basis, nu, reml)
    terms, blocks, columns = layout(model, root, basis)
    first = [i for i, term in enumerate(terms) if not term.block]
    level, k, q = model.random[first[0]].index, blocks[0].k, blocks[0].q
    Q, R = level_bases(np.concatenate([columns[i] for i in first]), level, q)
    q2 = sum(block.k * block.q for block in blocks[1:])
    C: Any = sums(Q[:, None] * Xy, level, q)
    outside = Xy - levelled(Q, C, level)
    E = np.zeros((q2 + model.p + 1,) * 2)
    E[q2:, q2:] = outside @ outside.T
    start = np.zeros(terms[-1].theta.stop)
    within = E[-1, -1] / max(model.n - q * k, 1)
    for term, given, Z in zip(terms, model.random, columns, strict=True):
        own, a = R, C[:, -1]
        if term.block or term.k < k:
            P, own = level_bases(Z, given.index, term.q)
            a = sums(P * Xy[-1], given.index, term.q)
        start[term.theta] = moments(own, a, term, within, reml)
    if q2:
        spread = [
            Spread(slice(at.start + b * t.q, at.start + (b + 1) * t.q), model.random[i].index, columns[i][b])
            for i, t in enumerate(terms)
            if t.block
            for at in [blocks[t.block].at]
            for b in range(t.k)
        ]
        C = crossed(E[:q2], C, level, Q, outside, spread)
        E[q2:, :q2] = E[:q2, q2:].T
    return Products(terms, blocks, R, C, E, q2, model.p, nu, reml, constant, beta, basis[1], scale, start)


def moments(R: Matrix, a: Matrix, term: Term, within: float, reml: bool) -> Vector:
    """Theta of G = cov(b_l) - mean (Z_l'Z_l)^-1, b_l = R_l^-1 a_l; I where levels cannot give it.

    R (k, k, q) and a = Q'y (k, q) are those of the levels' bases.
    """
    k = term.k
    identity: Vector = (term.tril[0] == term.tril[1]).astype(float)
    sizes = np.einsum("iiq->iq", R)
    share = sizes.min(0) > 1e-3 * sizes.max(0) if k > 1 else sizes[0] > 1e-4 * sizes.max()
    if share.sum() <= k or not within > 0:
        return identity
    if not share.all() or (k > 1 and len(share) > 2 * MANY):
        some = share.nonzero()[0][:: 1 + int(share.sum()) // MANY if k > 1 else 1]
        R, a = R[:, :, some], a[:, some]
    R = R.transpose(2, 0, 1)
    inverse = np.linalg.inv(R) if k > 1 else 1 / R
    b = (inverse @ a.T[:, :, None])[:, :, 0]
    flat = inverse.transpose(1, 0, 2).reshape(k, -1)
    G = b.T @ b / (len(b) - reml) / within - flat @ flat.T / len(b)
    if not np.isfinite(G).all():
        return identity
    w, V, _ = lapack.dsyevd(G)
    least = LEAST * max(1.0, w[-1])
    if w[0] < least:
        G = (V * np.maximum(w, least)) @ V.T
    theta: Vector = lapack.dpotrf(G, lower=1)[0][term.tril]
    return theta


@dataclass(frozen=True, eq=False, slots=True)
class Spread:
    """One coefficient of a term that is not eliminated.

    Attributes
    ----------
    at : slice
        Its columns in Z2, one a level.
    index : (n,) int array
        Level of each row.
    z : (n,) array
        What Z2 has there.
    """

    at: slice
    index: NDArray[np.intp]
    z: Vector


def crossed(
    E: Matrix, fixed: Matrix, level: NDArray[np.intp], Q: Matrix, outside: Matrix, spread: list[Spread]
) -> Any:
    """C with the columns of Z2 before the `fixed` ones; E's rows of Z2 are filled in."""
    (k, _, q), q2 = fixed.shape, len(E)
    for s in spread:
        E[s.at, q2:] = sums(s.z * outside, s.index, s.at.stop - s.at.start).T
    if k * q * q2 > LARGE:
        return sparsely(E, fixed, level, Q, spread)
    C2 = np.empty((k, q2, q))
    for s in spread:
        width = s.at.stop - s.at.start
        C2[:, s.at] = sums(s.z * Q, s.index * q + level, width * q).reshape(k, width, q)
        for t in spread:
            other = t.at.stop - t.at.start
            E[s.at, t.at] = np.bincount(s.index * other + t.index, s.z * t.z, width * other).reshape(
                width, other
            )
    E[:, :q2] -= (C2 @ C2.swapaxes(1, 2)).sum(0)
    return np.concatenate([C2, fixed], axis=1)


def sparsely(E: Matrix, fixed: Matrix, level: NDArray[np.intp], Q: Matrix, spread: list[Spread]) -> Any:
    """`crossed` by sparse products."""
    from scipy import sparse

    (k, _, q), q2, rows = fixed.shape, len(E), np.arange(Q.shape[1])
    row = np.concatenate([level + a * q for _ in spread for a in range(k)])
    column = np.concatenate([s.at.start + s.index for s in spread for _ in range(k)])
    value = np.concatenate([Q[a] * s.z for s in spread for a in range(k)])
    C2 = sparse.csr_array((value, (row, column)), shape=(k * q, q2))
    C2.sum_duplicates()
    Z2 = sum(sparse.csr_array((s.z, (rows, s.at.start + s.index)), shape=(len(rows), q2)) for s in spread)
    E[:, :q2] = (Z2.T @ Z2 - C2.T @ C2).toarray()
    flat = fixed.transpose(0, 2, 1).reshape(k * q, -1)
    return sparse.csr_array(sparse.hstack([C2, sparse.csr_array(flat)], format="csr"))
