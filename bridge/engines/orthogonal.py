"""Orthogonal bases of the fixed effects, of a random term, and of the rows of each level."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.model import Matrix, RandomTerm, Vector


def orthonormal(A: Matrix) -> tuple[Matrix, Matrix, Vector, int | None]:
    """Q = A T with Q'Q = I, log of the diagonal of T's inverse, and a column of ones (or any constant).

    Columns are centred first where a constant column lets them be: QR of x + 2000 would lose the
    digits that x has. A dependent column has -inf as its log.
    """
    center, constant = np.eye(A.shape[1]), np.flatnonzero((A[0] == A).all(0) & (A[0] != 0))
    where = int(constant[0]) if len(constant) else None
    if where is not None:
        shift = A.mean(0) / A[0, where]
        shift[where] = 0.0
        center[where] -= shift
        A = A - A[:, [where]] * shift
    Q, R = np.linalg.qr(A)
    diagonal = np.abs(np.diagonal(R))
    if len(A) < A.shape[1] or (diagonal <= 1e-11 * np.linalg.norm(A, axis=0)).any():
        free = diagonal > 1e-11 * np.linalg.norm(A, axis=0)[: len(diagonal)]
        return Q, center, np.where(free, 0.0, -np.inf), where
    return Q, center @ np.linalg.inv(R), np.log(diagonal), where


def coordinates(term: RandomTerm) -> tuple[Matrix, Matrix]:
    """Z T and T of a term, Z T with orthogonal columns of RMS 1 (dependent columns: RMS 1 only)."""
    root = math.sqrt(len(term.Z))
    Q, T, logs, _ = orthonormal(term.Z)
    if np.isfinite(logs).all():
        return root * Q, root * T
    rms = np.linalg.norm(term.Z, axis=0) / root
    if not rms.all():
        raise ModelError(f"term on {term.group}: column {term.names[int(rms.argmin())]} is zero in every row")
    return term.Z / rms, np.diag(1 / rms)


def sums(values: Matrix, index: NDArray[np.intp], q: int) -> Matrix:
    """Sums of rows of `values` by level; (q, ...)."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=q)
    starts = (np.cumsum(counts) - counts)[counts > 0]
    out = np.zeros((q, *values.shape[1:]))
    out[counts > 0] = np.add.reduceat(values[order], starts, axis=0)
    return out


def level_bases(Z: Matrix, index: NDArray[np.intp], q: int) -> tuple[Matrix, Matrix]:
    """Rows of Q (n, k) and R (q, k, k) with Z_l = Q_l R_l in each level.

    Eigenvectors of Z_l'Z_l, then a Cholesky correction (the second pass makes Q orthonormal to
    rounding). A direction that a level does not have (one row, constant x) has zero columns in Q.
    """
    D, U = np.linalg.eigh(sums(Z[:, :, None] * Z[:, None, :], index, q))
    keep = np.maximum(D[:, -1:], np.finfo(float).tiny) * 1e-13 < D
    root = np.sqrt(np.where(keep, D, 0.0))
    unit = np.divide(1.0, root, out=np.zeros_like(root), where=keep)
    rows = np.einsum("ij,ijk->ik", Z, (U * unit[:, None])[index])
    again = sums(rows[:, :, None] * rows[:, None, :], index, q)
    again[:, range(Z.shape[1]), range(Z.shape[1])] += ~keep
    L = np.linalg.cholesky(again)
    rows = np.einsum("ij,ikj->ik", rows, np.linalg.inv(L)[index])
    return rows, np.swapaxes(L, 1, 2) @ (root[:, :, None] * np.swapaxes(U, 1, 2))
