"""Elimination: the criterion and its gradient in ball arithmetic where a pivot's term is eliminated first.

As bridge.balls, for the one large unit of a Structure with a pivot (bridge.pivot). With F_l = z_l'Z,
b_l = z_l'[X y], d_l = z_l'z_l, a the variance of the eliminated term, u_l = 1 + a d_l and h_l = a / u_l:
C = Z'Z - sum h_l F_l'F_l, B = Z'[X y] - sum h_l F_l'b_l, D = [X y]'[X y] - sum h_l b_l'b_l, and then
M = (I + C Psi)^-1, U = M B, W = D - B'Psi U as ever; z_l'V0^-1 [X y] = (b_l - F_l Psi U) / u_l and
z_l'V0^-1 z_l = d_l / u_l - F_l Psi M F_l' / u_l^2. F is sparse. Nothing is proven with it: it has no Hessian.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.balls import Point, profiled
from bridge.chart import Chart
from bridge.criterion import Criterion
from bridge.derivatives import Derivatives
from bridge.fit import Method
from bridge.proof import Lost, Stationary
from bridge.structure import Bucket, Structure
from bridge.sums import Cell, Sums, exact, identity, precision, table

if TYPE_CHECKING:
    from flint import arb, arb_mat

BITS = 192
"""Working precision: 57 digits, of which 30 are kept."""
LARGEST = 1500
"""Random effects that are left beyond which it takes too long (1142: minutes)."""
STEPS = 3
"""Newton steps from float64's optimum: the last one is far below the 30th digit."""


@dataclass(frozen=True, eq=False, slots=True)
class Elimination:
    """The sums of products of a unit with a pivot.

    Attributes
    ----------
    sums : Sums
        Without cells: D and T.
    cell : Cell
        The random effects that are left, C = Z'Z and B = Z'[X y].
    term : int
        The eliminated one.
    d : tuple of arb
    F : tuple of mapping of int to arb
        Per level, its entries that are not zero.
    b : tuple of tuple of arb
    """

    sums: Sums
    cell: Cell
    term: int
    d: tuple[arb, ...]
    F: tuple[dict[int, arb], ...]
    b: tuple[tuple[arb, ...], ...]

    @classmethod
    def of(cls, structure: Structure) -> Elimination | None:
        """From the exact values of the doubles; None but for one unit with a pivot, or if it is too much."""
        bucket = structure.buckets[0]
        if len(structure.buckets) > 1 or bucket.pivot is None or bucket.offsets[-1] > LARGEST:
            return None
        sums = Sums.of(structure, BITS, spread=False)
        with precision(BITS):
            return _summed(structure, bucket, sums, table(structure, sums.T)[1].tolist())

    def at(self, method: Method, psi: Sequence[arb_mat]) -> tuple[Point, arb_mat, arb]:
        """The criterion's Point at relative covariances (no Hessian), I + C Psi, and the sum of log u."""
        from flint import arb, arb_mat

        a, q, width = psi[self.term][0, 0], self.cell.C.nrows(), self.sums.p + 1
        u = [1 + a * d for d in self.d]
        C, B, D = self.cell.C.tolist(), self.cell.B[0].tolist(), self.sums.D.tolist()
        for F, b, ul in zip(self.F, self.b, u, strict=True):
            h = a / ul
            for i, v in F.items():
                hv = h * v
                _subtract(C[i], hv, F.items())
                _subtract(B[i], hv, enumerate(b))
            for i, v in enumerate(b):
                _subtract(D[i], h * v, enumerate(b))
        right = arb_mat(B)
        A = identity(q) + arb_mat(self._times(C, psi))
        M = A.inv()
        U = M * right
        PU = arb_mat(self._left(psi, U.tolist()))
        W = arb_mat(D) - right.transpose() * PU
        phi, g, r2, inverse, Q = profiled(W, self.sums.nu(method), method)
        K, lifted = self._left(psi, M.tolist()), PU.tolist()
        gamma = self._others(psi, M, C, U * Q * U.transpose())
        total = arb(0)
        for F, b, d, ul in zip(self.F, self.b, self.d, u, strict=True):
            inner = sum((v * sum((w * K[i][j] for j, w in F.items()), arb(0)) for i, v in F.items()), arb(0))
            fixed = [b[k] - sum((v * lifted[i][k] for i, v in F.items()), arb(0)) for k in range(width)]
            row = arb_mat(1, width, fixed)
            total += d / ul - (inner + (row * Q * row.transpose())[0, 0]) / ul**2
        gamma[self.term] = arb_mat(1, 1, [total])
        logs = sum((ul.log() for ul in u), arb(0))
        return Point(self.sums, method, tuple(psi), (), W, phi, g, r2, inverse, tuple(gamma), (), {}), A, logs

    def _blocks(self) -> list[tuple[int, int]]:
        """First column and term of each block."""
        return list(zip(self.cell.offsets[:-1], self.cell.blocks, strict=True))

    def _times(self, rows: list[list[arb]], psi: Sequence[arb_mat]) -> list[list[arb]]:
        """Rows times the block-diagonal Psi."""
        columns = [
            [(at + i, psi[t][i, j]) for i in range(psi[t].nrows())]
            for at, t in self._blocks()
            for j in range(psi[t].nrows())
        ]
        return [[_dot(row, column) for column in columns] for row in rows]

    def _left(self, psi: Sequence[arb_mat], rows: list[list[arb]]) -> list[list[arb]]:
        """The block-diagonal Psi times a matrix."""
        columns = self._times([list(c) for c in zip(*rows, strict=True)], psi)
        return [list(row) for row in zip(*columns, strict=True)]

    def _others(self, psi: Sequence[arb_mat], M: arb_mat, C: list[list[arb]], less: arb_mat) -> list[arb_mat]:
        """Gamma of the terms that are left: diagonal blocks of M C less U Q U', summed over levels."""
        from flint import arb, arb_mat

        gamma, columns, rows = [G * 0 for G in psi], list(zip(*C, strict=True)), M.tolist()
        for at, t in self._blocks():
            k = psi[t].nrows()
            seen = [
                sum(map(arb.__mul__, rows[at + i], columns[at + j]), arb(0)) - less[at + i, at + j]
                for i in range(k)
                for j in range(k)
            ]
            gamma[t] = gamma[t] + arb_mat(k, k, seen)
        return gamma


