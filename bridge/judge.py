"""Judge: an audited answer and the reference -> a verdict with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bridge import tolerance
from bridge.audit import Answer, Audit, Check, align, audit, gap, usable
from bridge.comparison import Comparison, compared, joined
from bridge.criterion import Criterion
from bridge.engines.engine import Engine
from bridge.fit import Fit
from bridge.model import Model
from bridge.newton import descend, hessian
from bridge.reference import Reference, optimum
from bridge.verdict import Claim, Judgement, Known, Verdict, silent


def judge(
    case: str,
    model: Model,
    reference: Reference | None,
    fit: Fit,
    engine: Engine,
    *,
    expect: str = "ok",
    known: Sequence[Known] = (),
) -> Judgement:
    """The verdict on one fit.

    Parameters
    ----------
    case : str
        Name of the case, for the record.
    model : Model
        For a complete-pooling baseline, the model without its random terms.
    reference : Reference or None
        None where the model is ill-posed and there is nothing to judge by.
    expect : {"ok", "singular", "unidentified", "refused"}
        What the case says of itself; for the last two only a refusal is right.
    known : sequence of Known
        The case's known differences.
    """
    outcome = _outcome(model, reference, fit, engine, expect)
    speaking = [k for k in known if k.matches(fit.engine, fit.method, fit.profile, fit.versions)]
    mine = speaking[0] if speaking else None
    good = outcome.verdict.passes or outcome.verdict.neutral
    if expect in ("unidentified", "refused"):
        good = outcome.verdict == Verdict.REFUSED or outcome.verdict.neutral
    surprise = ""
    if mine is not None and not outcome.verdict.neutral:
        surprise = gone(mine, outcome.verdict, silent(fit, outcome.verdict, claim(fit)))
    elif not good:
        surprise = f"{outcome.verdict}: {outcome.reason}"
    return Judgement(
        case,
        fit,
        outcome.verdict,
        outcome.reason,
        outcome.gap,
        outcome.rows,
        claim(fit),
        mine,
        not surprise,
        surprise,
    )


def gone(known: Known, verdict: Verdict, quiet: bool) -> str:
    """What is said of a known difference that is not what was found; empty if it is."""
    if verdict not in known.verdicts:
        return (
            f"a known difference is gone: expected {' or '.join(known.verdicts)} ({known.reason}), "
            f"got {verdict}; remove or narrow the entry in case.toml"
        )
    if verdict.passes or not verdict.answered or known.silent in (quiet, "varies"):
        return ""
    news = "without a word of warning" if quiet else "with a warning"
    return (
        f"a known difference is told otherwise: {verdict} as expected ({known.reason}), but now {news}; "
        f"set silent = {str(quiet).lower()} in its entry in case.toml, or narrow it"
    )


CHATTER = re.compile(r"(Future|(Pending)?Deprecation)Warning: |UserWarning: [\w-]+: .* is not installed")
"""What a program says of its own software, not of the answer."""


def claim(fit: Fit) -> Claim:
    """What the engine says of its own answer."""
    if fit.converged is False:
        return "not converged"
    if not all(map(CHATTER.match, fit.messages)):
        return "warned"
    return "ok" if fit.converged else "none"


@dataclass(frozen=True, slots=True)
class _Outcome:
    verdict: Verdict
    reason: str
    gap: float = math.nan
    rows: tuple[Comparison, ...] = ()


STATUS = {
    "refused": Verdict.REFUSED,
    "unsupported": Verdict.UNSUPPORTED,
    "unavailable": Verdict.UNAVAILABLE,
    "crashed": Verdict.CRASHED,
    "timed_out": Verdict.TIMED_OUT,
}


def _outcome(model: Model, reference: Reference | None, fit: Fit, engine: Engine, expect: str) -> _Outcome:
    if fit.status != "ok":
        return _Outcome(STATUS[fit.status], fit.reason)
    if expect in ("unidentified", "refused") or reference is None:
        return _Outcome(
            Verdict.UNIDENTIFIED,
            "gives numbers for a model that the data do not identify; it should refuse",
        )
    answer = align(model, fit)

    def limit(quantity: str) -> float:
        return tolerance.lookup(quantity, engine.name, engine.family, fit.profile).value

    if fault := _fault(fit, answer) or _beyond(model, answer):
        given_up = fit.converged is False and not answer.faults
        verdict = Verdict.NOT_CONVERGED if given_up else Verdict.WRONG_COMPUTATION
        return _Outcome(verdict, fault, rows=joined(reference, answer, engine.std_error, limit))
    criterion = reference.criterion
    if model.residual is not None:  # at the errors' parameters that the engine found
        criterion = Criterion.of(model, criterion.method, answer.residual)
    found = audit(criterion, answer, fit, engine)
    checks = [_checked(check, limit(check.quantity), abs(found.value)) for check in found.checks]
    off = gap(criterion, answer, found, reference.best, reference.point.bound)
    rows = (*compared(reference, answer, found, fit, engine.std_error, off, limit), *checks)
    slack = 10 * (found.bound + reference.point.bound)
    bad = [row for row in checks if not row.ok]
    if bad:
        return _Outcome(Verdict.WRONG_COMPUTATION, _blame(bad), off, rows)
    if off < -(limit("gap") + slack):
        return _Outcome(
            Verdict.REFERENCE_WRONG,
            f"its criterion is {-off:.3g} below the reference: the reference is wrong, not the engine",
            off,
            rows,
        )
    if off > limit("gap") + slack:
        return _worse(reference, found, answer, off, limit("gap") + slack, rows)
    return _within(reference, answer, off, rows)


def _fault(fit: Fit, answer: Answer) -> str:
    """Why an answer cannot be audited; empty if it can."""
    if math.isinf(fit.loglik):
        claimed = " and calls it converged" if fit.converged else ""
        return f"returns a log-likelihood of {fit.loglik:+}{claimed}"
    if answer.faults:
        more = f" and {len(answer.faults) - 1} more" if len(answer.faults) > 1 else ""
        return f"its labels do not join: {answer.faults[0]}{more}"
    fault = usable(answer)
    return f"returns {fault}" if fault else ""


def _beyond(model: Model, answer: Answer) -> str:
    """Which parameter of the errors has no meaning, such as a ratio below 0; empty if all have one."""
    errors = model.residual
    if errors is None:
        return ""
    free = errors.free(answer.residual)
    numbers = zip(errors.names, answer.residual.tolist(), np.isfinite(free).tolist(), strict=True)
    return next((f"returns {name} = {value:.6g}" for name, value, fine in numbers if not fine), "")


def _checked(check: Check, most: float, size: float) -> Comparison:
    most += check.slack
    if check.quantity == "self: logLik":
        most += 1e-13 * size
    numbers = (check.estimate, check.recomputed, check.difference, check.scale, most, math.nan)
    return Comparison(check.quantity, check.group, check.level, check.term, *numbers)


def _blame(bad: list[Comparison]) -> str:
    worst = max(bad, key=lambda r: r.difference / r.tolerance if r.difference == r.difference else math.inf)
    what = worst.quantity.removeprefix("self: ")
    if math.isnan(worst.estimate):
        return f"gives no {what}{f' of {worst.term}' if worst.term not in ('', what) else ''} (NaN)"
    where = " ".join(
        part for part in (worst.group, "/".join(worst.level), worst.term) if part and part != what
    )
    return (
        f"its {what}{f' of {where}' if where else ''} is {worst.estimate:.6g} where its own variances give "
        f"{worst.reference:.6g} ({worst.difference:.2g} {worst.scale}, allowed {worst.tolerance:.1g})"
    )


def _worse(
    reference: Reference, found: Audit, answer: Answer, off: float, limit: float, rows: tuple[Comparison, ...]
) -> _Outcome:
    criterion = reference.criterion
    landing = optimum(criterion, descend(criterion, found.point.factors))
    if (
        not reference.same(landing, reference.best)
        and landing.value - reference.best.value > limit
        and found.value - landing.value <= limit
    ):
        return _Outcome(
            Verdict.MULTIMODAL,
            f"ends in another local optimum, {off:.3g} deviance units above the best; try other starts",
            off,
            rows,
        )
    return _Outcome(
        Verdict.WORSE_OPTIMUM,
        f"stops {off:.3g} deviance units above the optimum; {advice(criterion.structure.model)}",
        off,
        rows,
    )


def _within(reference: Reference, answer: Answer, off: float, rows: tuple[Comparison, ...]) -> _Outcome:
    bad = [row for row in rows if not row.ok]
    if not bad:
        if reference.singular:
            return _Outcome(
                Verdict.AGREE_SINGULAR, "agrees; the fit is singular: some variance is zero", off, rows
            )
        return _Outcome(Verdict.AGREE, "agrees", off, rows)
    criterion = reference.criterion
    landing = optimum(criterion, descend(criterion, criterion.factors(answer.psi, answer.sigma2)))
    worst = max(bad, key=lambda r: r.difference / r.tolerance)
    if reference.same(landing, reference.best):
        return _Outcome(
            Verdict.FLAT,
            f"the criterion is flat here: {worst.quantity} {worst.term} is {worst.difference:.2g} "
            f"{worst.scale} off at a gap of {off:.1g}{flattest(reference)}",
            off,
            rows,
        )
    return _Outcome(
        Verdict.MULTIMODAL,
        f"near tie: another optimum {off:.1g} deviance units higher; {worst.quantity} {worst.term} differs",
        off,
        rows,
    )


def flattest(reference: Reference) -> str:
    """How far theta can move along its flattest direction for one deviance unit, in words."""
    values = np.linalg.eigvalsh(hessian(reference.criterion, reference.point))
    if not len(values) or values[0] <= 0:
        return ""
    return (
        f" (one deviance unit is {math.sqrt(2 / float(values[0])):.2g} in theta along the flattest direction)"
    )


def advice(model: Model) -> str:
    """What a user can do about an optimiser that stopped short."""
    for j, name in enumerate(model.names):
        x = model.X[:, j]
        spread, centre = float(np.std(x, ddof=1)), abs(float(np.mean(x)))
        if spread > 0 and centre > 100 * spread:
            return f"centre {name} (its mean is {centre / spread:.0f} times its sd)"
        if spread > 1e4 or 0 < spread < 1e-4:
            return f"rescale {name} (its sd is {spread:.2g})"
    spread = float(np.std(model.y, ddof=1))
    if spread > 1e4 or spread < 1e-4:
        return f"rescale {model.response} (its sd is {spread:.2g})"
    return "tighten the optimiser or start elsewhere"
