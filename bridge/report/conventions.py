"""Conventions: what each engine's standard errors and df are, beside the numbers that it prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge import engines
from bridge.errors import BridgeError
from bridge.report import text
from bridge.report.grid import Grid
from bridge.verdict import Judgement

if TYPE_CHECKING:
    from bridge.agreement import Agreement

ERRORS = {"phi": "Phi", "joint": "joint Hessian", "kenward-roger": "Kenward-Roger", "none": "none"}
DF = {
    "satterthwaite": "Satterthwaite",
    "kenward-roger": "Kenward-Roger",
    "containment": "inner-outer",
    "none": "",
}
WIDER = {
    "joint": "the joint Hessian's, which add what the estimation of the variances costs",
    "kenward-roger": "Kenward and Roger's, adjusted for small samples",
}
Line = tuple[str, ...]


def of(engine: str) -> tuple[str, str]:
    """Conventions of an engine's standard errors and df, as `Engine` has them."""
    try:
        found = engines.get(engine)
    except BridgeError:
        return "none", "none"
    return found.std_error, found.df


def printed(fits: Sequence[Judgement]) -> list[Line]:
    """Rows of the table of quantities: SE as printed where conventions differ, then df, and their names."""
    mine = [of(j.fit.engine) for j in fits]
    lines: list[Line] = []
    if {se for se, _ in mine} - {"phi", "none"}:
        lines += _lines(
            "SE printed",
            "self: SE",
            [{r.term: r.std_error for r in j.fit.select("fixed")} for j in fits],
            fits,
        )
        lines.append(("SE printed: convention", "", *(ERRORS[se] for se, _ in mine)))
    if any(row.df is not None for j in fits for row in j.fit.rows):
        lines += _lines("df", "self: df", [{r.term: r.df for r in j.fit.select("fixed")} for j in fits], fits)
        lines.append(("df: convention", "", *(DF[df] for _, df in mine)))
    return lines


def note(fits: Sequence[Judgement]) -> str:
    """Why printed standard errors stand apart, with how far they do; empty where one convention is there."""
    said = []
    for kind, why in WIDER.items():
        these = [j for j in fits if j.rows and of(j.fit.engine)[0] == kind]
        if these:
            names = list(dict.fromkeys(j.fit.engine for j in these))
            who = text.listed(names) + (" prints" if len(names) == 1 else " print")
            ratio = max((r for j in these for r in _ratios(j)), default=1.0)
            apart = f" (up to {100 * (ratio - 1):.2g} % wider than Phi here)" if ratio > 1.0005 else ""
            said.append(f"those that {who} are {why}{apart}")
    if not said:
        return ""
    return (
        "SE is sqrt diag Phi at each engine's own variances, the same thing for all; "
        f"{'; '.join(said)}. Each printed SE is judged under its own convention (docs/verdicts.md)."
    )


def overview(agreement: Agreement) -> Grid:
    """A row an engine: what its SE and df are, and how far what it prints is from Phi at most."""
    rows = []
    for name in dict.fromkeys(j.fit.engine for j in agreement.judgements if j.rows):
        std_error, df = of(name)
        ratios = [
            r for j in agreement.judgements if j.fit.engine == name and j.verdict.passes for r in _ratios(j)
        ]
        apart = f"{100 * (max(ratios) - 1):+.2g} %" if ratios and std_error in WIDER else ""
        rows.append((name, ERRORS[std_error], apart, DF[df] or "none"))
    return Grid(("engine", "SE", "most above Phi", "df"), tuple(rows))


def _ratios(judgement: Judgement) -> list[float]:
    """Printed SE over sqrt diag Phi at the engine's own variances."""
    phi = {r.term: r.estimate for r in judgement.rows if r.quantity == "SE"}
    given = {r.term: r.std_error for r in judgement.fit.select("fixed")}
    found = [se / phi[term] for term, se in given.items() if se is not None and phi.get(term, 0.0) > 0]
    return [ratio for ratio in found if math.isfinite(ratio)]


def _lines(
    label: str, quantity: str, given: Sequence[dict[str, float | None]], fits: Sequence[Judgement]
) -> list[Line]:
    # What is printed at wrong variances is wrong, consistent with them or not.
    judged = {quantity, quantity.removeprefix("self: ")}
    wrong = [{r.term for r in j.rows if r.quantity in judged and not r.ok} for j in fits]
    terms = dict.fromkeys(r.term for j in fits for r in j.fit.select("fixed"))
    return [
        (
            f"{label} {term}",
            "",
            *(_cell(mine.get(term), term in odd) for mine, odd in zip(given, wrong, strict=True)),
        )
        for term in terms
    ]


def _cell(value: float | None, wrong: bool) -> str:
    return "" if value is None else text.number(value) + (f" {text.FAILS}" if wrong else "")
