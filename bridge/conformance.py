"""Conformance: what one engine made of the catalogue, held to the truth alone.

A known difference is what the cases expect of an engine, so `lmmbridge run` passes it; here it counts as
what it is. Only a refusal that the case asks for is right without being a fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any

from bridge.report.digits import KINDS, SHOWN, correct
from bridge.verdict import Judgement, Verdict

if TYPE_CHECKING:
    from bridge.agreement import Agreement

PACE = "numpy"
"""Engine whose time the others' are stated in."""


class Outcome(StrEnum):
    """What an engine did with one fit, from its user's point of view."""

    AGREE = "agree"
    SILENT = "silent wrong"
    WARNED = "warned wrong"
    REFUSED = "refused"
    CRASHED = "crashed"
    RIGHTLY = "rightly refused"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    DISPUTED = "reference wrong"

    @property
    def failing(self) -> bool:
        """Wrong numbers, or none where there should be some."""
        return self in {Outcome.SILENT, Outcome.WARNED, Outcome.REFUSED, Outcome.CRASHED}

    @property
    def ranked(self) -> bool:
        """Whether a share of right answers counts it."""
        return self is Outcome.AGREE or self.failing


_PLAIN = {
    Verdict.UNSUPPORTED: Outcome.UNSUPPORTED,
    Verdict.UNAVAILABLE: Outcome.UNAVAILABLE,
    Verdict.CRASHED: Outcome.CRASHED,
    Verdict.TIMED_OUT: Outcome.CRASHED,
    Verdict.REFERENCE_WRONG: Outcome.DISPUTED,
}


def outcome(judgement: Judgement) -> Outcome:
    """One word for a verdict; a known difference is no excuse."""
    verdict, known = judgement.verdict, judgement.known
    if verdict.passes:
        return Outcome.AGREE
    if verdict in _PLAIN:
        return _PLAIN[verdict]
    if verdict is Verdict.REFUSED:
        # UNIDENTIFIED is only said of a case that asks for a refusal.
        asked = judgement.expected if known is None else Verdict.UNIDENTIFIED in known.verdicts
        return Outcome.RIGHTLY if asked else Outcome.REFUSED
    return Outcome.SILENT if judgement.silent else Outcome.WARNED


