"""Estimates: every number that a certificate holds, evaluated over a box or from two float64 descents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.certificate import Local, Number, Quantity, Row
from bridge.criterion import Criterion, Point, lower
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector
from bridge.newton import descend
from bridge.proof import Stationary
from bridge.structure import Structure
from bridge.sums import exact, outward

if TYPE_CHECKING:
    from flint import arb, arb_mat

Label = tuple[Quantity, str | None, tuple[str, ...] | None, str]
SAFETY = 10.0
"""The spread of two float64 descents is multiplied by this to estimate the error."""
MODES = 2000
"""Random effects up to which a certificate holds each; more follow from its covariances, in float64."""


def modes(model: Model) -> bool:
    """Whether a certificate of the model holds its random effects."""
    return sum(len(term.levels) * len(term.names) for term in model.random) <= MODES


def labels(model: Model) -> Iterator[Label]:
    """Every label of a certificate, in order."""
    for name in model.names:
        yield ("fixed", None, None, name)
        yield ("phi", None, None, name)
        yield ("std_error", None, None, name)
    for term in model.random:
        pairs = [(a, b) for j, a in enumerate(term.names) for b in term.names[j:]]
        for a, b in pairs:
            yield ("ran_pars", term.group, None, f"var__{a}" if a == b else f"cov__{a}.{b}")
        for a, b in pairs:
            yield ("theta", term.group, None, a if a == b else f"{b}.{a}")
    yield ("ran_pars", "Residual", None, "var__Observation")
    for name in model.error_names:
        yield ("ran_pars", "Residual", None, name)
    yield ("loglik", None, None, "loglik")
    for term in model.random if modes(model) else ():
        for level in term.levels:
            for name in term.names:
                yield ("ran_vals", term.group, level, name)


def rows(found: Stationary) -> tuple[Row, ...]:
    """All numbers over the box of a stationary point, the user's units; REML or ML as its method."""
    model = found.point.sums.structure.model
    numbers = (Number.of(ball) for ball in _balls(found))
    return tuple(Row(*label, number) for label, number in zip(labels(model), numbers, strict=True))


def _balls(found: Stationary) -> Iterator[arb]:
    from flint import arb, arb_mat

    point, structure = found.point, found.point.sums.structure
    model, unit = structure.model, arb(structure.unit)
    sigma2 = point.r2 / point.sums.nu(point.method) / unit**2
    T = point.sums.T
    beta = (T * arb_mat(model.p, 1, [-point.g[i, 0] / unit for i in range(model.p)])).entries()
    if structure.intercept is not None:
        beta[structure.intercept] += structure.origin
    phi = T * point.phi * T.transpose()
    for j in range(model.p):
        yield beta[j]
        yield phi[j, j] * sigma2
        yield (phi[j, j] * sigma2).sqrt()
    for G, rank in zip(outward(structure, point.psi), found.chart.ranks, strict=True):
        yield from (v * sigma2 for v in triangle(G))
        yield from triangle(theta(G, rank))
    yield sigma2
    yield -found.value / 2
    if not modes(model):
        return
    for coordinates, blups in zip(structure.terms, point.blups(), strict=True):
        back = exact(coordinates.T) * (1 / unit)
        for b in blups:
            yield from (back * b).entries()


def triangle(G: arb_mat) -> list[arb]:
    """Lower triangle by columns."""
    return [G[i, j] for j in range(G.nrows()) for i in range(j, G.nrows())]


def theta(G: arb_mat, rank: int) -> arb_mat:
    """lme4's lower triangular factor of a covariance of known rank, diagonal >= 0.

    After `rank` positive pivots what is left is exactly zero. An earlier pivot whose ball holds 0
    cannot be told from zero; its column is not a number.
    """
    from flint import arb, arb_mat

    k = G.nrows()
    left, L = G.tolist(), arb_mat(k, k)
    for c in range(min(rank, k)):
        root = left[c][c].sqrt() if left[c][c] > 0 else arb.nan()
        for i in range(c, k):
            L[i, c] = left[i][c] / root if i > c else root
        for i in range(c, k):
            for j in range(c, k):
                left[i][j] = left[i][j] - L[i, c] * L[j, c]
    return L


def local(found: Stationary, proven: bool) -> Local:
    """A stationary point as a certificate lists it."""
    relative = outward(found.point.sums.structure, found.point.psi)
    numbers = tuple(Number.of(v) for G in relative for v in triangle(G))
    return Local(Number.of(found.value), numbers, found.chart.ranks, proven, found.why)


def unproven(structure: Structure, value: float, psi: Sequence[Matrix], why: str) -> Local:
    """A candidate in float64 as a certificate lists it; its radii are guesses."""
    from flint import arb

    numbers = tuple(
        Number.of(arb(float(v), 1e-6 * float(np.max(np.abs(G)))))
        for G in _moved(structure, psi)
        for v in G.T[np.triu_indices(len(G))]
    )
    ranks = tuple(int(np.linalg.matrix_rank(G, tol=1e-9 * float(np.max(np.abs(G), initial=0)))) for G in psi)
    return Local(Number.of(arb(value, 1e-6)), numbers, ranks, False, why)


def _moved(structure: Structure, psi: Sequence[Matrix]) -> list[Matrix]:
    return [c.T @ G @ c.T.T for c, G in zip(structure.terms, psi, strict=True)]


def float_rows(structure: Structure, method: Method, psi: Sequence[Matrix]) -> tuple[Row, ...]:
    """All numbers in float64; the radius estimates the error from a second descent, begun 1 % away."""
    from flint import arb

    criterion = Criterion(structure, method)
    ends = [descend(criterion, tuple(_factor(G) * scale for G in psi))[0] for scale in (1.0, 1.01)]
    first, second = (_floats(criterion, end) for end in ends)
    radii = SAFETY * (np.abs(first - second) + 1e-15 * np.abs(first))
    numbers = (Number.of(arb(float(v), float(r))) for v, r in zip(first, radii, strict=True))
    return tuple(Row(*label, number) for label, number in zip(labels(structure.model), numbers, strict=True))


def _factor(G: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(G)
    return lower(vectors * np.sqrt(np.maximum(values, 0.0)))


def _floats(criterion: Criterion, point: Point) -> Vector:
    model, sigma2 = criterion.structure.model, criterion.sigma2(point)
    phi = np.diag(criterion.phi(point))
    out = [np.column_stack([criterion.beta(point), phi, np.sqrt(phi)]).ravel()]
    for G in criterion.psi(point):
        upper = np.triu_indices(len(G))
        out += [G[upper], _factor(G / sigma2).T[upper]]
    out.append(np.array([sigma2, -point.value / 2]))
    out += [b.ravel() for b in criterion.blups(point)] if modes(model) else []
    assert sum(map(len, out)) == sum(1 for _ in labels(model))
    return np.concatenate(out)
