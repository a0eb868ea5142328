"""Relations: docs/relations.md, what must follow from what, and who breaks it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bridge.consistency import BOTH
from bridge.relation import RELATIONS
from bridge.report import text
from bridge.report.grid import Grid
from bridge.verdict import Judgement, Verdict

if TYPE_CHECKING:
    from bridge.agreement import Agreement

ABOUT = """\
One model can be said in many ways: in other units, with the rows in another order, with other names for the
groups. An engine's answer must follow. No true answer is needed to see that it does not, so relations hold
where nothing is certified; and a bug that moves all engines alike, or the referee, cannot hide here.

`lmmbridge relations CASE...` fits the case as it is and in other words, takes the second answer back into
the terms of the first, and compares the two answers of the one engine. The verdict is AGREE or
INCONSISTENT."""

TOLERANCE = f"""\
Beta, G, sigma, BLUPs, logLik and the gap (the criterion at the second answer's variances less that at the
first's) may differ by {BOTH:g} times the engine's own tolerance (`bridge/tolerance.toml`, on the scales of
[verdicts](verdicts.md)): each of the two answers may be off by one. Beyond that they cannot both be right.
Standard errors are those that belong to the variances; the printed ones are not compared, for those of a
shifted intercept do not follow from them alone. A relation that does not apply to a case (no interaction to
multiply out; a shift of x under `(x || g)`, which is another model; rows left out for missing values) is
left out."""

BLANK = """\
Blank: the relation applies to none of these cases as far as the engine takes them (pbkrtest fits by REML
only, gpboost by ML only). *NaN in logLik*, below: one of the two answers has no log-likelihood."""

WHY = """\
Almost all have one of three causes. *Where the optimiser stops*: its rule is relative to a criterion that
units move, or its path hangs on the order of parameters and on rounding; the two answers end on different
sides of the tolerance, most where the first is wrong already. *A singular X* in `constant-column`: solved
as it comes, when it should be found rank-deficient. *Chance*: log-determinants from random vectors. None of
them hangs on labels or on the order of rows as such, which would be a plain bug; the verdict is there for
the day one does."""


def page(agreement: Agreement, command: str) -> str:
    """The page: each relation, the tolerance, and the violations of a run."""
    cases = dict.fromkeys(map(_case, agreement.judgements))
    fits = [j for j in agreement.judgements if not j.verdict.neutral]
    words = tuple((r.name, r.what, r.follows, " and ".join(r.methods)) for r in RELATIONS)
    parts = [
        "# The same model in other words",
        ABOUT,
        "## The relations",
        Grid(("relation", "what is changed", "what must follow", "under"), words).markdown(),
        "nu is n - p under REML, n under ML; T is the matrix with X in new words = X T.",
        "## How far apart is too far",
        TOLERANCE,
        "## Who breaks which",
        f"Over {', '.join(cases)}: {len(fits)} comparisons, {sum(map(broken, fits))} of them inconsistent. "
        f"Written by `{command}`; do not edit.",
        _counted(fits).markdown(),
        BLANK,
        WHY,
        _violations(fits).markdown(),
        "A violation that is understood stands in its case's `case.toml` as a known difference with "
        '`relation = "..."` ([cases](cases.md)); where the engine is already known to be wrong in the '
        "case's own words, it need not be the same in others, and that reason is shown.",
    ]
    return "\n\n".join(parts) + "\n"


def broken(judgement: Judgement) -> bool:
    """Whether the relation does not hold."""
    return judgement.verdict is Verdict.INCONSISTENT


def _counted(fits: list[Judgement]) -> Grid:
    """Engines by relations: how often it is broken, of how many."""
    bad = Counter((j.fit.engine, _relation(j)) for j in fits if broken(j))
    of = Counter((j.fit.engine, _relation(j)) for j in fits)
    names = [r.name for r in RELATIONS if any(relation == r.name for _, relation in of)]
    rows = tuple(
        (
            engine,
            *(f"{bad[engine, name]} of {of[engine, name]}" if of[engine, name] else "" for name in names),
        )
        for engine in dict.fromkeys(j.fit.engine for j in fits)
    )
    return Grid(("engine", *names), rows, numeric=True)


def _violations(fits: list[Judgement]) -> Grid:
    """One row a case, engine, method, profile and reason: its relations and the worst number of them all."""
    found: dict[tuple[str, ...], list[Judgement]] = {}
    for j in filter(broken, fits):
        why = j.known.reason if j.known is not None else "not yet explained"
        how = j.fit.method if j.fit.profile == "default" else f"{j.fit.method}, {j.fit.profile}"
        found.setdefault((_case(j), j.fit.engine, how, why), []).append(j)
    rows = tuple(
        (case, engine, method, ", ".join(map(_relation, these)), _moved(these), why)
        for (case, engine, method, why), these in found.items()
    )
    return Grid(("case", "engine", "method", "relations", "by up to", "why"), rows)


def _moved(judgements: list[Judgement]) -> str:
    worst = max(
        (row for j in judgements for row in j.failing[:1]), key=lambda row: row.difference, default=None
    )
    return "no numbers" if worst is None else f"{text.size(worst.difference)} in {text.where(worst)}"


def _case(judgement: Judgement) -> str:
    return judgement.case.rsplit(" ", 1)[0]


def _relation(judgement: Judgement) -> str:
    return judgement.case.rsplit(" ", 1)[1]
