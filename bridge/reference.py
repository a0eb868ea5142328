"""Reference: the optimum to judge by, from a certificate, or polished in float64 where there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from bridge.certificate import Certificate, Local, Quantity, covariances, from_record, to_record
from bridge.criterion import Criterion, Factors, Point, root
from bridge.errors import ModelError
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector
from bridge.newton import descend
from bridge.residual import parameters

STARTS = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Diagonal theta tried, each divided by the RMS of the term's column; 0 is complete pooling."""
SINGULAR = 1e-3
"""A fit is singular if the smallest eigenvalue of (G + F)^-1 G of a term is at most this."""
SAME = 1e-5
"""Two optima are one if no eigenvalue of (G + F)^-1 dG exceeds this and they differ by < 1e-7 deviance."""

UNBOUNDED = 12.0
"""Log of a ratio, or atanh Phi, near which it is taken to go to its bound: e^12 is 160,000."""
STEP = 1e-4
"""Relative step of the differences by which parameters of the errors are searched."""


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
    certificate : Certificate or None
        Where the numbers are from, if they are certified or refined.
    """

    kind: Literal["polished", "refined", "certified"]
    criterion: Criterion
    optima: tuple[Optimum, ...]
    certificate: Certificate | None = None

    @classmethod
    def certified(cls, certificate: Certificate, model: Model) -> Reference:
        """The nearest doubles to a certificate's numbers; `certificate.rows` must not be empty."""
        criterion = Criterion.of(model, certificate.method, parameters(certificate, model))
        optima = tuple(_local(criterion, local) for local in certificate.optima)
        kind: Literal["certified", "refined"] = "certified" if certificate.proven else "refined"
        psi, sigma2 = covariances(certificate, model)
        return cls(kind, criterion, (replace(optima[0], psi=psi, sigma2=sigma2), *optima[1:]), certificate)

    @classmethod
    def polished(cls, model: Model, method: Method, known: Iterable[tuple[Factors, float]] = ()) -> Reference:
        """Newton from the fixed starts and from every (Psi, sigma2) known, in the user's units.

        Parameters of the errors are searched first (`settle`), from the fixed starts alone.
        """
        criterion = Criterion.of(model, method, settle(model, method))
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
        return self._fixed("fixed") if self.certificate else self.criterion.beta(self.point)

    @cached_property
    def std_error(self) -> Vector:
        """Sqrt diag Phi, Phi = (X'V^-1X)^-1."""
        return (
            self._fixed("std_error") if self.certificate else np.sqrt(np.diag(self.criterion.phi(self.point)))
        )

    @cached_property
    def blups(self) -> tuple[Matrix, ...]:
        """Per term, (levels, k)."""
        if self.certificate is None or not any(r.effect == "ran_vals" for r in self.certificate.rows):
            return self.criterion.blups(self.point)
        return tuple(
            np.array([[self._doubles["ran_vals", t.group, level, n] for n in t.names] for level in t.levels])
            for t in self.criterion.structure.model.random
        )

    @cached_property
    def _doubles(self) -> dict[tuple[Quantity, str | None, tuple[str, ...] | None, str], float]:
        rows = self.certificate.rows if self.certificate else ()
        return {(r.effect, r.group, r.level, r.term): r.number.double for r in rows}

    def _fixed(self, effect: Quantity) -> Vector:
        names = self.criterion.structure.model.names
        return np.array([self._doubles[effect, None, None, name] for name in names])

    @property
    def residual(self) -> Vector:
        """Parameters of the errors, in the order of `Residual.names`; empty for plain ones."""
        errors = self.criterion.structure.model.residual
        return np.zeros(0) if errors is None or errors.at is None else errors.at

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
        """The optima alone, doubles as hexadecimal text, and the certificate; all else follows from them."""
        return json.dumps(
            {
                "kind": self.kind,
                "certificate": self.certificate and to_record(self.certificate),
                "residual": [v.hex() for v in self.residual.tolist()],
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
        certificate = from_record(record["certificate"]) if record["certificate"] else None
        residual = np.array([float.fromhex(v) for v in record["residual"]])
        return cls(record["kind"], Criterion.of(model, method, residual), optima, certificate)


def settle(model: Model, method: Method) -> Vector:
    """Parameters of the errors at the lowest optimum that is found in float64: good to about 1e-8.

    The criterion of the settled model, minimised over theta, is minimised over them, from no departure
    and, for corAR1, from two more correlations; each descent over theta begins where the last one ended.

    Raises
    ------
    ModelError
        The criterion falls without end as one of them goes to its bound.
    """
    from scipy.optimize import minimize

    errors = model.residual
    if errors is None:
        return np.zeros(0)
    best: list[tuple[Factors, float]] = []

    def value(free: Vector) -> float:
        here = Criterion.of(model, method, errors.bound(np.clip(free, -UNBOUNDED, UNBOUNDED)))
        starts = [here.factors(*best[-1])] if best else _fixed_starts(here)
        ends = [optimum(here, descend(here, start)) for start in starts]
        lowest = min(ends, key=lambda end: end.value)
        best.append((lowest.psi, lowest.sigma2))
        return lowest.value

    found = []
    for start in (0.0, 0.7, -0.7) if errors.kind == "corAR1" else (0.0,):
        best.clear()
        end = minimize(
            value, np.full(len(errors.names), start), jac="3-point", options={"finite_diff_rel_step": STEP}
        )
        found.append((end.fun, end.x))
    free = min(found, key=lambda end: end[0])[1]
    away = np.flatnonzero(~(np.abs(free) < 0.9 * UNBOUNDED)).tolist()
    if away:
        at = float(errors.bound(free)[away[0]])
        raise ModelError(
            f"formula {model.formula!r}: {errors.names[away[0]]} goes to {at:.3g}, the data do not bound it; "
            f"leave {errors.kind}() out"
        )
    return errors.bound(free)


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


def _local(criterion: Criterion, local: Local) -> Optimum:
    """A local optimum of a certificate: its covariances relative to sigma2, and what follows."""
    numbers = iter(local.relative)
    relative = []
    for term in criterion.structure.model.random:
        G = np.zeros((len(term.names), len(term.names)))
        for j in range(len(G)):
            for i in range(j, len(G)):
                G[i, j] = G[j, i] = next(numbers).double
        relative.append(G)
    sigma2 = criterion.sigma2(criterion.at(criterion.factors(tuple(relative), 1.0)))
    return Optimum(local.criterion.double, tuple(G * sigma2 for G in relative), sigma2, 0.0)


def _fixed_starts(criterion: Criterion) -> list[Factors]:
    if not criterion.structure.terms:
        return [()]
    spreads = [np.sqrt(np.mean(Z**2, axis=0)) for Z in criterion.structure.columns]
    return [tuple(np.diag(s / np.maximum(spread, 1e-8)) for spread in spreads) for s in STARTS]
