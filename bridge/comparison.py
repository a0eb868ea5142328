"""Comparison: one number of an engine beside the reference's, on a scale that means the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from bridge.audit import Answer, Audit, resolution, right_error
from bridge.fit import Fit
from bridge.model import Matrix, Vector
from bridge.reference import Reference, distance

Limit = Callable[[str], float]
"""Tolerance of a quantity."""
LISTED = 1000
"""Levels of a term whose BLUPs are listed: of more, those that are furthest off."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of an engine beside the reference's.

    Attributes
    ----------
    quantity : str
        ``gap``, ``beta``, ``SE``, ``sigma``, ``residual`` (a parameter of the errors), ``G``, ``var``,
        ``BLUP``, ``logLik``, or a self-check of the audit: ``self: X'R^-1e``, ``self: beta``, ``self: SE``,
        ``self: BLUP``, ``self: logLik``.
    difference : float
        Absolute, on the scale of the quantity (`scale`).
    scale : str
        What `difference` is measured in.
    tolerance : float
        Largest difference allowed.
    lre : float
        Correct digits, -log10 of the relative difference, in [0, 15]; NaN where it has no meaning. Those
        of ``SE`` are of the number printed, under the engine's own convention; its difference is of Phi.
    """

    quantity: str
    group: str
    level: tuple[str, ...]
    term: str
    estimate: float
    reference: float
    difference: float
    scale: str
    tolerance: float
    lre: float

    @property
    def ok(self) -> bool:
        """Within tolerance; NaN never is."""
        return self.difference <= self.tolerance


def lre(estimate: float, truth: float, scale: float) -> float:
    """Log relative error: correct digits of `estimate`, in [0, 15] (McCullough 1998)."""
    if not math.isfinite(estimate):
        return 0.0
    if estimate == truth:
        return 15.0
    base = abs(truth) if truth != 0 else scale
    return min(15.0, max(0.0, -math.log10(abs(estimate - truth) / base))) if base > 0 else 0.0


def compared(
    reference: Reference, answer: Answer, found: Audit, fit: Fit, convention: str, off: float, limit: Limit
) -> tuple[Comparison, ...]:
    """The answer beside the reference by quantity; `off` is the gap, `convention` that of its SE."""
    best, slack = reference.best, 10 * (found.bound + reference.point.bound)
    rows = [_absolute("gap", "criterion", best.value + off, best.value, abs(off), limit("gap") + slack)]
    if math.isfinite(fit.loglik):
        most = limit("logLik") + 1e-13 * abs(reference.loglik)
        off_loglik = abs(fit.loglik - reference.loglik)
        rows.append(_absolute("logLik", "logLik", fit.loglik, reference.loglik, off_loglik, most))
    fixed = _fixed(reference, answer, found.std_error, convention, limit)
    return (*rows, *fixed, *_random(reference, answer, limit))


def joined(reference: Reference, answer: Answer, convention: str, limit: Limit) -> tuple[Comparison, ...]:
    """What numbers there are in an answer that cannot be audited, beside the reference's."""
    fixed = _fixed(reference, answer, answer.std_error, convention, limit)
    rows = (*fixed, *_random(reference, answer, limit))
    return tuple(row for row in rows if math.isfinite(row.estimate) or row.quantity == "G")


def _absolute(quantity: str, term: str, estimate: float, truth: float, off: float, most: float) -> Comparison:
    return Comparison(
        quantity, "", (), term, estimate, truth, off, "absolute", most, lre(estimate, truth, 1.0)
    )


def _fixed(
    reference: Reference, answer: Answer, std_error: Vector, convention: str, limit: Limit
) -> Iterator[Comparison]:
    se, model = reference.std_error, reference.criterion.structure.model
    own = right_error(reference, convention)
    most = limit("beta") + resolution(model, reference.beta) / se
    for j, name in enumerate(model.names):
        yield _scaled("beta", "", (), name, answer.beta[j], reference.beta[j], se[j], "SE", float(most[j]))
        row = _scaled("SE", "", (), name, std_error[j], se[j], se[j], "relative", limit("SE"))
        printed = lre(float(answer.std_error[j]), float(own[j]), 1.0)
        yield replace(row, lre=printed if math.isfinite(own[j]) else math.nan)
    sigma = math.sqrt(answer.sigma2) if answer.sigma2 >= 0 else math.nan
    right = math.sqrt(reference.best.sigma2)
    yield _scaled("sigma", "Residual", (), "sigma", sigma, right, right, "relative", limit("sigma"))
    if (errors := model.residual) is not None:
        found, best = answer.residual, reference.residual
        off = np.abs(errors.free(found) - errors.free(best)).tolist()
        for name, a, b, away in zip(errors.names, found.tolist(), best.tolist(), off, strict=True):
            measured = away, errors.scale, limit("residual"), lre(a, b, 1.0)
            yield Comparison("residual", "Residual", (), name, a, b, *measured)


def _random(reference: Reference, answer: Answer, limit: Limit) -> Iterator[Comparison]:
    most, model = limit("G"), reference.criterion.structure.model
    moved = float(np.max(np.abs(model.X), axis=0, initial=0.0) @ resolution(model, reference.beta))
    for t, term in enumerate(model.random):
        here = limit("BLUP") + moved * math.sqrt(
            model.total_weight / len(term.levels) / reference.best.sigma2
        )
        G, right, F = answer.psi[t], reference.best.psi[t], reference.floors[t]
        whole = " ".join(term.names)
        off = distance(G, right, F)
        yield Comparison("G", term.group, (), whole, math.nan, math.nan, off, "G+F", most, math.nan)
        unit = np.sqrt(np.diag(right) + np.diag(F))
        for i, first in enumerate(term.names):
            for j, second in enumerate(term.names[i:], i):
                name = f"var__{first}" if i == j else f"cov__{first}.{second}"
                yield _scaled(
                    "var", term.group, (), name, G[i, j], right[i, j], unit[i] * unit[j], "G+F", most
                )
        for i in _listed(answer.blups[t], reference.blups[t], unit):
            for j, name in enumerate(term.names):
                b, b_right, level = answer.blups[t][i, j], reference.blups[t][i, j], term.levels[i]
                yield _scaled("BLUP", term.group, level, name, b, b_right, unit[j], "sqrt(G+F)", here)


def _listed(blups: Matrix, right: Matrix, unit: Vector) -> list[int]:
    """Levels to list, in order: all, or those furthest off (NaN before any number)."""
    off = np.max(np.nan_to_num(np.abs(blups - right) / unit, nan=math.inf), axis=1)
    furthest: list[int] = np.sort(np.argsort(-off, kind="stable")[:LISTED]).tolist()
    return furthest


def _scaled(
    quantity: str,
    group: str,
    level: tuple[str, ...],
    term: str,
    estimate: float,
    truth: float,
    unit: float,
    scale: str,
    most: float,
) -> Comparison:
    estimate, truth, unit = float(estimate), float(truth), float(unit)
    off = abs(estimate - truth) / unit
    # A BLUP next to zero has no relative error that would mean anything.
    correct = lre(off, 0.0, 1.0) if quantity == "BLUP" else lre(estimate, truth, unit)
    return Comparison(quantity, group, level, term, estimate, truth, off, scale, most, correct)
