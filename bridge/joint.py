"""Joint: standard errors of beta from the joint Hessian of beta and all variance parameters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from bridge.criterion import Criterion, Point, root
from bridge.denominator import interior
from bridge.derivatives import Derivatives, triangles
from bridge.model import Matrix, Vector

STATIONARY = 1e-5
"""Newton decrement (deviance) up to which joint-Hessian SEs are compared: where the gradient is not
zero, profiling sigma2 out and keeping it in give different Hessians."""
STEP = 1e-2
"""First step of the differences where errors have parameters; half of it cancels the error's first term."""


def joint_error(criterion: Criterion, point: Point, sigma2: float) -> Vector:
    """SE from the joint Hessian of (beta, theta): sqrt diag(Phi + D W D'), NaN where it is undefined.

    D = d beta / d theta, W = twice the inverse Hessian of the profiled criterion. At the boundary
    (a Hessian that is not positive definite, or a column of Lambda at zero) and away from a
    stationary point it has no meaning.
    """
    phi = criterion.phi(point, sigma2)
    if not point.factors:
        return np.sqrt(np.diag(phi))
    found = Derivatives.of(criterion, point, triangles(point.factors))
    H = found.hessian(point.r2, criterion.nu)
    if not interior(point, H):
        return np.full(len(phi), np.nan)
    errors = criterion.structure.model.residual
    gradient, slopes = found.gradient(point.r2, criterion.nu), found.beta
    if errors is not None:
        gradient, H, slopes = differences(criterion, point)
    values, vectors = np.linalg.eigh(H)
    along = vectors.T @ gradient
    if not values[0] > 0 or float(np.sum(along**2 / values)) / 2 > STATIONARY:
        return np.full(len(phi), np.nan)
    spread = slopes @ vectors / np.sqrt(values)
    return np.asarray(np.sqrt(np.diag(phi) + 2 * np.sum(spread**2, axis=1)))


def differences(criterion: Criterion, point: Point) -> tuple[Vector, Matrix, Matrix]:
    """Gradient and Hessian of the profiled criterion, and d beta, by theta and the errors' free parameters.

    Central differences, their h^2 terms cancelled: each settled model has coordinates of its own, in which
    derivatives by algebra could not be put together.
    """
    errors = criterion.structure.model.residual
    assert errors is not None
    assert errors.raw is not None
    raw, at = errors.raw, errors.at
    assert at is not None
    lower = [root(G / criterion.sigma2(point)) for G in criterion.psi(point)]
    shapes = [np.tril_indices(len(L)) for L in lower]
    start = np.concatenate([*(L[i] for L, i in zip(lower, shapes, strict=True)), errors.free(at)])

    def value(x: Vector) -> Vector:
        psi, begin = [], 0
        for L, place in zip(lower, shapes, strict=True):
            M = np.zeros_like(L)
            M[place] = x[begin : begin + len(place[0])]
            begin += len(place[0])
            psi.append(M @ M.T)
        here = Criterion.of(raw, criterion.method, errors.bound(x[begin:]))
        found = here.at(here.factors(tuple(psi), 1.0))
        return np.concatenate([[found.value], here.beta(found)])

    units = np.diag(STEP * np.maximum(np.abs(start), 0.1))
    coarse, fine = (_central(value, start, units * share) for share in (1.0, 0.5))
    first, second = (f + (f - c) / 3 for c, f in zip(coarse, fine, strict=True))
    return first[:, 0], second, first[:, 1:].T


def _central(value: Callable[[Vector], Vector], x: Vector, units: Matrix) -> tuple[Matrix, Matrix]:
    """First derivatives (d, 1 + p) of all values, second (d, d) of the first; `units` is diagonal."""
    h, base = np.diag(units), value(x)[0]
    up, down = (np.array([value(x + sign * u) for u in units]) for sign in (1, -1))
    H = np.diag((up[:, 0] + down[:, 0] - 2 * base) / h**2)
    for i, j in combinations(range(len(h)), 2):
        corners = [value(x + a * units[i] + b * units[j])[0] * a * b for a in (1, -1) for b in (1, -1)]
        H[i, j] = H[j, i] = sum(corners) / (4 * h[i] * h[j])
    return (up - down) / (2 * h[:, None]), H