def refine(found: Elimination, criterion: Criterion, where: Chart, x: Sequence[float]) -> Stationary | Lost:
    """Newton in balls with float64's Hessian, unproven; the box is ten times the last step.

    The caller sets the precision to BITS.
    """
    from flint import arb, arb_mat

    try:
        inverse = exact(np.linalg.inv(_hessian(criterion, where, x)))
        middle, step = [arb(v) for v in x], [arb(0) for _ in x]
        for _ in range(STEPS):
            point = found.at(criterion.method, where.psi(middle))[0]
            step = (inverse * arb_mat(len(x), 1, point.gradient(where.first(middle)))).entries()
            middle = [(m - s).mid() for m, s in zip(middle, step, strict=True)]
        box = tuple(arb(m, 10 * abs(s).upper()) for m, s in zip(middle, step, strict=True))
        point, A, logs = found.at(criterion.method, where.psi(box))
        return Stationary(where, box, point, point.value() + logs + A.det().log())
    except (ZeroDivisionError, np.linalg.LinAlgError):
        return Lost("a matrix is not certainly regular near it")


def _hessian(criterion: Criterion, where: Chart, x: Sequence[float]) -> np.ndarray:
    """Float64's, by the parameters of a chart."""
    factors, directions, numbers = [], [], iter(x)
    for t, term in enumerate(where.terms):
        L = np.zeros((len(term.order), len(term.order)))
        for row, column in term.entries:
            L[row, column] = next(numbers)
            direction = np.zeros_like(L)
            direction[row, column] = 1.0
            directions.append((t, direction))
        factors.append(L)
    point = criterion.at(tuple(factors))
    return Derivatives.of(criterion, point, directions).hessian(point.r2, criterion.nu)


def _summed(structure: Structure, bucket: Bucket, sums: Sums, weighted: list[list[arb]]) -> Elimination:
    """One pass over the rows."""
    from flint import arb, arb_mat

    model, pivot = structure.model, bucket.pivot
    assert pivot is not None
    q, width = bucket.offsets[-1], model.p + 1
    columns = [exact(term.Z) * exact(c.T) for term, c in zip(model.random, structure.terms, strict=True)]
    first = {
        (t, level): at
        for t, level, at in zip(bucket.blocks, bucket.levels[0].tolist(), bucket.offsets[:-1], strict=True)
    }
    place = {level: i for i, level in enumerate(pivot.levels.tolist())}
    C = [[arb(0)] * q for _ in range(q)]
    B = [[arb(0)] * width for _ in range(q)]
    d, b = [arb(0)] * len(place), [[arb(0)] * width for _ in place]
    F: list[dict[int, arb]] = [defaultdict(arb) for _ in place]
    weights = None if model.weights is None else model.weights.tolist()
    for i, moved in enumerate(weighted):
        here = [
            (first[t, int(term.index[i])] + j, columns[t][i, j])
            for t, term in enumerate(model.random)
            if t != pivot.term
            for j in range(term.Z.shape[1])
        ]
        level, z = place[int(model.random[pivot.term].index[i])], columns[pivot.term][i, 0]
        w = arb(1) if weights is None else arb(weights[i])
        d[level] += w * z * z
        _subtract(b[level], -z, enumerate(moved))
        for c, v in here:
            F[level][c] += w * z * v
            _subtract(C[c], -w * v, here)
            _subtract(B[c], -v, enumerate(moved))
    cell = Cell(
        bucket.blocks, bucket.offsets, (tuple(bucket.levels[0].tolist()),), arb_mat(C), (arb_mat(B),), None
    )
    return Elimination(sums, cell, pivot.term, tuple(d), tuple(dict(f) for f in F), tuple(map(tuple, b)))


def _subtract(row: list[arb], factor: arb, entries: Iterable[tuple[int, arb]]) -> None:
    """``row -= factor * entries``, in place."""
    for i, v in entries:
        row[i] = row[i] - factor * v


def _dot(row: Sequence[arb], column: Sequence[tuple[int, arb]]) -> arb:
    total = row[column[0][0]] * column[0][1]
    for i, v in column[1:]:
        total = total + row[i] * v
    return total
