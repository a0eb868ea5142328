"""Hunt: data sets drawn from designs, until engines disagree; each new kind shrunk to a case."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.case import Case
from bridge.catalogue import Referee
from bridge.entry import Entry
from bridge.errors import BridgeError, ModelError, UnavailableError
from bridge.fit import Method, Profile
from bridge.generate import Design
from bridge.run import LIMIT, limited
from bridge.verdict import Judgement, Verdict

if TYPE_CHECKING:
    import pandas as pd

BATCH = 10
"""Data sets judged at a time; progress is told after each batch."""
FITS = 150
"""Fits that shrinking one find may take."""


Kind = tuple[str, str, str, str, bool, str]


def kind(judgement: Judgement) -> Kind:
    """Engine, method, profile, verdict, silence, and the size of a wrong one's gap by two powers of ten."""
    fit, gap = judgement.fit, judgement.gap
    sized = wrong(judgement) and math.isfinite(gap) and gap > 0
    size = f"1e{2 * math.floor(math.log10(gap) / 2):+d}" if sized else ""
    return fit.engine, fit.method, fit.profile, judgement.verdict.value, judgement.silent, size


def wrong(judgement: Judgement) -> bool:
    """Whether it is worth keeping: wrong numbers, or none where there are right ones."""
    return not (judgement.verdict.passes or judgement.verdict.neutral)


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """A new kind of disagreement.

    Attributes
    ----------
    design : Design
    kind : Kind
    entry : Entry
        As it was drawn, or shrunk.
    judgement : Judgement
        Of that.
    """

    design: Design
    kind: Kind
    entry: Entry
    judgement: Judgement

    def name(self, source: str) -> str:
        """Of its case."""
        return f"hunt-{Path(source).stem}-{self.design.seed}-{self.kind[0]}"


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of a hunt so far.

    Attributes
    ----------
    seeds : dict of Kind to list of int
        Seeds of each kind, right ones too.
    left_out : list of int
        Seeds whose data do not identify the model that drew them.
    """

    seeds: dict[Kind, list[int]] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Engine, method, profile, verdict, warning, gap, data sets, first seed.

        Wrong ones before right ones; by engine, most first.
        """

        def fine(verdict: str) -> bool:
            return Verdict(verdict).passes or Verdict(verdict).neutral

        known = sorted(self.seeds.items(), key=lambda item: (fine(item[0][3]), *item[0][:3], -len(item[1])))
        for (engine, method, profile, verdict, silent, size), seeds in known:
            claim = "" if fine(verdict) else "silent" if silent else "warned"
            gap = f"{size} to {_hundredfold(size)}" if size else ""
            yield engine, method, profile, verdict, claim, gap, str(len(seeds)), str(seeds[0])


def _hundredfold(size: str) -> str:
    return f"1e{int(size[2:]) + 2:+d}"


def hunt(
    referee: Referee,
    drawn: Iterable[Design],
    engines: Sequence[str],
    *,
    methods: Sequence[Method] = ("REML",),
    profiles: Sequence[Profile] = ("default",),
    limit: float = LIMIT,
    tally: Tally | None = None,
    told: Callable[[int], None] | None = None,
) -> Iterator[Found]:
    """Each new kind of disagreement, as it is found; `tally` is kept, `told` hears of data sets done.

    Raises
    ------
    UnavailableError
        An engine is not here: it would only seem that nothing is wrong with it.
    """
    tally = Tally() if tally is None else tally
    drawn, done = iter(drawn), 0
    while batch := {f"seed {d.seed}": d for d in islice(drawn, BATCH)}:
        mine = {name: e for name, d in batch.items() if (e := entry(d, methods)) is not None}
        tally.left_out.extend(d.seed for name, d in batch.items() if name not in mine)
        entries = [replace(e, name=name, limit=limited(limit)) for name, e in mine.items()]
        judged = referee.judge(entries, engines=engines, profiles=profiles).judgements if entries else ()
        for judgement in judged:
            if judgement.verdict is Verdict.UNAVAILABLE:
                raise UnavailableError(f"engine {judgement.fit.engine}: {judgement.reason}; or leave it out")
            seeds = tally.seeds.setdefault(kind(judgement), [])
            seeds.append(batch[judgement.case].seed)
            if wrong(judgement) and len(seeds) == 1:
                yield Found(batch[judgement.case], kind(judgement), mine[judgement.case], judgement)
        done += len(batch)
        if told is not None:
            told(done)


def entry(design: Design, methods: Sequence[Method]) -> Entry | None:
    """A drawn data set with the model that it was drawn from; None where they do not identify it."""
    known, frame = design.known(), design.draw().frame
    weights, offset = known.get("weights", ""), known.get("offset", "")
    return posed(Entry.of_data(frame, design.formula, methods=methods, weights=weights, offset=offset))


def posed(one: Entry) -> Entry | None:
    """The entry, if its data identify its model."""
    try:
        return None if one.problems() else one
    except (BridgeError, ModelError):
        return None