@dataclass(frozen=True, eq=False)
class Score:
    """One engine under one profile.

    Attributes
    ----------
    engine, profile : str
    judgements : tuple of Judgement
        One per case and method.
    paces : tuple of float
        Time of each fit with numbers over that of engine ``numpy`` in the same run.
    """

    engine: str
    profile: str
    judgements: tuple[Judgement, ...]
    paces: tuple[float, ...] = ()

    @cached_property
    def counts(self) -> Counter[Outcome]:
        """Fits by outcome."""
        return Counter(map(outcome, self.judgements))

    @property
    def ranked(self) -> int:
        """Fits that should have given right numbers: all but unsupported and rightly refused ones."""
        return sum(n for kind, n in self.counts.items() if kind.ranked)

    @property
    def share(self) -> float:
        """Right ones among those ranked, 0 if there is none."""
        return self.counts[Outcome.AGREE] / self.ranked if self.ranked else 0.0

    @cached_property
    def failing(self) -> tuple[Judgement, ...]:
        """Silent failures first."""
        bad = [j for j in self.judgements if outcome(j).failing or outcome(j) is Outcome.DISPUTED]
        return tuple(sorted(bad, key=lambda j: list(Outcome).index(outcome(j))))

    @cached_property
    def digits(self) -> tuple[float, ...]:
        """Correct digits (LRE) of each ranked fit: those of its worst number; 0 where none came back."""
        ranked = [j for j in self.judgements if outcome(j).ranked]
        return tuple(min((d for kind in SHOWN for d in correct(j, kind)), default=0.0) for j in ranked)

    @property
    def milliseconds(self) -> float | None:
        """Median of the engine's own time over the fits with numbers; None if there is none."""
        return median(times) if (times := [1e3 * s for s in map(_seconds, self.judgements) if s]) else None

    @property
    def pace(self) -> float | None:
        """Median of `paces`, None if there is none."""
        return median(self.paces) if self.paces else None

    @property
    def versions(self) -> dict[str, str]:
        """Software that the numbers depend on."""
        return {name: v for j in self.judgements for name, v in j.fit.versions.items()}

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong and something was compared, else 1."""
        return int(bool(self.failing) or not self.ranked + self.counts[Outcome.RIGHTLY])

    @property
    def sentence(self) -> str:
        """The answer in one line, as the badge has it."""
        bad = {kind: n for kind in Outcome if kind.failing and (n := self.counts[kind])}
        if silent := bad.get(Outcome.SILENT):
            return f"{silent} silent wrong"
        if bad:
            return f"{self.counts[Outcome.AGREE]}/{self.ranked} agree, none silently wrong"
        return f"{self.counts[Outcome.AGREE]}/{self.ranked} agree" if self.ranked else "nothing compared"

    def by_quantity(self) -> dict[str, tuple[float, float]]:
        """Worst and median correct digits over all numbers of all fits that gave any."""
        found = {kind: [d for j in self.judgements if j.rows for d in correct(j, kind)] for kind in KINDS}
        return {kind: (min(these), median(these)) for kind, these in found.items() if these}

    def by_family(self, families: Mapping[str, Sequence[str]]) -> dict[str, Counter[Outcome]]:
        """Outcomes by family of cases (case to families: a case counts in each of its own)."""
        found: dict[str, Counter[Outcome]] = {}
        for j in self.judgements:
            for family in families.get(j.case) or ("other",):
                found.setdefault(family, Counter())[outcome(j)] += 1
        return dict(sorted(found.items(), key=lambda item: (-item[1].total(), item[0])))

    def as_json(self, families: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """All of it, for machines; times in milliseconds."""
        return {
            "engine": self.engine,
            "profile": self.profile,
            "versions": self.versions,
            "sentence": self.sentence,
            "exit_code": self.exit_code,
            "ranked": self.ranked,
            "counts": {str(kind): self.counts[kind] for kind in Outcome},
            "families": {
                name: {str(kind): n for kind, n in counts.items()}
                for name, counts in self.by_family(families).items()
            },
            "digits": {
                kind: {"worst": worst, "median": middle}
                for kind, (worst, middle) in self.by_quantity().items()
            },
            "median_ms": self.milliseconds,
            f"times_{PACE}": self.pace,
            "fits": [
                {
                    "case": j.case,
                    "method": j.fit.method,
                    "outcome": str(outcome(j)),
                    "verdict": str(j.verdict),
                    "claim": j.claim,
                    "reason": j.reason,
                }
                for j in self.judgements
            ],
        }


def scores(agreement: Agreement, engines: Iterable[str] | None = None) -> list[Score]:
    """A Score per engine and profile, in the order of the agreement; `engines` only, if given."""
    found: dict[tuple[str, str], list[Judgement]] = {}
    times: dict[tuple[str, str, str], float] = {}
    for j in agreement.judgements:
        found.setdefault((j.fit.engine, j.fit.profile), []).append(j)
        if j.fit.engine == PACE and (seconds := _seconds(j)):
            times[j.case, j.fit.method, j.fit.profile] = seconds
    wanted = None if engines is None else set(engines)
    made = []
    for (engine, profile), these in found.items():
        if wanted is None or engine in wanted:
            pairs = [(_seconds(j), times.get((j.case, j.fit.method, profile))) for j in these]
            paces = tuple(mine / pace for mine, pace in pairs if mine and pace)
            made.append(Score(engine, profile, tuple(these), paces))
    return made


def _seconds(judgement: Judgement) -> float | None:
    """Of a fit that gave numbers here; 0 and NaN are no time, and another machine's is not comparable."""
    fit = judgement.fit
    return fit.seconds if fit.status == "ok" and fit.seconds > 0 and fit.recorded is None else None
