"""Diagnosis: whose fault a verdict is, whether the user was told, and what to do."""

from __future__ import annotations

from bridge.report import text
from bridge.verdict import Judgement, Verdict

_CAUSE = {
    Verdict.AGREE: ("none", "Nothing to do."),
    Verdict.AGREE_SINGULAR: (
        "none",
        "Nothing to do; a variance is zero at the optimum: drop the term, or say that it is zero.",
    ),
    Verdict.FLAT: ("data", "The data hardly tell these numbers: report them with fewer digits."),
    Verdict.MULTIMODAL: (
        "optimiser",
        "Fit from several starts and keep the highest log-likelihood, or take an engine that found it.",
    ),
    Verdict.WORSE_OPTIMUM: (
        "optimiser",
        "Take an engine that found the optimum.",
    ),
    Verdict.WRONG_COMPUTATION: (
        "computation",
        "Its numbers do not belong to its own variances: do not use them; take another engine.",
    ),
    Verdict.INCONSISTENT: (
        "computation",
        "The same model in other words gives another answer: do not use either unchecked.",
    ),
    Verdict.NOT_CONVERGED: ("optimiser", "It gives up and says so: take other settings or another engine."),
    Verdict.UNIDENTIFIED: ("model", "No data of this design can tell these numbers: change the model."),
    Verdict.REFUSED: ("engine", "It raises an error: the message says what it cannot do."),
    Verdict.UNSUPPORTED: ("engine", "It cannot express this model: take another engine."),
    Verdict.UNAVAILABLE: ("engine", "lmmbridge doctor says how to get it."),
    Verdict.CRASHED: ("engine", "Its process died: take another engine, and report it to its authors."),
    Verdict.TIMED_OUT: ("engine", "Give it more time (--limit), or take a faster engine."),
    Verdict.REFERENCE_WRONG: ("referee", "A fault of lmmbridge: please report it with the data."),
}

_LOGLIK = (
    "Estimates, standard errors and BLUPs are right. Do not use its log-likelihood, AIC or BIC: not beside "
    "those of other software, nor to choose among models."
)


def cause(judgement: Judgement) -> str:
    """``optimiser``, ``computation``, ``data``, ``model``, ``engine``, ``referee`` or ``none``."""
    return fault(judgement.verdict)


def fault(verdict: Verdict) -> str:
    """The same of a verdict alone."""
    return _CAUSE[verdict][0]


def advice(judgement: Judgement) -> str:
    """What to do, in a sentence."""
    if judgement.verdict is Verdict.REFUSED and judgement.expected:
        return "Nothing to do: the refusal is right, the data cannot tell this model's numbers."
    if text.short(judgement) == text.LOGLIK:
        return _LOGLIK
    said = _CAUSE[judgement.verdict][1]
    if judgement.verdict is Verdict.WORSE_OPTIMUM:
        remedy = judgement.reason.partition("; ")[2]
        first = f"{remedy[0].upper()}{remedy[1:]}. " if remedy else ""
        tight = "Try its most careful settings (tight). " if judgement.fit.profile == "default" else ""
        return f"{first}{tight}{said}"
    return said


def warned(claim: str, silent: bool) -> str:
    """What the engine's user was told."""
    if silent:
        return "silent: it gives no word of warning"
    return {
        "ok": "it claims success",
        "warned": "it warns",
        "not converged": "it says that it has not converged",
        "none": "it makes no claim",
    }[claim]