def roomy(one: Entry) -> bool:
    """Whether it is a data set that somebody might fit: five levels, four rows a parameter."""
    terms = one.model.random
    parameters = one.model.p + 1 + sum(len(t.names) * (len(t.names) + 1) // 2 for t in terms)
    return one.model.n >= 4 * parameters and all(len(t.levels) >= 5 for t in terms)


def severity(judgement: Judgement) -> float:
    """How far beyond its tolerance the worst number is; infinite where there is no number."""
    over = (row.difference / row.tolerance for row in judgement.failing)
    return max((math.inf if math.isnan(value) else value for value in over), default=math.inf)


def shrunk(referee: Referee, found: Found, most: int = FITS) -> Found:
    """The smallest part, by levels and then by rows, that gets the same verdict as silently.

    Delta debugging (Zeller & Hildebrandt 2002) with at most `most` fits; the parts are not stored.
    """
    alone = Referee(None, referee.executor)
    first, judgement = found.entry, found.judgement
    fit = judgement.fit
    alike, severe = (judgement.verdict, judgement.silent), severity(judgement)
    least = severe / 10 if math.isfinite(severe) else severe
    best, verdict = first, judgement
    left = most

    def smaller(frame: pd.DataFrame) -> bool:
        nonlocal best, verdict, left
        for column in frame.select_dtypes("category"):
            frame[column] = frame[column].cat.remove_unused_categories()
        made = posed(
            Entry.of_data(
                frame, first.formula, methods=(fit.method,), weights=first.weights, offset=first.offset
            )
        )
        if made is None or not roomy(made):
            return False
        left -= 1
        (got,) = alone.judge([made], engines=[fit.engine], profiles=[fit.profile]).judgements
        # what little is left of a large difference is another kind
        if (got.verdict, got.silent) == alike and severity(got) >= least:
            best, verdict = made, got
        return best is made

    for column in (*dict.fromkeys(f for term in first.model.random for f in term.factors), None):
        chunks = 2
        while left > 0:
            frame = best.frame
            items = np.arange(len(frame)) if column is None else frame[column].astype(str).to_numpy()
            parts = [set(p.tolist()) for p in np.array_split(np.unique(items), chunks)]
            for part in parts:
                keep = np.array([item not in part for item in items.tolist()])
                if left > 0 and part and smaller(frame[keep].reset_index(drop=True)):
                    chunks = max(2, chunks - 1)
                    break
            else:
                if chunks >= len(np.unique(items)):
                    break
                chunks = min(2 * chunks, len(np.unique(items)))
    return replace(found, entry=best, judgement=verdict)


def save(found: Found, folder: Path, source: str, referee: Referee, engines: Sequence[str] | None) -> Case:
    """The find as a case folder: certified, its known differences drafted for `engines` (None: all).

    Whole or not at all: the same hunt leaves out what is there.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    from bridge.certification import make

    engine, method, profile, verdict, silent, size = found.kind
    rows, whole = len(found.entry.frame), len(found.design.draw().frame)
    made = f"shrunk from {whole} rows to {rows}" if rows < whole else f"{rows} rows, not shrunk"
    far = f", gap {size} to {_hundredfold(size)}" if size else ""
    quiet = "is wrong and says nothing" if silent else "gives no right numbers, and says so"
    fields: dict[str, Any] = {
        "title": f"{engine}, {verdict}: hunted in {Path(source).stem}, seed {found.design.seed}",
        "formula": found.entry.formula,
        "methods": list(dict.fromkeys([method, "REML", "ML"])),
        "tags": ["generated", "hunted"],
        "family": "hunted",
        "source": f"lmmbridge hunt --design {Path(source).name} --seeds {found.design.seed}:"
        f"{found.design.seed + 1} --engines {engine} --method {method}"
        f"{'' if profile == 'default' else f' --profile {profile}'}; {made}",
        "licence": "MIT",
        "why": f"By {method}, {engine} {quiet} ({verdict}{far}).",
    }
    fields |= {k: v for k, v in (("weights", found.entry.weights), ("offset", found.entry.offset)) if v}
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as unfinished:
        case = Case.create(unfinished, found.name(source), fields, found.entry.frame)
        expected = {f.method: f.certificate.status for f in make(case) if f.certificate is not None}
        singular = {m: status for m, status in expected.items() if status in ("singular", "unidentified")}
        if singular:
            case = case.save(expect=singular)
        case = draft(case, referee, engines)
        return Case.load(case.folder.rename(folder / case.folder.name))


def draft(case: Case, referee: Referee, engines: Sequence[str] | None = None) -> Case:
    """The case with a known difference for each engine and method that is wrong and not yet known."""
    profiles: tuple[Profile, ...] = ("default", "tight")
    judged = referee.judge([Entry.of_case(case)], engines=engines, profiles=profiles).judgements
    drafted: list[dict[str, Any]] = [
        k.model_dump(mode="json", exclude_defaults=True) for k in case.spec.known_difference
    ]
    for judgement in judged:
        if judgement.expected:
            continue
        fit = judgement.fit
        reason = " ".join(judgement.reason.split())
        size = f"gap {judgement.gap:.2g}" if math.isfinite(judgement.gap) else reason
        drafted.append(
            {
                "engine": fit.engine,
                "profile": [fit.profile],
                "methods": [fit.method],
                "verdicts": [judgement.verdict.value],
                **({"silent": True} if judgement.silent else {}),
                "size": size[:120],
                "reason": reason,
            }
        )
    return case.save(known_difference=drafted) if drafted else case
