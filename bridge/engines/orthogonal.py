"""Orthogonal bases of the fixed effects, of a random term, and of the rows of each level.

Arrays are columns first, (columns, n) and (columns, levels): what numpy goes over is long and contiguous.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from bridge.errors import ModelError
from bridge.model import Matrix, RandomTerm, Vector

DEPENDENT = 1e-11  # of a column's length: what is left of it beside the others
ROUNDING = 1e-13  # the same in one level, where a column may be constant or zero

Basis = tuple[Matrix, Matrix, Vector, int | None]
"""Q, T, logs and where, as `orthonormal` returns them."""


def orthonormal(A: Matrix, root: Vector | None = None) -> Basis:
    """Q' (p, n) of Q = W A T with Q'Q = I; T; the log of the diagonal of its inverse; a constant column.

    W = diag(root), the square roots of weights. Columns are centred first where a constant column lets
    them be: QR of x + 2000 would lose the digits that x has. A dependent column has -inf as its log.
    """
    n, p = A.shape
    Q = A.T.copy()
    constant = ((Q[:, :1] == Q).all(1) & (A[0] != 0)).nonzero()[0]
    where = int(constant[0]) if len(constant) else None
    center = np.eye(p)
    if where is not None:
        mean = Q.sum(1) / n if root is None else Q @ root**2 / (root @ root)
        shift = mean / A[0, where]
        shift[where] = 0.0
        center[where] -= shift
        Q -= (A[0, where] * shift)[:, None]
    if root is not None:
        Q *= root
    size = np.sqrt(np.einsum("in,in->i", Q, Q))
    if n < p or not p:
        return Q, center, np.full(p, -np.inf), where
    R, tau, _, _ = lapack.dgeqrf(Q.T, overwrite_a=True)
    diagonal = np.abs(R.diagonal())
    free = diagonal > DEPENDENT * size
    if not free.all():
        return Q, center, np.where(free, 0.0, -np.inf), where
    T = lapack.dtrtrs(R[:p], center.T, trans=1)[0].T
    return lapack.dorgqr(R, tau, overwrite_a=True)[0].T, T, np.log(diagonal), where


def coordinates(
    term: RandomTerm, root: Vector | None = None, basis: Basis | None = None
) -> tuple[Matrix, Matrix]:
    """W Z T (k, n) and T of a term, W Z T with orthogonal columns of RMS 1 (dependent columns: RMS 1 only).

    `basis` is that of its Z, if it is known.
    """
    size = math.sqrt(len(term.Z))
    Q, T, logs, _ = basis or orthonormal(term.Z, root)
    if np.isfinite(logs).all():
        return size * Q, size * T
    Z = term.Z.T if root is None else root * term.Z.T
    rms = np.linalg.norm(Z, axis=1) / size
    if not rms.all():
        raise ModelError(f"term on {term.group}: column {term.names[int(rms.argmin())]} is zero in every row")
    return Z / rms[:, None], np.diag(1 / rms)


def sums(values: Matrix, index: NDArray[np.intp], q: int) -> Matrix:
    """Sums of `values` (..., n) by level (..., q)."""
    n = values.shape[-1]
    return np.array([np.bincount(index, row, q) for row in values.reshape(-1, n)]).reshape(
        *values.shape[:-1], q
    )


def levelled(Q: Matrix, blocks: Matrix, index: NDArray[np.intp]) -> Matrix:
    """Sum over a of rows Q[a] (n,) times their level's blocks[a] (columns, q); (columns, n)."""
    out: Matrix = Q[0] * blocks[0].take(index, -1)
    for q, block in zip(Q[1:], blocks[1:], strict=True):
        out += q * block.take(index, -1)
    return out


def level_bases(Z: Matrix, index: NDArray[np.intp], q: int) -> tuple[Matrix, Matrix]:
    """Q (k, n) and upper triangular R (k, k, q) with Z_l = Q_l R_l in each level.

    Gram-Schmidt, again where half of a column went (Kahan's "twice is enough", in Parlett 1980): Q is
    orthonormal to rounding. What a level does not have (one row, constant x) is zero in Q and R.
    """
    Q, R = Z.copy(), np.zeros((len(Z), len(Z), q))
    for j, column in enumerate(Q):
        square = np.bincount(index, column * column, q)
        least = ROUNDING**2 * square
        for _ in range(2 if j else 0):
            part, before = sums(Q[:j] * column, index, q), square
            column -= np.einsum("in,in->n", Q[:j], part.take(index, -1))
            R[:j, j] += part
            square = np.bincount(index, column * column, q)
            if (square >= 0.5 * before).all():
                break
        R[j, j] = np.sqrt(square, where=square > least, out=np.zeros(q))
        column *= np.divide(1.0, R[j, j], out=np.zeros(q), where=R[j, j] > 0).take(index)
    return Q, R
