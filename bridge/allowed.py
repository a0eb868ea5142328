"""Allowed: how many digits of the answer survive a change of each datum by half a unit in the last place.

Data are decimal numbers that were rounded to doubles, so no program can give more digits of what the
decimals say. With y = 1e12 + small (NIST's SmLs07 to 09) about four are left; judged are the stored doubles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bridge.criterion import Criterion, Factors
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector
from bridge.newton import flatten, hessian, unflatten
from bridge.structure import Structure

DRAWS = 3
"""Changes of all data by one unit in the last place up or down, at random; their effect is halved."""
MOST = 15.0


def allowed(model: Model, method: Method, psi: Factors, sigma2: float) -> dict[str, float]:
    """Digits (at most 15) of beta, SE, sigma2, G, BLUP and logLik that the data determine.

    Parameters
    ----------
    psi, sigma2
        The optimum, user's units, variance scale: each changed model's is a Newton step away.
    """
    criterion = Criterion(Structure.of(model), method)
    start = criterion.at(criterion.factors(psi, sigma2))
    inverse: Matrix = np.linalg.pinv(hessian(criterion, start), rcond=1e-9, hermitian=True).astype(float)
    at = _numbers(criterion, psi, sigma2, inverse)
    worst = dict.fromkeys(at, 0.0)
    for seed in range(DRAWS):
        nudged = Criterion(Structure.of(_nudged(model, np.random.default_rng(seed))), method)
        changed = _numbers(nudged, psi, sigma2, inverse)
        for name, values in at.items():
            size = np.max(np.abs(values), initial=0.0) if name == "BLUP" else np.abs(values)
            off = np.abs(changed[name] - values) / np.where(size > 0, size, math.inf) / 2
            worst[name] = max(worst[name], float(np.max(off, initial=0.0)))
    return {n: round(min(MOST, -math.log10(off)) if off > 0 else MOST, 1) for n, off in worst.items()}


def _numbers(criterion: Criterion, psi: Factors, sigma2: float, inverse: Matrix) -> dict[str, Vector]:
    start = criterion.at(criterion.factors(psi, sigma2))
    theta = flatten(start.factors) - inverse @ flatten(criterion.gradient(start))
    point = criterion.at(unflatten(theta, start.factors))
    return {
        "beta": criterion.beta(point),
        "SE": np.sqrt(np.diag(criterion.phi(point))),
        "sigma2": np.array([criterion.sigma2(point)]),
        "G": np.concatenate([G.ravel() for G in criterion.psi(point)] or [np.zeros(0)]),
        "BLUP": np.concatenate([b.ravel() for b in criterion.blups(point)] or [np.zeros(0)]),
        "logLik": np.array([-point.value / 2]),
    }


def _nudged(model: Model, rng: np.random.Generator) -> Model:
    """All data moved to a neighbouring double; indicators stay, one variable moves alike in X and Z."""
    seen: dict[bytes, Vector] = {}

    def moved(column: Vector) -> Vector:
        if set(np.unique(column)) <= {0.0, 1.0}:
            return column
        key = column.tobytes()
        if key not in seen:
            seen[key] = np.nextafter(column, np.where(rng.random(len(column)) < 0.5, -np.inf, np.inf))
        return seen[key]

    def columns(matrix: Matrix) -> Matrix:
        return np.column_stack(list(_each(matrix))) if matrix.shape[1] else matrix

    def _each(matrix: Matrix) -> Iterator[Vector]:
        for j in range(matrix.shape[1]):
            yield moved(np.ascontiguousarray(matrix[:, j]))

    random = tuple(replace(term, Z=columns(term.Z)) for term in model.random)
    weights, offset = (None if c is None else moved(c) for c in (model.weights, model.offset))
    return replace(model, y=moved(model.y), X=columns(model.X), random=random, weights=weights, offset=offset)
