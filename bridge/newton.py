"""Newton: a local minimum of the criterion in float64, and the Gamma test where a descent ends."""

from __future__ import annotations

import math

import numpy as np

from bridge.criterion import Criterion, Factors, Point, lower, root
from bridge.derivatives import Derivatives, triangles
from bridge.model import Matrix, Vector
from bridge.structure import triangle

STEPS = 300
"""Newton steps of one descent at most."""


def descend(criterion: Criterion, start: Factors) -> tuple[Point, float]:
    """The local minimum below a start: trust-region Newton, and the Gamma test where it ends.

    A zero column of Lambda is stationary whatever the data, so a stationary point on the boundary
    is left along the most negative eigenvector of Gamma if there is one (STATISTICS: section on
    the boundary), and a direction that has collapsed is set to exactly zero if that is no worse.
    """
    point, gradient = newton(criterion, criterion.at(start))
    for _ in range(20):
        below = _escape(criterion, point)
        if below is None:
            break
        point, gradient = newton(criterion, below)
    flat = _collapsed(criterion, point)
    if flat is not None and flat.value <= point.value + point.bound and _escape(criterion, flat) is None:
        point, gradient = newton(criterion, flat)
    return point, gradient


def newton(criterion: Criterion, point: Point) -> tuple[Point, float]:
    """Trust-region Newton with the exact gradient and Hessian."""
    theta = flatten(point.factors)
    if not theta.size:
        return point, 0.0
    radius, predicted = 1.0 + float(np.linalg.norm(theta)), math.inf
    for _ in range(STEPS):
        g = flatten(criterion.gradient(point))
        values, vectors = np.linalg.eigh(hessian(criterion, point))
        curved = np.maximum(np.abs(values), 1e-9 * np.max(np.abs(values), initial=1e-300))
        along = vectors.T @ g
        predicted = float(np.sum(along**2 / curved)) / 2
        moved = None
        while radius > 1e-14 * (1 + np.linalg.norm(theta)):
            step = -vectors @ (along / curved)
            length = float(np.linalg.norm(step))
            if length > radius:
                step *= radius / length
            trial = criterion.at(unflatten(theta + step, point.factors))
            if trial.value < point.value - trial.bound:
                moved = trial
                radius = max(radius, 2 * length) if length <= radius else 2 * radius
                break
            if predicted < 1e-6 and abs(trial.value - point.value) <= 2 * (trial.bound + point.bound):
                if float(np.linalg.norm(flatten(criterion.gradient(trial)))) < 0.5 * float(np.linalg.norm(g)):
                    moved = trial
                break
            radius = min(radius, length) / 4
        if moved is None or predicted < 1e-28:
            break
        point, theta = moved, theta + step
    return point, predicted


def hessian(criterion: Criterion, point: Point) -> Matrix:
    """d2 value / d theta2 (lower triangles by rows, Structure's coordinates), by algebra."""
    found = Derivatives.of(criterion, point, triangles(point.factors))
    return found.hessian(point.r2, criterion.nu)


def _escape(criterion: Criterion, point: Point) -> Point | None:
    """A lower point along a negative eigenvector of Gamma, or None where the Gamma test holds."""
    for t, (gamma, curve) in enumerate(criterion.gamma(point)):
        half = np.linalg.pinv(root(curve)).T
        values, vectors = np.linalg.eigh(half.T @ gamma @ half)
        if values[0] >= -1e-8:
            continue
        v = half @ vectors[:, 0]
        G = point.factors[t] @ point.factors[t].T
        for size in (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-6):
            moved = lower(
                np.column_stack(
                    [
                        root(G),
                        math.sqrt(size) * v * math.sqrt(len(criterion.structure.model.random[t].levels)),
                    ]
                )
            )
            trial = criterion.at(tuple(moved if i == t else L for i, L in enumerate(point.factors)))
            if trial.value < point.value - 4 * (trial.bound + point.bound):
                return trial
    return None


def _collapsed(criterion: Criterion, point: Point) -> Point | None:
    """The point with every direction whose share of (G + F) is below 1e-5 set to zero variance."""
    floors = criterion.structure.inward(criterion.floors(point))
    factors, changed = [], False
    for L, F in zip(point.factors, floors, strict=True):
        half = root(F / point.sigma2)
        inverse = np.linalg.pinv(half)
        values, vectors = np.linalg.eigh(inverse @ L @ L.T @ inverse.T)
        keep = values > 1e-5
        changed = changed or not bool(keep.all())
        factors.append(L if keep.all() else _trapezoid(half @ vectors[:, keep] * np.sqrt(values[keep])))
    return criterion.at(tuple(factors)) if changed else None


def _trapezoid(half: Matrix) -> Matrix:
    """Lower triangular (k, k), same ``L L'`` as a (k, r) factor, columns beyond r exactly 0."""
    k, r = half.shape
    L = np.zeros((k, k))
    if r:
        L[:, :r] = np.tril(triangle(half.T).T)
    return L


def flatten(factors: Factors) -> Vector:
    """Lower triangles by rows, one term after the other: theta in the Structure's coordinates."""
    return np.concatenate([L[np.tril_indices(len(L))] for L in factors] or [np.zeros(0)])


def unflatten(theta: Vector, like: Factors) -> Factors:
    """Inverse of `flatten`."""
    out, start = [], 0
    for L in like:
        size = len(L) * (len(L) + 1) // 2
        new = np.zeros_like(L)
        new[np.tril_indices(len(L))] = theta[start : start + size]
        out.append(new)
        start += size
    return tuple(out)
