"""Sums: the sums of products that the criterion needs of the data, in ball arithmetic from exact doubles.

Per unit (bridge.structure) C = Z'Z and B = Z'[X y], once for all D = [X y]'[X y], in the Structure's
centred, scaled coordinates: rows are moved exactly before they are multiplied, so nothing cancels.
With weights these are Z'WZ, Z'W[X y] and [X y]'W[X y]: no root is taken. From y its offset is taken exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.fit import Method
from bridge.model import Matrix, Model, Vector
from bridge.structure import Structure, components, rooted

if TYPE_CHECKING:
    from flint import arb, arb_mat

BITS = 256
"""Working precision where nothing else is asked for: 77 digits."""
LARGEST = 400
"""Random effects in one unit beyond which ball arithmetic takes too long (an inverse at 300: 1.3 s)."""
POOLED = 48
"""Size q (p + 1) of a unit's B up to which like units are summed as outer products."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Flint's working precision set, and put back as it was."""
    from flint import ctx

    before, ctx.prec = ctx.prec, bits
    try:
        yield
    finally:
        ctx.prec = before


def widths(model: Model) -> np.ndarray:
    """Random effects in each unit: (units,) ints."""
    units = components(model)
    counts = np.zeros(int(units.max(initial=0)) + 1, dtype=int)
    for term in model.random:
        first = np.unique(term.index, return_index=True)[1]
        np.add.at(counts, units[first], term.Z.shape[1])
    return counts


def within_reach(model: Model) -> bool:
    """Whether every unit is small enough, and units are few enough."""
    counts = widths(model)
    return bool(np.max(counts, initial=0) <= LARGEST and len(counts) <= 20_000)


def exact(columns: Matrix) -> arb_mat:
    """The doubles of a matrix as they are stored."""
    from flint import arb_mat

    rows, cols = columns.shape
    entries: list[float] = np.asarray(columns, dtype=float).ravel().tolist()
    return arb_mat(rows, cols, entries)


def identity(k: int) -> arb_mat:
    """I of size k."""
    from flint import arb_mat

    out = arb_mat(k, k)
    for i in range(k):
        out[i, i] = 1
    return out


@dataclass(frozen=True, eq=False, slots=True)
class Cell:
    """Units with the same Z and weights, and so the same C.

    Attributes
    ----------
    blocks : tuple of int
        The random term of each block of columns.
    offsets : tuple of int
        First column of each block; one more than blocks.
    levels : tuple of tuple of int
        Per unit, the level that each block stands for.
    C : (q, q) arb_mat
    B : tuple of (q, p + 1) arb_mat
        Per unit.
    pooled : (q * q, (p + 1) * (p + 1)) arb_mat or None
        ``sum_j B_j[r, a] B_j[s, b]`` at ((r, s), (a, b)); None where the units are few or large.
    """

    blocks: tuple[int, ...]
    offsets: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]
    C: arb_mat
    B: tuple[arb_mat, ...]
    pooled: arb_mat | None

    def spread(self, psi: Sequence[arb_mat]) -> arb_mat:
        """Block-diagonal Psi of one unit."""
        from flint import arb_mat

        q = self.offsets[-1]
        out: list[arb | int] = [0] * (q * q)
        for b, t in enumerate(self.blocks):
            at, k = self.offsets[b], psi[t].nrows()
            for i in range(k):
                out[(at + i) * q + at : (at + i) * q + at + k] = [psi[t][i, j] for j in range(k)]
        return arb_mat(q, q, out)

    def of(self, term: int) -> list[int]:
        """First columns of a term's blocks."""
        return [self.offsets[b] for b, t in enumerate(self.blocks) if t == term]


@dataclass(frozen=True, eq=False, slots=True)
class Sums:
    """All that the criterion needs of the data, in the Structure's centred, scaled coordinates.

    Attributes
    ----------
    structure : Structure
    bits : int
        Precision at which the sums were made.
    T : (p, p) arb_mat
        X here is the model's X @ T (y aside): centred, and orthonormal to about 16 digits.
    D : (p + 1, p + 1) arb_mat
    cells : tuple of Cell
    log_weights : arb
        Sum of log w.
    """

    structure: Structure
    bits: int
    T: arb_mat
    D: arb_mat
    cells: tuple[Cell, ...]
    log_weights: arb | int = 0

    @classmethod
    def of(cls, structure: Structure, bits: int = BITS, spread: bool = True) -> Sums:
        """From the exact values of the doubles; rows are moved before they are multiplied.

        Without `spread` there are no cells: each would hold its unit's Z.
        """
        from flint import arb_mat

        model = structure.model
        with precision(bits):
            width = model.p + 1
            T = orthonormal(structure)
            rows, weighted = table(structure, T)
            flat = weighted.entries()
            cells = []
            for (blocks, _), units in _alike(model).items() if spread else ():
                levels, members, Z = units[0]
                offsets = tuple(np.cumsum([0, *(model.random[t].Z.shape[1] for t in blocks)]).tolist())
                shell = Cell(blocks, offsets, (levels,), arb_mat(0, 0), (), None)
                wide = exact(Z) * shell.spread([exact(c.T) for c in structure.terms])
                Zt, B = wide.transpose(), []
                C = Zt * _weighted(wide, None if model.weights is None else model.weights[members])
                for _, members, _ in units:
                    picked = [v for i in members.tolist() for v in flat[i * width : (i + 1) * width]]
                    B.append(Zt * arb_mat(len(members), width, picked))
                everyone = tuple(unit[0] for unit in units)
                cells.append(Cell(blocks, offsets, everyone, C, tuple(B), _pool(B)))
            logs = _logs(model.weights)
            return cls(structure, bits, T, rows.transpose() * weighted, tuple(cells), logs)

    @property
    def p(self) -> int:
        """Fixed effects."""
        return self.structure.model.p

    def nu(self, method: Method) -> int:
        """Degrees of freedom of sigma2."""
        return self.structure.model.n - (self.p if method == "REML" else 0)


