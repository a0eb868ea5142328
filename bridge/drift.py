"""Drift: what changed between two runs: verdicts, digits, values beyond tolerance, times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.report.results import FitResult, Line, Results

DIGIT = 1.0
"""Change of a fit's worst correct digits, by kind of number, that is shown."""
PACE = 2.0
"""Ratio of an engine's median times that is shown: single times are noise."""

Key = tuple[str, str, str, str]
"""Case, method, engine, profile."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A fit whose verdict or claim is another one.

    Attributes
    ----------
    key : Key
    before, after : str
        Sign and word of the verdict.
    worse : bool
        It was as its case expects and no longer is, or passed and no longer does.
    reason : str
        As the later run gives it.
    """

    key: Key
    before: str
    after: str
    worse: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A number that moved by more than its tolerance, in units of the tolerance."""

    key: Key
    what: str
    before: float
    after: float
    times: float


@dataclass(frozen=True, slots=True)
class Digits:
    """Worst correct digits (LRE) of a kind of number in one fit."""

    key: Key
    kind: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Median seconds of an engine over the fits that both runs have, and the median of the fits' ratios."""

    engine: str
    profile: str
    fits: int
    before: float
    after: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Drift:
    """What changed from one run to another.

    Attributes
    ----------
    before, after : str
        Names of the runs: the software in which they differ, else their dates.
    software : tuple of (str, str, str)
        Name, version before and after; an empty version: not there.
    common : int
        Fits that both runs have.
    gone, new : tuple of Key
        Fits that only one of them has.
    """

    before: str
    after: str
    software: tuple[tuple[str, str, str], ...]
    common: int
    gone: tuple[Key, ...]
    new: tuple[Key, ...]
    verdicts: tuple[Changed, ...]
    values: tuple[Moved, ...]
    digits: tuple[Digits, ...]
    paces: tuple[Pace, ...]

    @property
    def exit_code(self) -> int:
        """1 if a verdict became worse."""
        return int(any(changed.worse for changed in self.verdicts))

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        if not self.common:
            return "The two runs have no fit in common."
        worse = sum(changed.worse for changed in self.verdicts)
        better = len(self.verdicts) - worse
        said = [
            f"{worse} of {self.common} verdicts became worse" if worse else "",
            f"{better} changed otherwise" if better else "",
            f"{len(self.values)} numbers moved by more than their tolerance" if self.values else "",
        ]
        if words := ", ".join(part for part in said if part):
            return f"{words}."
        from bridge.report.text import plural

        less = " but digits and times" if self.digits or self.paces else ""
        return f"Nothing changed in {plural(self.common, 'fit')}{less}."


def drift(before: Results, after: Results) -> Drift:
    """What changed from `before` to `after`, fit by fit, joined by case, method, engine and profile.

    Numbers are compared where both reports keep them: those beyond tolerance in either run, and the worst
    of each quantity, group and term.
    """
    old, new = ({fit.key: fit for fit in run.fits} for run in (before, after))
    both = [(old[key], new[key]) for key in old if key in new]
    software = tuple(
        (name, before.versions.get(name, ""), after.versions.get(name, ""))
        for name in sorted(before.versions.keys() | after.versions.keys())
        if before.versions.get(name) != after.versions.get(name)
    )
    return Drift(
        before=_name(before, [f"{name} {a}" for name, a, _ in software if a]),
        after=_name(after, [f"{name} {b}" for name, _, b in software if b]),
        software=software,
        common=len(both),
        gone=tuple(key for key in old if key not in new),
        new=tuple(key for key in new if key not in old),
        verdicts=tuple(found for a, b in both if (found := _verdict(a, b))),
        values=tuple(sorted((m for a, b in both for m in _values(a, b)), key=lambda m: -m.times)),
        digits=tuple(d for a, b in both for d in _digits(a, b)),
        paces=tuple(_paces(both)),
    )


def _name(run: Results, software: list[str]) -> str:
    return ", ".join(software) or run.date


def _verdict(a: FitResult, b: FitResult) -> Changed | None:
    if (a.verdict, a.silent, a.expected) == (b.verdict, b.silent, b.expected):
        return None
    worse = (a.expected and not b.expected) or (b.silent and not a.silent) or _rank(b) > _rank(a)
    return Changed(a.key, _words(a), _words(b), worse, b.surprise or b.reason)


def _rank(fit: FitResult) -> int:
    """0 right, 1 neither, 2 wrong."""
    return 0 if fit.verdict.passes else 1 if fit.verdict.neutral else 2


def _words(fit: FitResult) -> str:
    return f"{fit.symbol} {fit.words}" + (", silent" if fit.silent else "")


def _values(a: FitResult, b: FitResult) -> list[Moved]:
    from bridge.report.page import where

    old = {_label(row): row for row in a.rows if not row.quantity.startswith("self: ")}
    found = []
    for row in b.rows:
        was = old.get(_label(row))
        if was is None:
            continue
        unit, most = _unit(row) or _unit(was), min(row.tolerance, was.tolerance)
        far = abs(row.estimate - was.estimate)
        times = far / unit / most if unit > 0 and most > 0 else math.nan
        if math.isfinite(row.estimate) != math.isfinite(was.estimate):
            times = math.inf
        if times > 1:
            found.append(Moved(a.key, where(row), was.estimate, row.estimate, times))
    return found


def _unit(row: Line) -> float:
    """What its difference is measured in; 0 where it cannot be told, as the number is exactly right."""
    off = abs(row.estimate - row.reference)
    return off / row.difference if row.difference > 0 and math.isfinite(off) else 0.0


def _label(row: Line) -> tuple[str, str, tuple[str, ...], str]:
    return row.quantity, row.group, row.level, row.term


def _digits(a: FitResult, b: FitResult) -> list[Digits]:
    pairs = [(kind, a.digits[kind][0], b.digits[kind][0]) for kind in a.digits if kind in b.digits]
    return [Digits(a.key, kind, old, new) for kind, old, new in pairs if abs(new - old) >= DIGIT]


def _paces(both: list[tuple[FitResult, FitResult]]) -> list[Pace]:
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for a, b in both:
        if a.seconds > 0 and b.seconds > 0:
            groups.setdefault((a.engine, a.profile), []).append((a.seconds, b.seconds))
    found = [
        Pace(
            engine,
            profile,
            len(times),
            median(t for t, _ in times),
            median(t for _, t in times),
            median(new / old for old, new in times),
        )
        for (engine, profile), times in groups.items()
    ]
    return [pace for pace in found if not 1 / PACE < pace.ratio < PACE]
