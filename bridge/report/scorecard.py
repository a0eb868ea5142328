"""Scorecard: one engine's score on a rich console, the failures last, each with its cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bridge.conformance import PACE, Outcome, Score, outcome
from bridge.report import text
from bridge.report.grid import Grid
from bridge.report.league import number

if TYPE_CHECKING:
    from rich.console import Console


def show(score: Score, families: Mapping[str, Sequence[str]], out: Console) -> None:
    """Verdicts by family, digits by quantity, time, silent failures by name, causes, the answer."""

    def say(line: str, style: str = "") -> None:
        out.print(text.clean(line), style=style, markup=False, soft_wrap=True)

    versions = ", ".join(f"{name} {version}" for name, version in sorted(score.versions.items()))
    say(f"{score.engine}, profile {score.profile} ({versions or 'no version'})", "bold")
    out.print(by_family(score, families).rich())
    if (grid := digits(score)).rows:
        out.print(grid.rich())
    if score.milliseconds is not None:
        pace = f", {number(score.pace)} times engine {PACE}'s of the same fits" if score.pace else ""
        say(f"Median time of a fit {number(score.milliseconds)} ms{pace}.")
    if silent := [j.name for j in score.judgements if outcome(j) is Outcome.SILENT]:
        say(f"Wrong without a warning: {', '.join(silent)}", "bold red")
    for j in score.failing:
        say(f"{j.name}: {outcome(j)}, {j.verdict}: {j.reason}", "red")
        for row in j.failing[:1]:
            out.print(f"    {text.explain(row)}", markup=False, soft_wrap=True)
    for (kind, reason), names in _apart(score).items():
        say(f"{str(kind).capitalize()}, {text.plural(len(names), 'fit')}: {reason}", "dim")
    say(
        f"{score.engine}, profile {score.profile}: {score.sentence}",
        "bold red" if score.exit_code else "bold green",
    )


def by_family(score: Score, families: Mapping[str, Sequence[str]]) -> Grid:
    """A row a family of cases, a column an outcome that occurs; a case counts in each of its families."""
    kinds = [kind for kind in Outcome if score.counts[kind]]
    rows = [
        (name, *(str(counts[kind] or "") for kind in kinds))
        for name, counts in score.by_family(families).items()
    ]
    every = ("all", *(str(score.counts[kind]) for kind in kinds))
    return Grid(("cases", *map(str, kinds)), (*rows, every), numeric=True)


def digits(score: Score) -> Grid:
    """Correct digits (LRE) by quantity, over all fits that gave numbers."""
    rows = [(kind, f"{worst:.1f}", f"{middle:.1f}") for kind, (worst, middle) in score.by_quantity().items()]
    return Grid(("correct digits", "worst", "median"), tuple(rows), numeric=True)


def _apart(score: Score) -> dict[tuple[Outcome, str], list[str]]:
    """What is neither right nor wrong, by reason."""
    found: dict[tuple[Outcome, str], list[str]] = {}
    for j in score.judgements:
        if (kind := outcome(j)) in (Outcome.UNSUPPORTED, Outcome.UNAVAILABLE, Outcome.RIGHTLY):
            found.setdefault((kind, j.reason), []).append(j.name)
    return found
