"""Hunt: data sets drawn from designs, until engines disagree; each new kind shrunk to a case."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.case import Case
from bridge.catalogue import Entry, Referee
from bridge.errors import BridgeError, CaseError, ModelError
from bridge.fit import Method, Profile
from bridge.generate import Design
from bridge.run import LIMIT, limited
from bridge.verdict import Judgement

if TYPE_CHECKING:
    import pandas as pd

BATCH = 10
"""Data sets judged at a time; progress is told after each batch."""
FITS = 150
"""Fits that shrinking one find may take."""


def ten_clusters(rng: np.random.Generator) -> dict[str, Any]:
    """Very unequal clusters, a predictor at cluster level, little variance between them."""
    return {
        "intercept": 1.0,
        "residual_sd": 2.0,
        "clusters": {"sizes": [4, 150, 120, 8, 100, 5, 130, 140, 110, 6], "sd": 0.6},
        "predictors": [{"name": "x", "level": "cluster", "kind": "binary", "effect": 0.5}],
    }


def intercepts(rng: np.random.Generator) -> dict[str, Any]:
    """3 to 15 clusters of 1 to 20, any ICC, a predictor of any origin and unit."""
    x = {
        "name": "x",
        "effect": 1.0,
        "mean": float(10 ** rng.uniform(0, 4)),
        "sd": float(10 ** rng.uniform(-3, 3)),
    }
    return {
        "intercept": 1.0,
        "icc": float(1 / (1 + 10 ** rng.uniform(-4, 4))),
        "clusters": {"sizes": rng.integers(1, 21, rng.integers(3, 16)).tolist()},
        "predictors": [x],
    }


def slopes(rng: np.random.Generator) -> dict[str, Any]:
    """4 to 15 clusters of 3 to 12 with random slopes, correlated -.99 to .99, x of any origin and unit."""
    a, b = (float(10 ** rng.uniform(-2, 2)) for _ in range(2))
    unit = float(10 ** rng.uniform(-2, 2))
    c = float(rng.uniform(-0.99, 0.99)) * a * b
    x = {"name": "x", "effect": 1.0, "mean": unit * float(10 ** rng.uniform(-1, 2)), "sd": unit}
    return {
        "residual_sd": 1.0,
        "clusters": {
            "sizes": rng.integers(3, 13, rng.integers(4, 16)).tolist(),
            "slopes": ["x"],
            "covariance": [[a * a, c], [c, b * b]],
        },
        "predictors": [x],
    }


def crossed(rng: np.random.Generator) -> dict[str, Any]:
    """4 to 10 clusters crossed with 3 to 8 levels, each of any variance."""
    item = {"name": "item", "levels": int(rng.integers(3, 9)), "sd": float(10 ** rng.uniform(-2, 2))}
    return {
        "residual_sd": 1.0,
        "clusters": {
            "sizes": rng.integers(4, 13, rng.integers(4, 11)).tolist(),
            "sd": float(10 ** rng.uniform(-2, 2)),
        },
        "predictors": [{"name": "x", "effect": 1.0}],
        "factors": [{**item, "layout": "random"}],
    }


BUNDLED: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "ten-clusters": ten_clusters,
    "intercepts": intercepts,
    "slopes": slopes,
    "crossed": crossed,
}


def designs(source: str, seeds: Sequence[int]) -> Iterator[Design]:
    """A design for each seed: a bundled grid, whose parameters the seed draws too, or a file's table.

    Raises
    ------
    BridgeError
        Neither a name nor a file.
    CaseError
        The file is not a design.
    """
    if source not in BUNDLED and not Path(source).is_file():
        known = ", ".join(BUNDLED)
        raise BridgeError(f"--design {source}: neither a file nor one of {known}; name one of these")
    table: dict[str, Any] = {}
    if source not in BUNDLED:
        try:
            table = tomllib.loads(Path(source).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CaseError(f"--design {source}: not valid TOML: {error}; mend that line") from None
        table = table.get("generate", table)
    for seed in seeds:
        # a stream of its own: the seed itself draws the data
        drawn = BUNDLED[source](np.random.default_rng([seed, 1])) if source in BUNDLED else table
        yield Design.from_table({**drawn, "seed": seed}, f"design {source}")


Kind = tuple[str, str, str, str, bool, str]


def kind(judgement: Judgement) -> Kind:
    """Engine, method, profile, verdict, silence, and the size of the gap by two powers of ten."""
    fit, gap = judgement.fit, judgement.gap
    size = "" if not math.isfinite(gap) or gap <= 0 else f"1e{2 * math.floor(math.log10(gap) / 2):+d}"
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


def hunt(
    referee: Referee,
    drawn: Sequence[Design],
    engines: Sequence[str],
    *,
    methods: Sequence[Method] = ("REML",),
    profiles: Sequence[Profile] = ("default",),
    limit: float = LIMIT,
    told: Callable[[int, int, int], None] | None = None,
) -> Iterator[Found]:
    """Each new kind of disagreement, as it is found; `told` hears of data sets done, all, and wrong fits."""
    seen, bad = set[Kind](), 0
    for start in range(0, len(drawn), BATCH):
        batch = {f"seed {d.seed}": d for d in drawn[start : start + BATCH]}
        entries = [
            replace(e, name=name, limit=limited(limit))
            for name, d in batch.items()
            if (e := entry(d, methods)) is not None
        ]
        judged = referee.judge(entries, engines=engines, profiles=profiles).judgements if entries else ()
        mine = {e.name: e for e in entries}
        for judgement in filter(wrong, judged):
            bad += 1
            if kind(judgement) in seen:
                continue
            seen.add(kind(judgement))
            yield Found(batch[judgement.case], kind(judgement), mine[judgement.case], judgement)
        if told is not None:
            told(min(start + BATCH, len(drawn)), len(drawn), bad)


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
    """Whether it is a data set that somebody might have: three levels, rows twice the parameters."""
    terms = one.model.random
    parameters = one.model.p + 1 + sum(len(t.names) * (len(t.names) + 1) // 2 for t in terms)
    return one.model.n >= 2 * parameters and all(len(t.levels) >= 3 for t in terms)


def shrunk(referee: Referee, found: Found, most: int = FITS) -> Found:
    """The smallest part, by levels and then by rows, that gets the same verdict as silently.

    Delta debugging (Zeller & Hildebrandt 2002) with at most `most` fits; the parts are not stored.
    """
    alone = Referee(None, referee.executor)
    first, judgement = found.entry, found.judgement
    fit = judgement.fit
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
        same = (got.verdict, got.silent) == (judgement.verdict, judgement.silent)
        same = same and math.isfinite(got.gap) == math.isfinite(judgement.gap)
        # what little is left of a large gap is another kind
        if same and not (math.isfinite(judgement.gap) and abs(got.gap) < abs(judgement.gap) / 10):
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
    """The find as a case folder: certified, its known differences drafted for `engines` (None: all)."""
    from bridge.certification import make

    engine, method, _, verdict, silent, _ = found.kind
    rows, whole = len(found.entry.frame), len(found.design.draw().frame)
    quiet = "is wrong and says nothing" if silent else "gives no right numbers, and says so"
    fields: dict[str, Any] = {
        "title": f"{engine}, {verdict}: hunted in {Path(source).stem}, seed {found.design.seed}",
        "formula": found.entry.formula,
        "methods": list(dict.fromkeys([method, "REML", "ML"])),
        "tags": ["generated", "hunted"],
        "family": "hunted",
        "source": f"lmmbridge hunt --design {Path(source).name} --seeds {found.design.seed}:"
        f"{found.design.seed + 1} --engines {engine} --method {method}; shrunk from {whole} rows to {rows}",
        "licence": "MIT",
        "why": f"By {method}, {engine} {quiet}: {' '.join(found.judgement.reason.split())}.",
    }
    fields |= {k: v for k, v in (("weights", found.entry.weights), ("offset", found.entry.offset)) if v}
    case = Case.create(folder, found.name(source), fields, found.entry.frame)
    expected = {f.method: f.certificate.status for f in make(case) if f.certificate is not None}
    singular = {m: status for m, status in expected.items() if status in ("singular", "unidentified")}
    if singular:
        case = case.save(expect=singular)
    return draft(case, referee, engines)


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
                "size": size[:120],
                "reason": reason,
            }
        )
    return case.save(known_difference=drafted) if drafted else case
