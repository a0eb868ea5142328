"""Glossary: what the words of a report mean, verdict by verdict and relation by relation."""

from __future__ import annotations

from bridge.report import diagnosis, text
from bridge.report.grid import Grid
from bridge.verdict import Verdict

MEANING = {
    Verdict.AGREE: "every number is within tolerance of the reference's, the exact optimum",
    Verdict.AGREE_SINGULAR: "the same, and a variance or correlation is at its boundary, as it should be",
    Verdict.FLAT: "the optimum is found, but the data hardly tell some number, which is beyond tolerance",
    Verdict.MULTIMODAL: "it ends in another local optimum, not the best",
    Verdict.WORSE_OPTIMUM: "it stops before the optimum: the likelihood at its variances is lower",
    Verdict.WRONG_COMPUTATION: (
        "what it prints does not follow from its own variances (slopes, standard errors, BLUPs, df, logLik), "
        "or it is NaN, infinite or without labels"
    ),
    Verdict.INCONSISTENT: "lmmbridge relations only: the same model in other words gets another answer",
    Verdict.NOT_CONVERGED: "it gives no usable numbers, and says so",
    Verdict.UNIDENTIFIED: "it gives numbers for a model that these data cannot tell; it should refuse",
    Verdict.REFUSED: "it raises an error of its own; right where the model is not identified",
    Verdict.UNSUPPORTED: "it cannot express the model, and is not asked",
    Verdict.UNAVAILABLE: "it is not on this machine",
    Verdict.CRASHED: "its process died",
    Verdict.TIMED_OUT: "no answer in time",
    Verdict.REFERENCE_WRONG: "its criterion is below the reference's: the referee is wrong",
}
PARTIAL = (
    "as wrong numbers, but nothing except the log-likelihood is beyond tolerance, as by a wrong constant: "
    "estimates, standard errors and BLUPs are right"
)


def verdicts() -> Grid:
    """Each word of the tables, the verdict it stands for, whose fault it is, and what it means."""
    rows = [(text.SHORT[v], v.value, diagnosis.fault(v), meaning) for v, meaning in MEANING.items()]
    wrong = Verdict.WRONG_COMPUTATION
    at = list(MEANING).index(wrong) + 1
    rows.insert(at, (text.LOGLIK, wrong.value, diagnosis.fault(wrong), PARTIAL))
    return Grid(("word", "verdict", "cause", "meaning"), tuple(rows))


def relations() -> Grid:
    """Each relation, and how it says a model again."""
    from bridge.relation import RELATIONS

    rows = [(r.name, r.what, " and ".join(r.methods)) for r in RELATIONS]
    return Grid(("relation", "the same model with", "by"), tuple(rows))
