"""Search: descents to local minima with exact derivatives at low precision, where they start, where they end.

Nothing here is proven; `bridge.proof` proves what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bridge.balls import Point, evaluate
from bridge.chart import Chart, Trapezoid
from bridge.criterion import Criterion, Factors
from bridge.fit import Method
from bridge.model import Vector
from bridge.proof import floats
from bridge.reference import STARTS, Reference
from bridge.structure import Structure
from bridge.sums import Sums, precision, widths

BITS = 96
"""Precision of a descent: enough for 16 digits after y + 1e6."""
STEPS = 60
RANDOM = 3
"""Random starts, where there are two variance parameters or more."""
SEED = 0
NEARLY, DONE = 1e-3, 1e-12
"""Newton decrement (deviance) below which a descent is compared with earlier ones, and ends."""
SLOW, MANY = 1e5, 500
"""Sum of q^3 over units, and number of unlike units, above which float64 is faster."""


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """Where a descent ended.

    Attributes
    ----------
    value : float
        Criterion, deviance scale.
    psi : tuple of (k, k) arrays
        Relative covariances, the Structure's coordinates.
    """

    value: float
    psi: Factors


def spreads(structure: Structure) -> list[Vector]:
    """RMS of each term's columns, the Structure's coordinates."""
    return [np.maximum(np.sqrt(np.mean(Z**2, axis=0)), 1e-8) for Z in structure.columns]


def starts(structure: Structure, known: Sequence[Factors]) -> tuple[list[Factors], tuple[str, ...]]:
    """Relative factors to start from, and what to call them; `known` are the engines' answers."""
    scales = spreads(structure)
    if not scales:
        return [()], ()
    found = [tuple(np.diag(s / spread) for spread in scales) for s in STARTS]
    names = [f"diagonal theta = {s:g} / RMS of the term's column" for s in STARTS]
    if sum(map(len, scales)) > 1:
        rng = np.random.default_rng(SEED)
        for _ in range(RANDOM):
            sizes = [np.exp(rng.normal(0, 1.5)) / spread for spread in scales]
            found.append(tuple(np.tril(rng.normal(size=(len(s), len(s)))) * s[:, None] for s in sizes))
        names.append(f"{RANDOM} random factors (seed {SEED})")
    if known:
        names.append(f"{len(known)} engines' answers")
    return [*found, *known], tuple(names)


def candidates(
    structure: Structure, method: Method, known: Sequence[Factors]
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Ends of all descents that differ, lowest first, and where they began."""
    begun, names = starts(structure, known)
    sizes = widths(structure.model).astype(float)
    sums = Sums.of(structure, BITS) if float(np.sum(sizes**3)) <= SLOW else None
    if sums is None or len(sums.cells) > MANY:
        criterion = Criterion(structure, method)
        ends = Reference("polished", criterion, ()).with_starts(begun).optima
        roots = [criterion.factors(o.psi, o.sigma2) for o in ends]
        pairs = zip(ends, roots, strict=True)
        return [Candidate(o.value, tuple(L @ L.T for L in R)) for o, R in pairs], names
    found: list[Candidate] = []
    with precision(BITS):
        for factors in begun:
            end = descend(sums, method, factors, found)
            if end is not None and not any(alike(end, other) for other in found):
                found.append(end)
    return sorted(found, key=lambda c: c.value), names


def alike(a: Candidate, b: Candidate, share: float = 1e-6) -> bool:
    """Whether two points are one: covariances within `share` of each other, the criterion closer."""
    return abs(a.value - b.value) <= 1e-3 * share * (1 + abs(a.value)) and all(
        np.allclose(G, H, rtol=share, atol=1e-3 * share * float(np.max(np.abs(H), initial=0.0)) + 1e-14)
        for G, H in zip(a.psi, b.psi, strict=True)
    )


def descend(sums: Sums, method: Method, factors: Factors, ends: Sequence[Candidate] = ()) -> Candidate | None:
    """Trust-region Newton over lower triangular factors; None if the criterion cannot be evaluated.

    It stops early within 1 % of one of the `ends`, where it is about to reach it again.
    """
    from flint import arb

    where = Chart(tuple(Trapezoid(tuple(range(len(L))), len(L)) for L in factors))
    x = np.array([L[i, j] for L in factors for j in range(len(L)) for i in range(j, len(L))], dtype=float)

    def at(x: Vector) -> tuple[float, Point]:
        point = evaluate(sums, method, where.psi([arb(float(v)) for v in x]))
        return float(point.value().mid()), point

    try:
        value, point = at(x)
        radius = 1.0 + float(np.linalg.norm(x))
        for _ in range(STEPS):
            if not len(x):
                break
            balls = [arb(float(v)) for v in x]
            first = where.first(balls)
            g = np.array([float(v.mid()) for v in point.gradient(first)])
            values, vectors = np.linalg.eigh(floats(point.hessian(first, where.second())))
            curved = np.maximum(np.abs(values), 1e-9 * float(np.max(np.abs(values))) + 1e-300)
            along = vectors.T @ g
            left = float(np.sum(along**2 / curved))
            here = Candidate(value, tuple(floats(G) for G in point.psi))
            for end in ends if left < NEARLY else ():
                if alike(here, end, 0.01):
                    return end
            if left < DONE:
                break
            moved = None
            while radius > 1e-12 * (1 + float(np.linalg.norm(x))):
                step = -vectors @ (along / curved)
                length = float(np.linalg.norm(step))
                if length > radius:
                    step *= radius / length
                moved = at(x + step)
                if moved[0] < value:
                    radius = max(radius, 2 * min(length, radius))
                    break
                moved, radius = None, min(radius, length) / 4
            if moved is None:
                break
            x, (value, point) = x + step, moved
    except (ZeroDivisionError, ValueError, np.linalg.LinAlgError):
        return None
    return Candidate(value, tuple(floats(G) for G in point.psi)) if np.isfinite(value) else None
