"""Lanes: algebra of many small matrices (m, m, ...), the replicate last: each entry is one long array."""

from __future__ import annotations

import numpy as np

from bridge.model import Matrix


def root(A: Matrix) -> Matrix:
    """Lower Cholesky factors; NaN where A is not positive definite."""
    L = np.zeros_like(A)
    with np.errstate(invalid="ignore", divide="ignore"):
        for j in range(len(A)):
            for i in range(j, len(A)):
                rest = A[i, j] - (L[i, :j] * L[j, :j]).sum(0) if j else A[i, j]
                L[i, j] = np.sqrt(rest) if i == j else rest / L[j, j]
    return L


def inverse(L: Matrix) -> Matrix:
    """Inverses of lower triangles."""
    W = np.zeros_like(L)
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in range(len(L)):
            W[i, i] = 1 / L[i, i]
            for j in range(i):
                W[i, j] = -(L[i, j:i] * W[j:i, j]).sum(0) * W[i, i]
    return W


def logdet(L: Matrix) -> Matrix:
    """log|L L'|."""
    out: Matrix = 2 * sum(np.log(L[i, i]) for i in range(len(L))) + np.zeros(L.shape[2:])
    return out
