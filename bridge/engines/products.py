"""Products: cross-products of a model, all that the criterion needs, in coordinates without units or origins.

The terms of the largest grouping factor come first: in each level Z_l = Q_l R_l, so that V_l is I outside
the span of Q_l and I + R_l Lambda Lambda' R_l' in it. Products of the other terms Z2, of X and of y are
then E (outside, constant) + sum_l C_l' M_l^-1 C_l, a sum without cancellation. With weights, rows of Z, X
and y are those times sqrt(w), and the column that they are centred by is weighted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.engines.orthogonal import coordinates, level_bases, levelled, orthonormal, sums
from bridge.errors import ModelError
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HEAVY = 100_000  # entries of C from which stacks of theta do not pay
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
        Columns in Z2, level by level; unused by the eliminated block.
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
    R : (q, k, k) array
    C : (q k, m + 1) array, sparse if large
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


def layout(model: Model, root: Vector | None) -> tuple[tuple[Term, ...], tuple[Block, ...], list[Matrix]]:
    """Terms, blocks, and each term's rows of Z T, weighted."""
    largest = max(model.random, key=lambda term: len(term.levels)).group
    place, width, q2, blocks = 0, 0, 0, 0
    terms, columns, rest = [], [], []
    for term in model.random:
        Z, T = coordinates(term, root)
        columns.append(Z)
        k, q, first = Z.shape[1], len(term.levels), term.group == largest
        upper = np.triu_indices(k)
        theta = slice(place, place + len(upper[0]))
        at = slice(width, width + k) if first else slice(0, k)
        made = Term(k, q, 0 if first else blocks + 1, at, theta, T, (upper[1], upper[0]))
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
    model: Model, root: Vector | None, nu: int, reml: bool
) -> tuple[Matrix, Matrix, Vector, float, float]:
    """[X y] orthonormal, T, beta at zero, unit of y, and what these add to the criterion."""
    X, T, logs, where = orthonormal(model.X, root)
    if not np.isfinite(logs).all():
        names = ", ".join(np.array(model.names)[~np.isfinite(logs)])
        raise ModelError(f"fixed effects are linearly dependent: {names} can be left out")
    beta = np.zeros(model.p)
    y = model.y if model.offset is None else model.y - model.offset
    if where is not None:
        mean = y.mean() if root is None else float(root**2 @ y) / float(root @ root)
        beta[where] = mean / model.X[0, where]
        y = y - mean
    residual = y if root is None else root * y
    size = np.linalg.norm(residual)
    parts = np.zeros(model.p)
    for _ in range(2):
        step = X.T @ residual
        residual, parts = residual - X @ step, parts + step
    scale = float(np.linalg.norm(residual)) / math.sqrt(nu)
    if scale <= 1e-13 * size:
        raise ModelError("the fixed effects fit the response exactly: zero residual variance")
    constant = 2 * nu * math.log(scale) + (2 * float(logs.sum()) if reml else 0.0)
    if root is not None:
        constant -= 2 * float(np.log(root).sum())
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
    root = None if model.weights is None else np.sqrt(model.weights)
    Xy, T, beta, scale, constant = fixed_part(model, root, nu, reml)
    terms, blocks, columns = layout(model, root)
    first = [i for i, term in enumerate(terms) if not term.block]
    level, q = model.random[first[0]].index, blocks[0].q
    Z = columns[first[0]] if len(first) == 1 else np.column_stack([columns[i] for i in first])
    Q, R = level_bases(Z, level, q)
    k, q2 = Q.shape[1], sum(block.k * block.q for block in blocks[1:])
    fixed = sums(Q[:, :, None] * Xy[:, None, :], level, q)
    outside = Xy - levelled(Q, fixed, level)
    E = np.zeros((q2 + model.p + 1,) * 2)
    E[q2:, q2:] = outside.T @ outside
    C: Any = fixed.reshape(q * k, -1)
    if q2:
        spread = [
            (blocks[t.block].at.start + model.random[i].index * t.k + b, columns[i][:, b])
            for i, t in enumerate(terms)
            if t.block
            for b in range(t.k)
        ]
        C = crossed(E[:q2], C, level, Q, outside, spread)
        E[q2:, :q2] = E[:q2, q2:].T
    start = np.zeros(terms[-1].theta.stop)
    within = E[-1, -1] / max(model.n - q * k, 1)
    for term, given, Zt in zip(terms, model.random, columns, strict=True):
        start[term.theta] = moments(Zt, Xy[:, -1], given.index, term, within, reml)
    return Products(terms, blocks, R, C, E, q2, model.p, nu, reml, constant, beta, T, scale, start)


