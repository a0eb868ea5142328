"""Definition: the criterion in ball arithmetic straight from V, for models whose errors have parameters.

V is written down entry by entry, R as varIdent and corAR1 define it, and factored densely, one unit of rows
at a time: nothing is shared with the change of rows by which float64 has it (bridge.residual). Derivatives
are differences over 2^-100 at 512 bits. Nothing is proven: certificates made of it are ``refined``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bridge.certificate import Certificate, Local, Number, Row
from bridge.criterion import root
from bridge.estimates import labels, theta, triangle
from bridge.fit import Method
from bridge.joint import differences
from bridge.model import Matrix, Model, RandomTerm
from bridge.reference import Reference
from bridge.residual import Residual
from bridge.structure import components
from bridge.sums import exact, identity, precision

if TYPE_CHECKING:
    from flint import arb, arb_mat

BITS = 512
"""Working precision: 154 digits."""
STEP = 2.0**-100
"""Of the differences: their error is 1e-60 of the third derivative."""
STEPS = 15
"""Newton steps at most, with float64's Hessian."""
SMALL = 1e-50
"""A last step that leaves 30 digits."""
WORK = 2e6
"""Sum of the cubes of the units' rows up to which it is tried: `ovary-ar1` has 2.4e5, and takes 4 s."""
INTERIOR = 1e-4
"""Diagonal of theta below which there is no interior optimum to refine."""


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The criterion at theta and the errors' parameters.

    Attributes
    ----------
    value, sigma2 : arb
        Profiled criterion, residual variance.
    psi : tuple of (k, k) arb_mat
        Relative covariances.
    at : tuple of arb
        The errors' parameters.
    beta : (p, 1) arb_mat
    phi : (p, p) arb_mat
        Relative to sigma2.
    blups : tuple of dict of int to (k, 1) arb_mat
        By term and level.
    """

    value: arb
    sigma2: arb
    psi: tuple[arb_mat, ...]
    at: tuple[arb, ...]
    beta: arb_mat
    phi: arb_mat
    blups: tuple[dict[int, arb_mat], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Unit:
    """Rows that share no level with others, exact: (m, p + 1) [X y], and Z by term and level, (m, k)."""

    rows: np.ndarray
    Xy: arb_mat
    Z: tuple[tuple[int, int, arb_mat], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Definition:
    """A model's criterion from its definition, user's coordinates; x is theta, then the free parameters."""

    model: Model
    errors: Residual
    method: Method
    units: tuple[Unit, ...]

    @classmethod
    def of(cls, model: Model, errors: Residual, method: Method) -> Definition:
        """Exact doubles; the offset is taken from y exactly."""
        return cls(model, errors, method, tuple(_units(model, _units_of(model, errors))))

    @property
    def nu(self) -> int:
        """Degrees of freedom of sigma2."""
        return self.model.n - self.model.p if self.method == "REML" else self.model.n

    def at(self, x: Sequence[arb]) -> Point:
        """Everything at x."""
        from flint import arb, arb_mat

        psi, at = self._split(x)
        p, log_V, S, halves = self.model.p, arb(0), arb_mat(self.model.p + 1, self.model.p + 1), []
        for unit in self.units:
            V = self._R(unit.rows, at)
            for t, _, Z in unit.Z:
                V = V + Z * psi[t] * Z.transpose()
            log_V += V.det().log()
            half = V.solve(unit.Xy)
            S = S + unit.Xy.transpose() * half
            halves.append(half)
        A = arb_mat([[S[i, j] for j in range(p)] for i in range(p)])
        b = arb_mat([[S[i, p]] for i in range(p)])
        phi = A.inv()
        beta = phi * b
        r2 = S[p, p] - (b.transpose() * beta)[0, 0]
        value = log_V + self.nu * (1 + (2 * arb.pi() * r2 / self.nu).log())
        if self.method == "REML":
            value += A.det().log()
        left = arb_mat([[-beta[i, 0]] for i in range(p)] + [[arb(1)]])
        blups: tuple[dict[int, arb_mat], ...] = tuple({} for _ in psi)
        for unit, half in zip(self.units, halves, strict=True):
            for t, level, Z in unit.Z:
                blups[t][level] = psi[t] * Z.transpose() * half * left
        return Point(value, r2 / self.nu, psi, at, beta, phi, blups)

    def gradient(self, x: Sequence[arb]) -> arb_mat:
        """Central differences (d, 1)."""
        from flint import arb_mat

        def moved(i: int, step: float) -> arb:
            return self.at([v + step if j == i else v for j, v in enumerate(x)]).value

        return arb_mat([[(moved(i, STEP) - moved(i, -STEP)) / (2 * STEP)] for i in range(len(x))])

    def _split(self, x: Sequence[arb]) -> tuple[tuple[arb_mat, ...], tuple[arb, ...]]:
        """Relative covariances and the errors' parameters."""
        from flint import arb_mat

        psi, numbers = [], iter(x)
        for term in self.model.random:
            k = len(term.names)
            L = arb_mat(k, k)
            for i, j in zip(*np.tril_indices(k), strict=True):
                L[int(i), int(j)] = next(numbers)
            psi.append(L * L.transpose())
        return tuple(psi), tuple(v.exp() if self.errors.kind == "varIdent" else v.tanh() for v in numbers)

    def _R(self, rows: np.ndarray, at: Sequence[arb]) -> arb_mat:
        """The errors' covariance over some rows, relative to sigma2."""
        errors, w = self.errors, self.model.weights
        R = identity(len(rows))
        if errors.kind == "varIdent":
            for i, row in enumerate(rows.tolist()):
                stratum = int(errors.index[row])
                R[i, i] = at[stratum - 1] ** 2 if stratum else 1
                if w is not None:
                    R[i, i] = R[i, i] / float(w[row])
            return R
        series, position = errors.index[rows], errors.position[rows]
        for i, j in zip(*np.nonzero(series[:, None] == series[None, :]), strict=True):
            R[int(i), int(j)] = at[0] ** abs(int(position[i] - position[j]))
        return R


