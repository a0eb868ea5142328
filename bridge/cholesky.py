"""Cholesky: a covariance's lower factor in plain arithmetic, the same to the bit on any machine."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def combine(weights: list[float], columns: Floats) -> Floats:
    """Weighted sum of (m, n) columns, from left to right."""
    total = weights[0] * columns[0]
    for weight, column in zip(weights[1:], columns[1:], strict=False):
        total = total + weight * column
    return np.asarray(total)


def factor(covariance: tuple[tuple[float, ...], ...], k: int) -> list[list[float]]:
    """Lower Cholesky factor, in plain arithmetic: LAPACK's last bit differs between machines.

    Zero pivots are allowed (a perfect correlation, or an effect with no variance).
    """
    if [len(row) for row in covariance] != [k] * k:
        raise ValueError(f"covariance must have {k} rows of {k} numbers, for (intercept, slopes)")
    if any(covariance[i][j] != covariance[j][i] for i in range(k) for j in range(i)):
        raise ValueError("covariance is not symmetric; mirror its entries")
    L = [[0.0] * k for _ in range(k)]
    for i in range(k):
        for j in range(i + 1):
            rest = covariance[i][j] - sum(L[i][m] * L[j][m] for m in range(j))
            tiny = 1e-12 * math.sqrt(abs(covariance[i][i] * covariance[j][j]))
            if i == j:
                if rest < -tiny:
                    raise ValueError("covariance is not positive semidefinite; lower its correlations")
                L[i][i] = math.sqrt(rest) if rest > tiny else 0.0
            elif L[j][j] > 0:
                L[i][j] = rest / L[j][j]
            elif abs(rest) > tiny:
                raise ValueError("covariance is not positive semidefinite; lower its correlations")
    return L
