"""League: the engines side by side, in the report and in docs/league.md."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import floor, log10
from statistics import median
from typing import TYPE_CHECKING

import bridge
from bridge import engines, footprint
from bridge.conformance import PACE, Outcome, Score, scores
from bridge.errors import BridgeError, UnavailableError
from bridge.report import text
from bridge.report.grid import Grid

if TYPE_CHECKING:
    from bridge.agreement import Agreement

ORDER = (
    "Ordered by the share of fits that are right among those that an engine should have given right numbers "
    "for, then by fewer silent failures, then by median digits. Not counted: models that it says it cannot "
    "express (*unsupported*), and refusals that the case asks for (*rightly refused*)."
)
COLUMNS = (
    "*silent wrong*: wrong numbers without a word of warning; *warned wrong*: with one; *refused*: an error "
    "where there is an answer; *crashed*: also out of time. Known differences count as what they are. "
    "Digits (LRE) are those of a fit's worst number among G, sigma, beta, SE and BLUPs, 0 if none came back; "
    "*worst* and *median* are over fits, and with fewer fits supported both are of fewer and easier models. "
    f"*ms*: median of the engine's own time; *× {PACE}*: median over fits of its time over engine {PACE}'s. "
    "A stored fit keeps the time it took when it was made."
)


def league(agreement: Agreement, profile: str, sizes: Mapping[str, int | None]) -> Grid:
    """One row per mixed-model engine that gave anything under a profile, the best first.

    Parameters
    ----------
    profile : {"default", "tight"}
    sizes : mapping of str to int or None
        Bytes of each engine's software (`measured`).
    """
    kinds = [kind for kind in Outcome if kind not in (Outcome.UNAVAILABLE, Outcome.DISPUTED)]
    table = sorted((score for score in entrants(agreement) if score.profile == profile), key=_place)
    head = ("engine", "right", *map(str, kinds), "worst", "median", "ms", f"× {PACE}", "MB")
    return Grid(head, tuple(_row(score, kinds, sizes) for score in table), numeric=True)


def entrants(agreement: Agreement) -> list[Score]:
    """Scores of mixed-model engines that were there; baselines without groups take no part."""
    return [
        score
        for score in scores(agreement)
        if score.counts[Outcome.UNAVAILABLE] < len(score.judgements) and _partial(score.engine)
    ]


def measured(agreement: Agreement) -> dict[str, int | None]:
    """Install size of each entrant's software, None if it is not here."""
    found = dict[str, int | None]()
    for name in dict.fromkeys(score.engine for score in entrants(agreement)):
        try:
            found[name] = footprint.of(name, engines.versions(name))
        except UnavailableError:
            found[name] = None
    return found


def section(agreement: Agreement, sizes: Mapping[str, int | None]) -> list[str]:
    """Markdown parts: a table for each profile that was run, and what its columns mean."""
    profiles = dict.fromkeys(j.fit.profile for j in agreement.judgements)
    tables = {profile: league(agreement, profile, sizes) for profile in profiles}
    parts = [f"### Profile {profile}\n\n{grid.markdown()}" for profile, grid in tables.items() if grid.rows]
    return [*parts, ORDER, COLUMNS, footprint.MEANING] if parts else []


def page(agreement: Agreement, command: str) -> str:
    """docs/league.md: the tables, with versions, date and the command that makes it again."""
    judged = agreement.judgements
    cases, versions = len({j.case for j in judged}), {s.engine: s.versions for s in entrants(agreement)}
    methods = " and ".join(dict.fromkeys(j.fit.method for j in judged))
    rows = tuple(
        (name, ", ".join(f"{n} {v}" for n, v in sorted(of.items()))) for name, of in versions.items()
    )
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    parts = [
        "# League table",
        f"{cases} cases, {methods}, lmmbridge {bridge.__version__}, {date}, "
        f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}. "
        f"Written by `{command}`; do not edit.",
        *(part.replace("###", "##") for part in section(agreement, measured(agreement))),
        "## Versions",
        Grid(("engine", "software"), rows).markdown(),
    ]
    if agreement.missing:
        absent = [f"- {text.markdown(f'{name}: {reason}')}" for name, reason in agreement.missing.items()]
        parts += ["## Not available in this run", "\n".join(absent)]
    return "\n\n".join(parts) + "\n"


def number(value: float) -> str:
    """Two digits, never in exponents: 0.53, 1.6, 24, 1300."""
    digits = 1 - floor(log10(value)) if value > 0 else 0
    return f"{round(value, digits):.{max(0, digits)}f}"


def _place(score: Score) -> tuple[float, int, float]:
    return -score.share, score.counts[Outcome.SILENT], -median(score.digits or (0.0,))


def _row(score: Score, kinds: Sequence[Outcome], sizes: Mapping[str, int | None]) -> tuple[str, ...]:
    time, pace, size = score.milliseconds, score.pace, sizes.get(score.engine)
    digits = score.digits
    return (
        text.engine(score.judgements[0]),
        f"{100 * score.share:.0f} %" if score.ranked else "–",
        *(str(score.counts[kind]) for kind in kinds),
        f"{min(digits):.1f}" if digits else "",
        f"{median(digits):.1f}" if digits else "",
        "" if time is None else number(time),
        "" if pace is None else number(pace),
        footprint.megabytes(size),
    )


def _partial(name: str) -> bool:
    try:
        return engines.get(name).pooling == "partial"
    except BridgeError:
        return False
