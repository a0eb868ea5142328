"""Pivot: a scalar random effect of many levels, eliminated from a unit that would be too large with it.

With z_l the column of level l (rows of other levels are 0 in it), an orthogonal change of each level's
rows makes one row of z_l'[Z X y] / |z_l|, where Z are the other random effects, and rows in which z_l
is 0. The latter do not depend on the eliminated variance: once compressed, they serve at every point.
At a point, each level's first row is divided by sqrt(1 + lambda^2 |z_l|^2); what is left is a unit
without the eliminated effects. No cross-product is formed of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.model import Matrix, Vector

ROWS = 8192
"""Rows that are rotated and compressed at once."""


@dataclass(frozen=True, eq=False, slots=True)
class Pivot:
    """The eliminated term of a unit.

    Attributes
    ----------
    term : int
    levels : (S,) int array
    norms : (S,) array
        |z_l|.
    rows : (S, r + p + 1) array
        ``z_l'[Z X y] / |z_l|``, Z the unit's r other random effects; 0 where z_l is.
    """

    term: int
    levels: np.ndarray
    norms: Vector
    rows: Matrix

    def scaled(self, factor: float) -> tuple[Vector, Matrix]:
        """``1 / sqrt(1 + factor^2 |z_l|^2)`` (S,), and the rows times it."""
        scale = 1 / np.hypot(1.0, factor * self.norms)
        return scale, scale[:, None] * self.rows


@dataclass(frozen=True, eq=False, slots=True)
class Eliminated:
    """What V0^-1 makes of the eliminated columns z_l: M = z'V0^-1 z is diag(c) (I - g g') diag(c).

    Attributes
    ----------
    pivot : Pivot
    c : (S,) array
    g : (S, r) array
    Z, X, y : (S, r), (S, p), (S,) arrays
        ``z_l'V0^-1 [Z X y]``.
    """

    pivot: Pivot
    c: Vector
    g: Matrix
    Z: Matrix
    X: Matrix
    y: Vector

    @classmethod
    def of(cls, pivot: Pivot, factor: float, Lambda: Matrix, upper: Matrix) -> Eliminated:
        """From the first r rows of the orthogonal reduction of [Z Lambda, Z, X, y; I, 0, 0, 0]."""
        from scipy.linalg import solve_triangular

        r = len(Lambda)
        scale, rows = pivot.scaled(factor)
        g = solve_triangular(upper[:, :r], (rows[:, :r] @ Lambda).T, trans="T").T
        c = scale * pivot.norms
        U = c[:, None] * (rows - g @ upper[:, r:])
        return cls(pivot, c, g, U[:, :r], U[:, r:-1], U[:, -1])

    @property
    def diagonal(self) -> Vector:
        """(S,): z_l'V0^-1 z_l."""
        return np.asarray(self.c**2 * (1 - np.sum(self.g**2, axis=1)))

    @property
    def squares(self) -> float:
        """Sum of the squares of all entries of M, by (r, r) matrices."""
        inner = (self.g * self.c[:, None] ** 2).T @ self.g
        return float(np.sum(self.c**4 * (1 - 2 * np.sum(self.g**2, axis=1))) + np.sum(inner**2))

    def times(self, v: Matrix) -> Matrix:
        """``v M`` for v (..., S)."""
        inner = v * self.c
        return np.asarray(self.c * (inner - (inner @ self.g) @ self.g.T))


def rotated(
    z: Vector, place: np.ndarray, dense: Callable[[np.ndarray], Matrix], compress: Callable[[Matrix], Matrix]
) -> tuple[Vector, Matrix, Matrix]:
    """Norms (S,), first rows (S, k) and the compressed rest of every level's rotated rows.

    Parameters
    ----------
    z : (n,) array
        The eliminated column of each row.
    place : (n,) int array
        Its level, 0 to S - 1.
    dense : callable
        Row numbers (m,) -> ``[Z X y]`` of these rows, (m, k).
    compress : callable
        Rows -> at most k rows with the same cross-products.
    """
    order = np.argsort(place, kind="stable")
    starts = np.r_[np.flatnonzero(np.r_[True, np.diff(place[order]) > 0]), len(order)]
    norms = np.zeros(len(starts) - 1)
    firsts: list[Matrix] = []
    parts: list[Matrix] = []
    at = 0
    while at < len(norms):
        end = max(at + 1, int(np.searchsorted(starts, starts[at] + ROWS, side="right")) - 1)
        rows = order[starts[at] : starts[end]]
        A, keep = dense(rows), np.ones(len(rows), bool)
        first = np.zeros((end - at, A.shape[1]))
        for level in range(at, end):
            cut = slice(starts[level] - starts[at], starts[level + 1] - starts[at])
            norms[level] = np.linalg.norm(z[rows[cut]])
            if norms[level] > 0:
                first[level - at] = _reflect(z[rows[cut]] / norms[level], A[cut])
                keep[cut.start] = False
        firsts.append(first)
        parts = [compress(np.concatenate([*parts, A[keep]]))]
        at = end
    return norms, np.concatenate(firsts), parts[0]


def _reflect(unit: Vector, A: Matrix) -> Vector:
    """``unit'A``, and in place Householder's reflection that makes it the first row, up to its sign."""
    sign = -1.0 if unit[0] < 0 else 1.0
    v = unit.copy()
    v[0] += sign
    A -= np.outer(v, (v @ A) / (1 + abs(unit[0])))
    return np.asarray(-sign * A[0])
