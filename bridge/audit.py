"""Audit: an engine's answer, held against the algebra at its own (Psi, sigma2).

Given (Psi, sigma2) everything else is linear algebra, so an answer splits in two: did the engine
find the optimum (the gap), and are its beta, SE, BLUPs and log-likelihood the ones that belong to
its own covariances (the self-checks)? The second can be recomputed exactly, so the blame is known.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bridge import balls, sums
from bridge.criterion import Criterion, Factors, Point
from bridge.denominator import KenwardRoger, containment, satterthwaite
from bridge.engines.engine import Engine
from bridge.fit import Fit, Row
from bridge.joint import joint_error
from bridge.model import Matrix, Model, Vector
from bridge.reference import Optimum, Reference

Label = tuple[str, str | None, tuple[str, ...] | None, str]


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """An engine's numbers as arrays, joined to the model by label, never by position.

    Attributes
    ----------
    beta, std_error, df : (p,) arrays
        NaN where the engine gives none.
    psi : tuple of (k, k) arrays
        Covariance of each random term, variance scale.
    sigma2 : float
    blups : tuple of (levels, k) arrays
    faults : tuple of str
        Labels that are missing, foreign or twice: each makes the answer unusable.
    residual : (r,) array
        Parameters of the errors, in the order of `Residual.names`; empty for plain ones.
    """

    beta: Vector
    std_error: Vector
    df: Vector
    psi: Factors
    sigma2: float
    blups: tuple[Matrix, ...]
    faults: tuple[str, ...]
    residual: Vector


@dataclass(frozen=True, slots=True)
class Check:
    """One self-check: the largest deviation found, and where; `slack` is what doubles cannot resolve."""

    quantity: str
    group: str
    level: tuple[str, ...]
    term: str
    estimate: float
    recomputed: float
    difference: float
    scale: str
    slack: float = 0.0


def resolution(model: Model, beta: Vector) -> Vector:
    """What a stable computation in doubles may lose of each coefficient: eps (4 + 8 sqrt n) |beta|.

    Nothing on ordinary data; with y = 1e12 + small (NIST's SmLs07) a double cannot hold the intercept
    to a thousandth of its standard error.
    """
    return np.finfo(float).eps * (4 + 8 * math.sqrt(model.n)) * np.abs(beta)


@dataclass(frozen=True, eq=False, slots=True)
class Audit:
    """What the criterion says of an answer at its own (Psi, sigma2).

    Attributes
    ----------
    value : float
        Unprofiled criterion there, deviance scale.
    bound : float
        Its rounding error.
    std_error : (p,) array
        sqrt diag Phi there.
    checks : tuple of Check
    point : Point
    """

    value: float
    bound: float
    std_error: Vector
    checks: tuple[Check, ...]
    point: Point


def expected_labels(model: Model) -> Iterator[Label]:
    """Every label that a complete answer has, in order."""
    for name in model.names:
        yield ("fixed", None, None, name)
    for term in model.random:
        for i, first in enumerate(term.names):
            yield ("ran_pars", term.group, None, f"var__{first}")
            for second in term.names[i + 1 :]:
                yield ("ran_pars", term.group, None, f"cov__{first}.{second}")
        for level in term.levels:
            for name in term.names:
                yield ("ran_vals", term.group, level, name)
    for name in ("var__Observation", *model.error_names):
        yield ("ran_pars", "Residual", None, name)


def align(model: Model, fit: Fit) -> Answer:
    """An `Answer` from a Fit; its `faults` say what could not be joined."""
    rows: dict[Label, Row] = {(r.effect, r.group, r.level, r.term): r for r in fit.rows}
    wanted = list(expected_labels(model))
    counts = Counter((r.effect, r.group, r.level, r.term) for r in fit.rows)
    known = set(wanted)
    faults = [f"missing {_spell(label)}" for label in wanted if label not in rows]
    faults += [f"foreign {_spell(label)}" for label in rows if label not in known]
    faults += [f"twice {_spell(label)}" for label, count in counts.items() if count > 1]

    def number(effect: str, group: str | None, level: tuple[str, ...] | None, term: str) -> float:
        row = rows.get((effect, group, level, term))
        return math.nan if row is None else float(row.estimate)

    beta = np.array([number("fixed", None, None, name) for name in model.names])
    fixed = [rows.get(("fixed", None, None, name)) for name in model.names]
    std_error = np.array([math.nan if r is None or r.std_error is None else r.std_error for r in fixed])
    df = np.array([math.nan if r is None or r.df is None else r.df for r in fixed])
    psi, blups = [], []
    for term in model.random:
        G = np.array(
            [
                [
                    number("ran_pars", term.group, None, _entry(term.names, i, j))
                    for j in range(len(term.names))
                ]
                for i in range(len(term.names))
            ]
        )
        psi.append(G)
        blups.append(
            np.array(
                [
                    [number("ran_vals", term.group, level, name) for name in term.names]
                    for level in term.levels
                ]
            )
        )
    return Answer(
        beta,
        std_error,
        df,
        tuple(psi),
        number("ran_pars", "Residual", None, "var__Observation"),
        tuple(blups),
        tuple(faults),
        np.array([number("ran_pars", "Residual", None, name) for name in model.error_names]),
    )


def _entry(names: tuple[str, ...], i: int, j: int) -> str:
    low, high = min(i, j), max(i, j)
    return f"var__{names[i]}" if i == j else f"cov__{names[low]}.{names[high]}"


def _spell(label: Label) -> str:
    effect, group, level, term = label
    return " ".join([effect, *([group] if group else []), *(["/".join(level)] if level else []), term])


def usable(answer: Answer) -> str:
    """Empty if the criterion can be evaluated at the answer, else why not."""
    numbers = [
        *answer.beta,
        answer.sigma2,
        *(v for G in answer.psi for v in G.ravel()),
        *(v for b in answer.blups for v in b.ravel()),
        *answer.residual,
    ]
    if not np.all(np.isfinite(numbers)):
        return "NaN or Inf among its estimates"
    if answer.sigma2 <= 0:
        return f"a residual variance of {answer.sigma2:.6g}"
    for G in answer.psi:
        scale = np.sqrt(np.maximum(np.diag(G), 0))
        whole = np.where(np.outer(scale, scale) > 0, G / np.maximum(np.outer(scale, scale), 1e-300), G)
        if np.any(np.diag(G) < 0) or np.linalg.eigvalsh(whole)[0] < -1e-7:
            return "a covariance matrix of random effects that is not positive semidefinite"
    return ""


def audit(criterion: Criterion, answer: Answer, fit: Fit, engine: Engine) -> Audit:
    """Recompute beta, SE, BLUPs and log-likelihood at the answer's own (Psi, sigma2)."""
    value, point = criterion.unprofiled(answer.psi, answer.sigma2)
    bound = point.bound
    phi_error = np.sqrt(np.diag(criterion.phi(point, answer.sigma2)))
    checks = [
        *_fixed_checks(criterion, answer, point, phi_error),
        *_error_checks(criterion, answer, point, phi_error, engine),
    ]
    checks += _blup_checks(criterion, answer, point)
    if not math.isnan(fit.sigma):
        checks.append(
            Check(
                "self: sigma",
                "Residual",
                (),
                "sigma",
                fit.sigma,
                math.sqrt(answer.sigma2),
                abs(fit.sigma / math.sqrt(answer.sigma2) - 1),
                "relative",
            )
        )
    if not (math.isnan(fit.loglik) and engine.pooling == "complete"):
        checks.append(
            Check(
                "self: logLik",
                "",
                (),
                "logLik",
                fit.loglik,
                -value / 2,
                abs(fit.loglik + value / 2),
                "absolute",
            )
        )
    return Audit(value, bound, phi_error, tuple(checks), point)


def gap(criterion: Criterion, answer: Answer, found: Audit, best: Optimum, bound: float) -> float:
    """Criterion at the answer minus at the optimum (deviance scale).

    Settled in ball arithmetic where the difference is within ten rounding errors of float64 (not where
    errors have parameters: the two points then belong to two settled models).
    """
    difference = found.value - best.value
    model = criterion.structure.model
    if model.residual or abs(difference) > 10 * (found.bound + bound) or not sums.within_reach(model):
        return difference
    exact = sums.Sums.of(criterion.structure)
    ours = balls.unprofiled(exact, criterion.method, answer.psi, answer.sigma2)
    return float(ours - balls.unprofiled(exact, criterion.method, best.psi, best.sigma2))


def _fixed_checks(criterion: Criterion, answer: Answer, point: Point, phi_error: Vector) -> Iterator[Check]:
    model = criterion.structure.model
    right = criterion.beta(point)
    lost = resolution(model, right)
    for j, name in enumerate(model.names):
        off, slack = abs(answer.beta[j] - right[j]) / phi_error[j], lost[j] / phi_error[j]
        numbers = (float(answer.beta[j]), float(right[j]), float(off), "SE", float(slack))
        yield Check("self: beta", "", (), name, *numbers)
    e = model.y - model.known_mean - model.X @ answer.beta
    for term, b in zip(model.random, answer.blups, strict=True):
        e = e - np.sum(term.Z * b[term.index], axis=1)
    w = np.ones(model.n) if model.weights is None else model.weights
    for j, name in enumerate(model.names):
        x = model.X[:, j]
        scale = math.sqrt(answer.sigma2) * float(np.linalg.norm(np.sqrt(w) * x))
        score, slack = float(x @ (w * e)) / scale, float((w * np.abs(x)) @ np.abs(model.X) @ lost) / scale
        yield Check("self: X'R^-1e", "", (), name, score, 0.0, abs(score), "|R^-1/2 x|", slack)


def _error_checks(
    criterion: Criterion, answer: Answer, point: Point, phi_error: Vector, engine: Engine
) -> Iterator[Check]:
    model, kr = criterion.structure.model, None
    if "kenward-roger" in (engine.std_error, engine.df):
        kr = KenwardRoger.of(criterion, answer.psi, answer.sigma2)
    if engine.std_error == "joint":
        right = joint_error(criterion, point, answer.sigma2)
    else:
        right = kr.std_error if kr is not None and engine.std_error == "kenward-roger" else phi_error
    for j, name in enumerate(model.names if engine.std_error != "none" else ()):
        if np.isfinite(right[j]):
            printed = float(answer.std_error[j])
            off = abs(printed / right[j] - 1) if math.isfinite(printed) else math.nan
            yield Check(
                "self: SE",
                "",
                (),
                name,
                printed,
                float(right[j]),
                float(off),
                f"relative, {engine.std_error}",
            )
    if engine.df == "none" or not np.any(np.isfinite(answer.df)):
        return
    if engine.df == "containment":
        own = containment(model)
    else:
        own = satterthwaite(criterion, answer.psi, answer.sigma2) if kr is None else kr.df
    for name, given, df in zip(model.names, answer.df.tolist(), own.tolist(), strict=True):
        if math.isfinite(given) and math.isfinite(df):
            off = abs(given / df - 1)
            yield Check("self: df", "", (), name, given, df, off, f"relative, {engine.df}")


def _blup_checks(criterion: Criterion, answer: Answer, point: Point) -> Iterator[Check]:
    right = criterion.blups(point, answer.beta)
    scale2 = answer.sigma2 / criterion.sigma2(point)
    floors = criterion.floors(point)
    model = criterion.structure.model
    moved = float(np.max(np.abs(model.X), axis=0, initial=0.0) @ resolution(model, answer.beta))
    for term, b, b_right, G, F in zip(model.random, answer.blups, right, answer.psi, floors, strict=True):
        off = np.abs(b - b_right) / np.sqrt(np.diag(G) + scale2 * np.diag(F))
        i, j = np.unravel_index(int(np.argmax(off)), off.shape)
        yield Check(
            "self: BLUP",
            term.group,
            term.levels[i],
            term.names[j],
            float(b[i, j]),
            float(b_right[i, j]),
            float(off[i, j]),
            "sqrt(G+F)",
            moved * math.sqrt(model.total_weight / len(term.levels) / answer.sigma2),
        )


@lru_cache(maxsize=8)
def right_error(reference: Reference, convention: str) -> Vector:
    """SE (p,) at the reference under a convention of `Engine.std_error`; NaN where it has none."""
    criterion, best = reference.criterion, reference.best
    if convention == "joint":
        return joint_error(criterion, reference.point, best.sigma2)
    if convention == "kenward-roger":
        return KenwardRoger.of(criterion, best.psi, best.sigma2).std_error
    return reference.std_error if convention == "phi" else np.full(criterion.structure.model.p, math.nan)
