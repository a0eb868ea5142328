"""Reference: the optimum to judge by, found in float64 from fixed starts and every fit seen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from bridge.criterion import Criterion, Factors, Point, lower, root
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector
from bridge.structure import Structure, triangle

STARTS = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Diagonal theta tried, each divided by the RMS of the term's column; 0 is complete pooling."""
STEPS = 300
SINGULAR = 1e-3
"""A fit is singular if the smallest eigenvalue of (G + F)^-1 G of a term is at most this."""
SAME = 1e-5
"""Two optima are one if no eigenvalue of (G + F)^-1 dG exceeds this and they differ by < 1e-7 deviance."""


@dataclass(frozen=True, eq=False, slots=True)
class Optimum:
    """A local minimum of the criterion.

    Attributes
    ----------
    value : float
        Criterion (deviance scale).
    psi : tuple of (k, k) arrays
        Covariances of each random term, user's units, variance scale.
    sigma2 : float
        Residual variance, user's units.
    gradient : float
        Predicted decrease of a Newton step from here: how stationary it is, deviance scale.
    """

    value: float
    psi: Factors
    sigma2: float
    gradient: float


@dataclass(frozen=True, eq=False)
class Reference:
    """What is right for one model and method.

    Attributes
    ----------
    kind : {"polished", "refined", "certified"}
    criterion : Criterion
    optima : tuple of Optimum
        Every local minimum found, lowest first.
    """

    kind: Literal["polished", "refined", "certified"]
    criterion: Criterion
    optima: tuple[Optimum, ...]

    @classmethod
    def polished(cls, model: Model, method: Method, known: Iterable[tuple[Factors, float]] = ()) -> Reference:
        """Newton from the fixed starts and from every (Psi, sigma2) known, in the user's units."""
        criterion = Criterion(Structure.of(model), method)
        return cls("polished", criterion, ()).with_starts(
            [*_fixed_starts(criterion), *(criterion.factors(psi, s2) for psi, s2 in known)]
        )

    def with_fits(self, fits: Iterable[tuple[Factors, float]]) -> Reference:
        """The same, with optima reached from engines' (Psi, sigma2); self if none of them is lower or new."""
        return self.with_starts([self.criterion.factors(psi, sigma2) for psi, sigma2 in fits])

    def with_starts(self, starts: Sequence[Factors]) -> Reference:
        """The same, with the optima that descents from these relative factors reach."""
        optima = list(self.optima)
        for start in starts:
            found = optimum(self.criterion, descend(self.criterion, start))
            if math.isfinite(found.value) and not any(self.same(found, o) for o in optima):
                optima.append(found)
        if len(optima) == len(self.optima):
            return self
        return replace(self, optima=tuple(sorted(optima, key=lambda o: o.value)))

    def same(self, a: Optimum, b: Optimum) -> bool:
        """Whether two answers are one optimum."""
        if abs(a.value - b.value) > 1e-7 + 1e-12 * abs(a.value):
            return False
        floors = self.criterion.floors(self.criterion.at(self.criterion.factors(a.psi, a.sigma2)))
        return all(distance(A, B, F) <= SAME for A, B, F in zip(a.psi, b.psi, floors, strict=True))

    @property
    def best(self) -> Optimum:
        """The lowest optimum."""
        return self.optima[0]

    @cached_property
    def point(self) -> Point:
        """The criterion at the lowest optimum."""
        return self.criterion.at(self.criterion.factors(self.best.psi, self.best.sigma2))

    @cached_property
    def beta(self) -> Vector:
        """Fixed effects."""
        return self.criterion.beta(self.point)

    @cached_property
    def phi(self) -> Matrix:
        """Phi = (X'V^-1X)^-1."""
        return self.criterion.phi(self.point)

    @cached_property
    def blups(self) -> tuple[Matrix, ...]:
        """Per term, (levels, k)."""
        return self.criterion.blups(self.point)

    @cached_property
    def floors(self) -> Factors:
        """F of each term, variance scale."""
        return self.criterion.floors(self.point)

    @property
    def loglik(self) -> float:
        """Log-likelihood at the optimum (REML: without log|X'X|)."""
        return -self.best.value / 2

    @property
    def theta(self) -> Vector:
        """lme4's theta: lower triangles of each term's relative factor, by columns, user's units."""
        return np.concatenate(
            [root(G / self.best.sigma2).T[np.triu_indices(len(G))] for G in self.best.psi] or [np.zeros(0)]
        )

    @cached_property
    def eigenvalues(self) -> tuple[Vector, ...]:
        """Of (G + F)^-1 G for each term: 0 at the boundary, 1 when levels are seen without noise."""
        return tuple(
            np.sort(np.linalg.eigvals(np.linalg.pinv(G + F) @ G).real)
            for G, F in zip(self.best.psi, self.floors, strict=True)
        )

    @property
    def singular(self) -> bool:
        """Whether some direction of some term has (almost) no variance."""
        return any(float(v[0]) <= SINGULAR for v in self.eigenvalues)

    def to_json(self) -> str:
        """The optima alone, doubles as hexadecimal text; everything else follows from them."""
        return json.dumps(
            {
                "kind": self.kind,
                "optima": [
                    {
                        "value": o.value.hex(),
                        "psi": [[[float(v).hex() for v in row] for row in G] for G in o.psi],
                        "sigma2": o.sigma2.hex(),
                        "gradient": o.gradient.hex(),
                    }
                    for o in self.optima
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str, model: Model, method: Method) -> Reference:
        """Inverse of `to_json`, for the same data."""
        record = json.loads(text)
        optima = tuple(
            Optimum(
                float.fromhex(o["value"]),
                tuple(np.array([[float.fromhex(v) for v in row] for row in G]) for G in o["psi"]),
                float.fromhex(o["sigma2"]),
                float.fromhex(o["gradient"]),
            )
            for o in record["optima"]
        )
        return cls(record["kind"], Criterion(Structure.of(model), method), optima)


def distance(A: Matrix, B: Matrix, F: Matrix) -> float:
    """Largest absolute eigenvalue of (B + F)^-1 (A - B): the same for any coding, unit or origin."""
    if not np.all(np.isfinite(A)):
        return math.inf
    scale = np.sqrt(np.maximum(np.diag(B + F), 1e-300))
    whole = (B + F) / np.outer(scale, scale)
    return float(
        np.max(
            np.abs(np.linalg.eigvals(np.linalg.pinv(whole) @ ((A - B) / np.outer(scale, scale)))), initial=0.0
        )
    )


def optimum(criterion: Criterion, found: tuple[Point, float]) -> Optimum:
    """A descent's end in the user's units."""
    point, gradient = found
    return Optimum(point.value, criterion.psi(point), criterion.sigma2(point), gradient)


def _fixed_starts(criterion: Criterion) -> list[Factors]:
    structure = criterion.structure
    if not structure.terms:
        return [()]
    spreads = []
    for term, coordinates in zip(structure.model.random, structure.terms, strict=True):
        inner = term.Z @ coordinates.T
        spreads.append(np.sqrt(np.mean(inner**2, axis=0)))
    return [tuple(np.diag(s / np.maximum(spread, 1e-8)) for spread in spreads) for s in STARTS]


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
    """Trust-region Newton with the exact gradient and central differences of it as Hessian."""
    theta = _flatten(point.factors)
    if not theta.size:
        return point, 0.0
    radius, predicted = 1.0 + float(np.linalg.norm(theta)), math.inf
    for _ in range(STEPS):
        g = _flatten(criterion.gradient(point))
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
            trial = criterion.at(_unflatten(theta + step, point.factors))
            if trial.value < point.value - trial.bound:
                moved = trial
                radius = max(radius, 2 * length) if length <= radius else 2 * radius
                break
            if predicted < 1e-6 and abs(trial.value - point.value) <= 2 * (trial.bound + point.bound):
                if float(np.linalg.norm(_flatten(criterion.gradient(trial)))) < 0.5 * float(
                    np.linalg.norm(g)
                ):
                    moved = trial
                break
            radius = min(radius, length) / 4
        if moved is None or predicted < 1e-28:
            break
        point, theta = moved, theta + step
    return point, predicted


def hessian(criterion: Criterion, point: Point) -> Matrix:
    """d2 value / d theta2 (lower triangles by rows, Structure's coordinates), central differences."""
    theta = _flatten(point.factors)
    H = np.zeros((theta.size, theta.size))
    for i in range(theta.size):
        h = 6e-6 * max(1.0, abs(theta[i]))
        sides = [
            _flatten(
                criterion.gradient(
                    criterion.at(_unflatten(theta + sign * h * np.eye(theta.size)[i], point.factors))
                )
            )
            for sign in (1, -1)
        ]
        H[i] = (sides[0] - sides[1]) / (2 * h)
    return (H + H.T) / 2


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


def _flatten(factors: Factors) -> Vector:
    return np.concatenate([L[np.tril_indices(len(L))] for L in factors] or [np.zeros(0)])


def _unflatten(theta: Vector, like: Factors) -> Factors:
    out, start = [], 0
    for L in like:
        size = len(L) * (len(L) + 1) // 2
        new = np.zeros_like(L)
        new[np.tril_indices(len(L))] = theta[start : start + size]
        out.append(new)
        start += size
    return tuple(out)