def _units_of(model: Model, errors: Residual) -> np.ndarray:
    """Unit of each row (n,): a connected component, since a series lies in a level of every term."""
    return components(model) if model.random else errors.index


def _units(model: Model, unit_of: np.ndarray) -> Iterator[Unit]:
    offset = exact(np.zeros((model.n, 1)) if model.offset is None else model.offset[:, None])
    y = exact(model.y[:, None]) - offset
    for unit in range(int(unit_of.max()) + 1):
        rows = np.flatnonzero(unit_of == unit)
        Xy = exact(np.column_stack([model.X[rows], np.zeros(len(rows))]))
        for i, row in enumerate(rows.tolist()):
            Xy[i, model.p] = y[row, 0]
        yield Unit(rows, Xy, tuple(_blocks(model.random, rows)))


def _blocks(random: Sequence[RandomTerm], rows: np.ndarray) -> Iterator[tuple[int, int, arb_mat]]:
    for t, term in enumerate(random):
        for level in np.unique(term.index[rows]).tolist():
            yield t, level, exact(np.where((term.index[rows] == level)[:, None], term.Z[rows], 0.0))


def certified(blank: Certificate, model: Model, errors: Residual) -> Certificate:
    """Newton at 512 bits from float64's optimum; ``undecided`` without an interior one."""
    from flint import arb

    work = float(np.sum(np.bincount(_units_of(model, errors)).astype(float) ** 3))
    if work > WORK:
        return replace(blank, why=f"too many rows in a unit to be worked out from the definition: {work:.2g}")
    reference = Reference.polished(model, blank.method)
    point, criterion = reference.point, reference.criterion
    lower = [root(G / criterion.sigma2(point)) for G in criterion.psi(point)]
    if any(np.min(np.diag(L)) < INTERIOR for L in lower):
        return replace(blank, why="the optimum is not interior: some variance is zero")
    start = np.concatenate([*(L[np.tril_indices(len(L))] for L in lower), errors.free(reference.residual)])
    with precision(BITS):
        found, x = Definition.of(model, errors, blank.method), [arb(v) for v in start.tolist()]
        curved: Matrix = np.linalg.inv(differences(criterion, point)[1]).astype(float)
        inverse = exact(curved)
        for _ in range(STEPS):
            step = (inverse * found.gradient(x)).entries()
            x = [(v - s).mid() for v, s in zip(x, step, strict=True)]
            if all(abs(s) < SMALL for s in step):
                break
        else:
            return replace(blank, why=f"{STEPS} Newton steps do not settle it")
        box = [arb(v, 10 * abs(s).upper()) for v, s in zip(x, step, strict=True)]
        end = found.at(box)
        numbers = (Number.of(ball) for ball in _balls(model, end))
        rows = tuple(Row(*label, number) for label, number in zip(labels(model), numbers, strict=True))
        relative = tuple(Number.of(v) for G in end.psi for v in triangle(G))
        ranks = tuple(G.nrows() for G in end.psi)
        return replace(
            blank,
            status="refined",
            why=f"parameters of {errors.kind} are beyond what is proven",
            rows=rows,
            bits=BITS,
            optima=(Local(Number.of(end.value), relative, ranks, False, "out of reach of a proof"),),
        )


def _balls(model: Model, end: Point) -> Iterator[arb]:
    for j in range(model.p):
        yield end.beta[j, 0]
        yield end.phi[j, j] * end.sigma2
        yield (end.phi[j, j] * end.sigma2).sqrt()
    for G in end.psi:
        yield from (v * end.sigma2 for v in triangle(G))
        yield from triangle(theta(G, G.nrows()))
    yield end.sigma2
    yield from end.at
    yield -end.value / 2
    for term, blups in zip(model.random, end.blups, strict=True):
        for level in range(len(term.levels)):
            yield from blups[level].entries()