def moments(Z: Matrix, y: Vector, level: NDArray[np.intp], term: Term, within: float, reml: bool) -> Vector:
    """Theta of G = cov(b_l) - mean (Z_l'Z_l)^-1, b_l by least squares; I where levels cannot give it."""
    k, q = term.k, term.q
    a = sums(Z * y[:, None], level, q)
    if k == 1:
        N = sums(Z * Z, level, q)
        share = (1e-8 * N.max() < N).ravel()
        b, unit = a[share, 0] / N[share, 0], float((1 / N[share]).mean())
        G = np.array([[b @ b / max(len(b) - reml, 1) / within - unit]]) if within > 0 else np.eye(1)
        start: Vector = np.sqrt(np.maximum(G[0], 1e-3))
        return start
    some = slice(None, None, 1 + q // MANY)
    N, a = sums(Z[:, :, None] * Z[:, None, :], level, q)[some], a[some]
    w, V = np.linalg.eigh(N)
    share = w[:, 0] > 1e-6 * w[:, -1]
    theta: Vector = np.eye(k)[term.tril]
    if share.sum() <= k or not within > 0:
        return theta
    if not share.all():
        w, V, a = w[share], V[share], a[share]
    b = ((V.swapaxes(1, 2) @ a[:, :, None])[:, :, 0] / w)[:, None, :]
    b = (V * b).sum(2)
    G = b.T @ b / (len(b) - reml) / within - ((V / w[:, None]) @ V.swapaxes(1, 2)).mean(0)
    w, V = np.linalg.eigh(G)
    if not np.isfinite(w).all() or w[-1] <= 0:
        return theta
    R = np.linalg.qr((V * np.sqrt(np.maximum(w, 1e-3 * w[-1]))).T).R.T
    theta[:] = (R * np.sign(R.diagonal()))[term.tril]
    return theta


def crossed(
    E: Matrix,
    fixed: Matrix,
    level: NDArray[np.intp],
    Q: Matrix,
    outside: Matrix,
    spread: list[tuple[NDArray[np.intp], Vector]],
) -> Any:
    """C with the columns of Z2 before the `fixed` ones; E's rows of Z2 are filled in."""
    from scipy import sparse

    k, q2 = Q.shape[1], len(E)
    row = np.concatenate([level * k + a for _ in spread for a in range(k)])
    column = np.concatenate([where for where, _ in spread for _ in range(k)])
    value = np.concatenate([Q[:, a] * z for _, z in spread for a in range(k)])
    C2 = sparse.csr_array((value, (row, column)), shape=(len(fixed), q2))
    C2.sum_duplicates()
    rows = np.arange(len(Q))
    Z2 = sum(sparse.csr_array((z, (rows, where)), shape=(len(Q), q2)) for where, z in spread)
    E[:, :q2] = (Z2.T @ Z2 - C2.T @ C2).toarray()
    E[:, q2:] = Z2.T @ outside
    if len(fixed) * q2 > LARGE:
        return sparse.csr_array(sparse.hstack([C2, sparse.csr_array(fixed)], format="csr"))
    return np.hstack([C2.toarray(), fixed])