def orthonormal(structure: Structure) -> arb_mat:
    """T of the Structure's X, times the inverse of its R factor as float64 has it, taken as exact.

    The closer W_xx is to the identity, the tighter are balls over wide intervals.
    """
    model = structure.model
    T = exact(structure.fixed.T)
    try:
        inner = np.linalg.inv(np.linalg.qr(rooted(model.X @ structure.fixed.T, model.weights), mode="r"))
    except np.linalg.LinAlgError:
        return T
    return T * exact(np.triu(inner)) if model.p and np.all(np.isfinite(inner)) else T


def table(structure: Structure, T: arb_mat) -> tuple[arb_mat, arb_mat]:
    """The moved rows ``[X y]`` (n, p + 1), and the same times their weights."""
    rows = _table(structure.model) * _moves(structure, T)
    return rows, _weighted(rows, structure.model.weights)


def _table(model: Model) -> arb_mat:
    """``[X y]`` with y less its offset, exactly."""
    rows = exact(np.column_stack([model.X, model.y]))
    for i, known in enumerate([] if model.offset is None else model.offset.tolist()):
        rows[i, model.p] = rows[i, model.p] - known
    return rows


def _weighted(rows: arb_mat, weights: Vector | None) -> arb_mat:
    """Each row times its weight."""
    from flint import arb, arb_mat

    if weights is None:
        return rows
    width, exactly = rows.ncols(), [arb(w) for w in weights.tolist()]
    return arb_mat(rows.nrows(), width, [v * exactly[i // width] for i, v in enumerate(rows.entries())])


def _logs(weights: Vector | None) -> arb:
    """Sum of log w; weights are often few distinct ones."""
    from flint import arb

    distinct, counts = np.unique([] if weights is None else weights, return_counts=True)
    pairs = zip(distinct.tolist(), counts.tolist(), strict=True)
    return sum((arb(w).log() * count for w, count in pairs), arb(0))


def _moves(structure: Structure, T: arb_mat) -> arb_mat:
    """The change of columns: ``[X y] @ moves`` is centred and scaled."""
    p = structure.model.p
    change = exact(np.zeros((p + 1, p + 1)))
    for i in range(p):
        for j in range(p):
            change[i, j] = T[i, j]
    change[p, p] = structure.unit
    if structure.intercept is not None:
        change[structure.intercept, p] = -structure.origin * structure.unit
    return change


def _alike(
    model: Model,
) -> Mapping[tuple[tuple[int, ...], bytes], list[tuple[tuple[int, ...], np.ndarray, Matrix]]]:
    """Units by the content of Z and weights: levels, rows in a canonical order, and Z spread, of each."""
    found: dict[tuple[tuple[int, ...], bytes], list[tuple[tuple[int, ...], np.ndarray, Matrix]]]
    found = defaultdict(list)
    if not model.random:
        return found
    units = components(model)
    order = np.argsort(units, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(units[order])) + 1):
        parts = []
        for t, term in enumerate(model.random):
            here, Z = term.index[rows], term.Z[rows] + 0.0
            if here[0] == here[-1] and np.all(here == here[0]):
                parts.append((t, b"", int(here[0]), Z))
                continue
            for level in np.unique(here).tolist():
                columns = np.where((here == level)[:, None], Z, 0.0)
                parts.append((t, np.sort(columns, axis=0).tobytes(), level, columns))
        parts.sort(key=lambda part: part[:3])
        Z = np.column_stack([part[3] for part in parts])
        w = np.ones(len(rows)) if model.weights is None else model.weights[rows]
        canonical = np.lexsort([w, *Z.T])
        Z = np.ascontiguousarray(Z[canonical])
        key = tuple(part[0] for part in parts), Z.tobytes() + w[canonical].tobytes()
        found[key].append((tuple(part[2] for part in parts), rows[canonical], Z))
    return found


def _pool(B: Sequence[arb_mat]) -> arb_mat | None:
    from flint import arb_mat

    q, width = B[0].nrows(), B[0].ncols()
    size = q * width
    if size > POOLED or (len(B) == 1 and q > 1):
        return None
    stacked = arb_mat(len(B), size, [v for b in B for v in b.entries()])
    flat = (stacked.transpose() * stacked).entries()
    return arb_mat(
        q * q,
        width * width,
        [
            flat[(r * width + a) * size + s * width + b]
            for r in range(q)
            for s in range(q)
            for a in range(width)
            for b in range(width)
        ],
    )


def inward(structure: Structure, psi: Sequence[arb_mat]) -> tuple[arb_mat, ...]:
    """Relative covariances of the user's random effects -> the Structure's coordinates."""
    out = []
    for coordinates, G in zip(structure.terms, psi, strict=True):
        back = exact(coordinates.T).inv()
        out.append(back * G * back.transpose())
    return tuple(out)


def outward(structure: Structure, psi: Sequence[arb_mat]) -> tuple[arb_mat, ...]:
    """Inverse of `inward`."""
    moved = [exact(c.T) for c in structure.terms]
    return tuple(T * G * T.transpose() for T, G in zip(moved, psi, strict=True))
