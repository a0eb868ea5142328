"""Orthogonal bases of the fixed effects, of a random term, and of the rows of each level."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.model import Matrix, RandomTerm, Vector

DEPENDENT = 1e-11  # of a column's length: what is left of it beside the others


def orthonormal(A: Matrix, root: Vector | None = None) -> tuple[Matrix, Matrix, Vector, int | None]:
    """Q = W A T with Q'Q = I, log of the diagonal of T's inverse, and a column of ones (or any constant).

    W = diag(root), the square roots of weights. Columns are centred first where a constant column lets
    them be: QR of x + 2000 would lose the digits that x has. A dependent column has -inf as its log.
    """
    n, p = A.shape
    constant = ((A[0] == A).all(0) & (A[0] != 0)).nonzero()[0]
    where = int(constant[0]) if len(constant) else None
    center = np.eye(p)
    if where is not None:
        mean = A.sum(0) / n if root is None else root**2 @ A / (root @ root)
        shift = mean / A[0, where]
        shift[where] = 0.0
        center[where] -= shift
        A = A - A[0, where] * shift
    if root is not None:
        A = root[:, None] * A
    Q, R = np.linalg.qr(A)
    diagonal = np.abs(R.diagonal())
    free = diagonal > DEPENDENT * np.sqrt((A * A).sum(0))[: len(diagonal)]
    if n < p or not free.all():
        return Q, center, np.where(free, 0.0, -np.inf), where
    return Q, center @ np.linalg.inv(R), np.log(diagonal), where


def coordinates(term: RandomTerm, root: Vector | None = None) -> tuple[Matrix, Matrix]:
    """W Z T and T of a term, W Z T with orthogonal columns of RMS 1 (dependent columns: RMS 1 only)."""
    size = math.sqrt(len(term.Z))
    Q, T, logs, _ = orthonormal(term.Z, root)
    if np.isfinite(logs).all():
        return size * Q, size * T
    Z = term.Z if root is None else root[:, None] * term.Z
    rms = np.linalg.norm(Z, axis=0) / size
    if not rms.all():
        raise ModelError(f"term on {term.group}: column {term.names[int(rms.argmin())]} is zero in every row")
    return Z / rms, np.diag(1 / rms)


def sums(values: Matrix, index: NDArray[np.intp], q: int) -> Matrix:
    """Sums of rows of `values` by level; (q, ...)."""
    flat = values.reshape(len(values), -1)
    out = np.empty((q, flat.shape[1]))
    for j in range(flat.shape[1]):
        out[:, j] = np.bincount(index, flat[:, j], q)
    return out.reshape(q, *values.shape[1:])


def levelled(rows: Matrix, blocks: Matrix, index: NDArray[np.intp]) -> Matrix:
    """Each row (n, k) times its level's block (q, k, columns)."""
    out: Matrix = rows[:, :1] * blocks[index, 0]
    for j in range(1, rows.shape[1]):
        out += rows[:, j : j + 1] * blocks[index, j]
    return out


def level_bases(Z: Matrix, index: NDArray[np.intp], q: int) -> tuple[Matrix, Matrix]:
    """Rows of Q (n, k) and R (q, k, k) with Z_l = Q_l R_l in each level.

    Eigenvectors of Z_l'Z_l, then a Cholesky correction (the second pass makes Q orthonormal to
    rounding). A direction that a level does not have (one row, constant x) has zero columns in Q.
    """
    if Z.shape[1] == 1:
        root = np.sqrt(sums(Z * Z, index, q))
        unit = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        return Z * unit[index], root[:, :, None]
    D, U = np.linalg.eigh(sums(Z[:, :, None] * Z[:, None, :], index, q))
    keep = np.maximum(D[:, -1:], np.finfo(float).tiny) * 1e-13 < D
    root = np.sqrt(np.where(keep, D, 0.0))
    unit = np.divide(1.0, root, out=np.zeros_like(root), where=keep)
    rows = levelled(Z, U * unit[:, None], index)
    again = sums(rows[:, :, None] * rows[:, None, :], index, q)
    again[:, range(Z.shape[1]), range(Z.shape[1])] += ~keep
    L = np.linalg.cholesky(again)
    rows = levelled(rows, np.swapaxes(np.linalg.inv(L), 1, 2), index)
    return rows, np.swapaxes(L, 1, 2) @ (root[:, :, None] * np.swapaxes(U, 1, 2))
