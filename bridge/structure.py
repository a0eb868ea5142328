"""Structure: a model in coordinates that lose no digits, split into independent units of rows.

A *unit* is a connected component of rows that share a level of some grouping factor, so V is
block-diagonal over units: one cluster in a one-way model, the outermost group of a nested one,
the whole data set when factors are crossed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from bridge.errors import ModelError
from bridge.model import Matrix, Model, Vector
from bridge.pivot import Pivot, rotated

LARGEST = 3e8
"""Doubles that a unit may take (2.4 GB): beyond it a term is eliminated first, or it is too large."""


@dataclass(frozen=True, eq=False, slots=True)
class Coordinates:
    """An invertible change ``columns @ T`` that centres on an intercept and scales by powers of two.

    Attributes
    ----------
    T : (k, k) array
        New columns = old columns @ T.
    inverse : (k, k) array
    """

    T: Matrix
    inverse: Matrix

    @property
    def logdet(self) -> float:
        """log|det T|; exact, T is triangular with powers of two on its diagonal."""
        return float(np.sum(np.log(np.abs(np.diag(self.T)))))


def power_of_two(scale: float) -> float:
    """The power of two nearest to 1 / scale, so that multiplying by it rounds nothing."""
    return 1.0 if not math.isfinite(scale) or scale <= 0 else 2.0 ** -round(math.log2(scale))


def centred(columns: Matrix, weights: Vector | None = None) -> tuple[Matrix, Coordinates]:
    """Columns centred (if one of them is constant 1) and scaled to order one, and the change made.

    With weights (n,): centred at weighted means, and each row times the root of its weight.
    """
    k = columns.shape[1]
    ones = [j for j in range(k) if np.all(columns[:, j] == 1.0)]
    shift = np.zeros(k)
    if ones and len(columns):
        shift = mean(columns, weights)
        shift[ones[0]] = 0.0
    moved = rooted(columns - shift, weights)
    scale = np.array([power_of_two(float(np.max(np.abs(c), initial=0.0))) for c in moved.T])
    T = np.diag(scale)
    inverse = np.diag(1 / scale)
    if ones:
        T[ones[0]] -= shift * scale
        inverse[ones[0]] += shift / scale[ones[0]]
        T[ones[0], ones[0]] = scale[ones[0]]
        inverse[ones[0], ones[0]] = 1 / scale[ones[0]]
    return moved * scale, Coordinates(T, inverse)


def mean(columns: Matrix | Vector, weights: Vector | None) -> Vector:
    """(Weighted) mean of each column."""
    return np.asarray(
        columns.mean(axis=0) if weights is None else np.average(columns, axis=0, weights=weights)
    )


def rooted(columns: Matrix, weights: Vector | None) -> Matrix:
    """Rows times the root of their weights, which makes the residual variance sigma2 in all of them."""
    return columns if weights is None else columns * np.sqrt(weights)[:, None]


@dataclass(frozen=True, eq=False, slots=True)
class Bucket:
    """Units with the same pattern of random-effect blocks, stacked.

    Attributes
    ----------
    blocks : tuple of int
        The random term of each block of columns, e.g. ``(0,)`` or ``(0, 0, 0, 1)``.
    levels : (J, len(blocks)) int array
        The level that each block stands for.
    Z, X, y : (J, m, q), (J, m, p), (J, m) arrays
        Each unit's rows, times the root of their weights, rotated and compressed to at most q + p + 1
        (an orthogonal change of rows leaves the criterion as it is), padded with zero rows.
    offsets : tuple of int
        First column of each block in Z; one more than blocks.
    pivot : Pivot or None
        Of one large unit: the term that is eliminated, and not in blocks; Z, X and y are then the rows
        that do not depend on it.
    """

    blocks: tuple[int, ...]
    levels: np.ndarray
    Z: Matrix
    X: Matrix
    y: Matrix
    offsets: tuple[int, ...]
    pivot: Pivot | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """A model ready for the criterion.

    Attributes
    ----------
    model : Model
    buckets : tuple of Bucket
    fixed : Coordinates
        Of X.
    terms : tuple of Coordinates
        Of each random term's Z.
    origin, unit : float
        y is used as (y - offset - origin) * unit, unit a power of two; origin is 0 without an intercept.
    intercept : int or None
        Column of X that is constant 1.
    """

    model: Model
    buckets: tuple[Bucket, ...]
    fixed: Coordinates
    terms: tuple[Coordinates, ...]
    origin: float
    unit: float
    intercept: int | None

    @classmethod
    def of(cls, model: Model) -> Structure:
        """Centre, scale, split into units and compress.

        Raises
        ------
        ModelError
            The dense blocks of a unit would not fit in memory; or errors whose parameters are not settled.
        """
        if model.residual is not None and model.residual.at is None:
            raise ModelError(
                f"formula {model.formula!r}: {model.residual.kind}() is not taken here; "
                "lmmbridge run, compare and certify judge it"
            )
        X, fixed = centred(model.X, model.weights)
        ones = [j for j in range(model.p) if np.all(model.X[:, j] == 1.0)]
        y = model.y - model.known_mean
        origin = float(mean(y, model.weights)) if ones else 0.0
        moved = rooted((y - origin)[:, None], model.weights)[:, 0]
        unit = power_of_two(float(np.std(moved)) if model.n > 1 else 1.0)
        Zs, terms = [], []
        for term in model.random:
            Z, coordinates = centred(term.Z, model.weights)
            Zs.append(Z)
            terms.append(coordinates)
        buckets = tuple(_buckets(model, Zs, X, moved * unit))
        return cls(model, buckets, fixed, tuple(terms), origin, unit, ones[0] if ones else None)

    @property
    def columns(self) -> list[Matrix]:
        """Each term's Z (n, k), centred and scaled, rows times the root of their weights."""
        return [
            rooted(term.Z @ c.T, self.model.weights)
            for term, c in zip(self.model.random, self.terms, strict=True)
        ]

    @property
    def log_weights(self) -> float:
        """Sum of log w, which the criterion has with a minus; 0 without weights."""
        return 0.0 if self.model.weights is None else float(np.sum(np.log(self.model.weights)))

    def inward(self, psi: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
        """Covariances of the user's random effects -> of the centred, scaled ones (y's unit too)."""
        return tuple(
            (c.inverse @ G @ c.inverse.T) * self.unit**2 for c, G in zip(self.terms, psi, strict=True)
        )

    def outward(self, psi: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
        """Inverse of `inward`."""
        return tuple((c.T @ G @ c.T.T) / self.unit**2 for c, G in zip(self.terms, psi, strict=True))

    def beta_inward(self, beta: Vector) -> Vector:
        """The user's coefficients -> those of the centred, scaled columns and response."""
        moved = beta.copy()
        if self.intercept is not None:
            moved[self.intercept] -= self.origin
        return self.fixed.inverse @ moved * self.unit

    def beta_outward(self, beta: Vector) -> Vector:
        """Inverse of `beta_inward`."""
        moved = self.fixed.T @ beta / self.unit
        if self.intercept is not None:
            moved[self.intercept] += self.origin
        return moved


def triangle(rows: Matrix) -> Matrix:
    """R of the QR factorisation, for one matrix or a stack of them."""
    return np.asarray(np.linalg.qr(rows, mode="r"))


def components(model: Model) -> np.ndarray:
    """Unit of each row: (n,) ints. Without random terms every row is its own unit."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not model.random:
        return np.arange(model.n)
    nodes, total = [], 0
    for term in model.random:
        nodes.append(term.index + total)
        total += len(term.levels)
    first = nodes[0]
    rows = np.concatenate([first] * max(1, len(nodes) - 1))
    cols = np.concatenate(nodes[1:] or [first])
    graph = coo_array((np.ones(len(rows)), (rows, cols)), shape=(total, total))
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return labels[first]


def _buckets(model: Model, Zs: list[Matrix], X: Matrix, y: Vector) -> list[Bucket]:
    if not model.random:
        width = model.p + 1
        R = _compress(np.column_stack([X, y]), width)
        Z = np.zeros((1, len(R), 0))
        return [Bucket((), np.zeros((1, 0), int), Z, R[None, :, :-1], R[None, :, -1], (0,))]
    unit_of = components(model)
    order = np.argsort(unit_of, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(unit_of[order]) > 0])
    members = np.split(order, starts[1:])
    groups: dict[tuple[int, ...], list[tuple[list[int], Matrix]]] = defaultdict(list)
    large = []
    for rows in members:
        blocks, levels = [], []
        for t, term in enumerate(model.random):
            here = np.unique(term.index[rows]).tolist()
            blocks += [t] * len(here)
            levels += here
        width = sum(Zs[t].shape[1] for t in blocks) + model.p + 1
        if len(rows) * width > LARGEST:
            large.append(_eliminated(model, Zs, np.column_stack([X, y]), rows, blocks, levels))
            continue
        columns = [
            np.where((model.random[t].index[rows] == level)[:, None], Zs[t][rows], 0.0)
            for t, level in zip(blocks, levels, strict=True)
        ]
        groups[tuple(blocks)].append(
            (levels, _compress(np.column_stack([*columns, X[rows], y[rows]]), width))
        )
    return [_stack(model, blocks, units) for blocks, units in groups.items()] + large


def _eliminated(
    model: Model, Zs: list[Matrix], Xy: Matrix, rows: np.ndarray, blocks: list[int], levels: list[int]
) -> Bucket:
    """A unit without the scalar term of the most levels: `levels` are those of `blocks`, as in a Bucket."""
    owner, level = np.array(blocks), np.array(levels)
    pivot = max((t for t in set(blocks) if Zs[t].shape[1] == 1), key=blocks.count, default=-1)
    mine, others = level[owner == pivot], owner != pivot
    sizes = np.array([Zs[t].shape[1] for t in blocks])[others]
    offsets = np.cumsum([0, *sizes])
    q, width = int(offsets[-1]), int(offsets[-1]) + Xy.shape[1]
    if pivot < 0 or (len(mine) + 4 * width) * width > LARGEST:
        whole = len(rows) * (len(mine) + width) * 8 / 1e9
        raise ModelError(
            f"formula {model.formula!r}: {len(rows)} rows are linked by crossed factors through "
            f"{len(blocks)} levels; the reference needs {whole:.1f} GB. Use fewer rows or levels"
        )
    columns = {t: offsets[:-1][owner[others] == t] for t in set(blocks) - {pivot}}

    def dense(some: np.ndarray) -> Matrix:
        out, here = np.zeros((len(some), width)), rows[some]
        for t, first in columns.items():
            at = first[np.searchsorted(level[owner == t], model.random[t].index[here])]
            for j, column in enumerate(Zs[t][here].T):
                out[np.arange(len(some)), at + j] = column
        out[:, q:] = Xy[here]
        return out

    place = np.searchsorted(mine, model.random[pivot].index[rows])
    norms, first, rest = rotated(Zs[pivot][rows, 0], place, dense, lambda A: _compress(A, width))
    return Bucket(
        tuple(owner[others].tolist()),
        level[None, others],
        rest[None, :, :q],
        rest[None, :, q:-1],
        rest[None, :, -1],
        tuple(offsets.tolist()),
        Pivot(pivot, mine, norms, first),
    )


def _compress(rows: Matrix, width: int) -> Matrix:
    """At most `width` rows with the same cross-products: the R factor."""
    return triangle(rows) if len(rows) > width else rows


def _stack(model: Model, blocks: tuple[int, ...], units: list[tuple[list[int], Matrix]]) -> Bucket:
    sizes = [model.random[t].Z.shape[1] for t in blocks]
    offsets = tuple(int(o) for o in np.cumsum([0, *sizes]))
    m = max(len(R) for _, R in units)
    A = np.zeros((len(units), m, offsets[-1] + model.p + 1))
    for j, (_, R) in enumerate(units):
        A[j, : len(R)] = R
    q = offsets[-1]
    return Bucket(blocks, np.array([lv for lv, _ in units]), A[:, :, :q], A[:, :, q:-1], A[:, :, -1], offsets)
