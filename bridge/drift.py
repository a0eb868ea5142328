"""Drift: what changed between two runs: verdicts, digits, values beyond tolerance, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bridge.model import Vector
    from bridge.report.results import FitResult, Results

DIGIT = 1.0
"""Change of a fit's worst correct digits, by kind of number, that is shown."""
PACE = 2.0
"""Ratio of an engine's median times that is shown: single times are noise."""

Key = tuple[str, str, str, str]
"""Case, method, engine, profile."""
KEYS = ("case", "method", "engine", "profile")
LABEL = ("quantity", "group", "level", "term")
VALUES = ("estimate", "reference", "difference", "tolerance")


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
    numbers : int
        Numbers that were compared.
    every : bool
        Whether these are all that the runs have in common, not those alone that report.json keeps.
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
    numbers: int = 0
    every: bool = False

    @property
    def compared(self) -> str:
        """What was compared, in a sentence."""
        from bridge.report.text import plural

        said = plural(self.numbers, "number")
        if self.every:
            return f"{said} compared: all that both results.parquet have."
        return (
            f"{said} compared: those that both report.json keep (beyond tolerance, and the worst of each "
            "quantity, group and term); with results.parquet beside both, all are."
        )

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


def drift(before: Results, after: Results, tables: Sequence[pd.DataFrame | None] = (None, None)) -> Drift:
    """What changed from `before` to `after`, fit by fit, joined by case, method, engine and profile.

    Parameters
    ----------
    tables : pair of DataFrame or None
        results.parquet of each run (`numbers`): every number is compared. Without both, those that both
        reports keep: those beyond tolerance in either run, and the worst of each quantity, group and term.
    """
    whole = [table for table in tables if table is not None]
    every = len(whole) == 2
    moved, numbers = _moved(*(whole if every else map(_kept, (before, after))))
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
        values=moved,
        digits=tuple(d for a, b in both for d in _digits(a, b)),
        paces=tuple(_paces(both)),
        numbers=numbers,
        every=every,
    )


def numbers(place: Path, run: Results) -> pd.DataFrame | None:
    """results.parquet beside a run's report.json; None if there is none, or it is another run's.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    from bridge.errors import StoreError

    path = (place if place.is_dir() else place.parent) / "results.parquet"
    if not path.exists():
        return None
    try:
        found = pq.read_table(path, columns=[*KEYS, *LABEL, *VALUES]).to_pandas()
    except (OSError, ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({error!s:.100}); make the run again") from None
    if len(found) != sum(len(fit.rows) + fit.left_out for fit in run.fits):
        return None
    return found.assign(level=found["level"].map(tuple))


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


def _kept(run: Results) -> pd.DataFrame:
    """The numbers that a report keeps, as a table like results.parquet."""
    import pandas as pd

    records = [
        (*fit.key, *(getattr(row, name) for name in (*LABEL, *VALUES)))
        for fit in run.fits
        for row in fit.rows
    ]
    return pd.DataFrame.from_records(records, columns=[*KEYS, *LABEL, *VALUES])


def _moved(before: pd.DataFrame, after: pd.DataFrame) -> tuple[tuple[Moved, ...], int]:
    """Numbers that moved by more than their tolerance, furthest first, and how many were compared."""
    import numpy as np

    from bridge.report.text import where

    join = [*KEYS, *LABEL]
    both = after.merge(before, on=join, suffixes=("", "_before"))
    both = both[~both["quantity"].str.startswith("self: ")]
    a, b = both["estimate_before"].to_numpy(float), both["estimate"].to_numpy(float)
    with np.errstate(all="ignore"):
        unit = _unit(both, "")
        unit = np.where(unit > 0, unit, _unit(both, "_before"))
        most = np.fmin(both["tolerance"].to_numpy(float), both["tolerance_before"].to_numpy(float))
        times = np.where((unit > 0) & (most > 0), np.abs(b - a) / unit / most, np.nan)
    times[np.isfinite(a) != np.isfinite(b)] = np.inf
    far = np.flatnonzero(times > 1)
    found = [
        Moved(
            (row.case, row.method, row.engine, row.profile), where(row), row.estimate_before, row.estimate, t
        )
        for row, t in zip(both.iloc[far].itertuples(index=False), times[far].tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda moved: -moved.times)), len(both)


def _unit(rows: pd.DataFrame, run: str) -> Vector:
    """What differences are measured in; 0 where it cannot be told, as the number is exactly right."""
    import numpy as np

    difference, reference = rows[f"difference{run}"].to_numpy(float), rows[f"reference{run}"].to_numpy(float)
    off = np.abs(rows[f"estimate{run}"].to_numpy(float) - reference)
    return np.where((difference > 0) & np.isfinite(off), off / difference, 0.0)


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
