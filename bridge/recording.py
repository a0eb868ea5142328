"""Recording: what the engines of R gave elsewhere, kept with a case for a machine that has no R.

``recorded.parquet`` in a case's folder holds a record per engine, method, profile and environment:
the Fit, what it was fitted to, on what platform and when. An environment is the versions of R, its BLAS
and the engine's packages.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, FormulaError, StoreError
from bridge.fit import Fit, Origin, from_arrow, schema, to_arrow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from bridge.run import Task

FILE = "recorded.parquet"
CHOICE = "LMMBRIDGE_RECORDED"
"""Environment variable that chooses among environments: ``R < 4.6, lme4 == 1.1-37``."""

# Half of what pyarrow's defaults take: the engines' numbers share their leading bytes.
SMALL: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 19,
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,
    "column_encoding": {
        f"rows.list.element.{name}": "BYTE_STREAM_SPLIT" for name in ("estimate", "std_error")
    },
}


@dataclass(frozen=True, slots=True)
class About:
    """What was fitted.

    Attributes
    ----------
    data : str
        Content hash.
    formula, missing, weights, offset : str
    """

    data: str
    formula: str
    missing: str = "omit"
    weights: str = ""
    offset: str = ""

    @classmethod
    def of(cls, task: Task) -> About:
        """What a task is to fit."""
        return cls(task.data_hash, task.formula, task.missing, task.weights, task.offset)

    def fault(self, other: About) -> str:
        """In what another differs; empty if it is the same, the spelling of the formula apart."""
        pairs = {name: (mine, getattr(other, name)) for name, mine in asdict(self).items()}
        apart = [name for name, (a, b) in pairs.items() if a != b and not (name == "formula" and _same(a, b))]
        return ", ".join(apart)


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded Fit.

    Attributes
    ----------
    fit : Fit
    about : About
    platform, date : str
        Where and when (``2026-11-23``) it was made.
    """

    fit: Fit
    about: About
    platform: str
    date: str

    @property
    def place(self) -> tuple[str, ...]:
        """What it takes the place of: an engine's fit in an environment."""
        fit = self.fit
        return json.dumps(dict(fit.versions), sort_keys=True), fit.engine, fit.method, fit.profile


def read(path: Path) -> list[Recording]:
    """All recordings of a file.

    Raises
    ------
    StoreError
        The file cannot be read, or is no recording.
    """
    table = _table(path)
    facts = table.drop_columns(schema().names).to_pylist()
    return [_recording(fit, fact) for fit, fact in zip(from_arrow(table), facts, strict=True)]


def write(path: Path, made: Sequence[Recording]) -> bool:
    """Put recordings in a file, each in place of the older one of its environment; False if all are there.

    What was recorded of other data or another model is dropped. `made` are of one case. A fit that ran
    out of time is not among them: that says how busy the machine was.

    Raises
    ------
    StoreError
        The folder cannot be written to; the file is as it was.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bridge.output import write_bytes

    before = read(path) if path.exists() else []
    found = {recording.place: recording for recording in before}
    if all(_lasting(found.get(r.place)) == _lasting(r) for r in made):
        return False
    about = made[0].about
    kept = {place: r for place, r in found.items() if not about.fault(r.about)} | {r.place: r for r in made}
    whole = [kept[place] for place in sorted(kept)]
    table = to_arrow(r.fit for r in whole)
    facts = [{**asdict(r.about), "platform": r.platform, "date": r.date} for r in whole]
    for name in facts[0]:
        table = table.append_column(name, pa.array([fact[name] for fact in facts], pa.string()))
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, **SMALL)
    write_bytes(sink.getvalue(), path)
    return True


def stand_in(task: Task, why: str, path: Path | None) -> Fit:
    """The recorded Fit of a task whose engine is not here; else an ``unavailable`` one, with the reason.

    Parameters
    ----------
    task : Task
    why : str
        Why the engine is not here.
    path : Path or None
        The case's own recording; None: any case of ./cases or the bundled ones may have the same data.

    Notes
    -----
    Of several environments the one with the newest software is taken that `CHOICE` allows.
    """
    missing = Fit(task.engine, task.method, task.profile, "unavailable", reason=why)
    places = [(path, About.of(task))] if path is not None else _others(task)
    told = ""
    for place, about in places:
        found, told = _found(place, task, about)
        if found is not None:
            origin = Origin(software(found.fit), found.platform, found.date, why)
            return found.fit.having(recorded=origin)
    return missing.having(reason=f"{why}; {told}") if told else missing


def software(fit: Fit) -> str:
    """``R 4.5.0, lme4 1.1-37``: R and what of the engines is in it."""
    from bridge.engines.r import PACKAGES

    names = ["R", *(name for name in PACKAGES if name in fit.versions)]
    return ", ".join(f"{name} {fit.versions[name]}" for name in names if name in fit.versions)


def _found(path: Path, task: Task, about: About) -> tuple[Recording | None, str]:
    """A task's recording in a file, else why there is none; silent about a file or fit that never was."""
    if not path.is_file():
        return None, ""
    try:
        table = _table(path)
    except StoreError as error:
        return None, str(error)
    facts = table.drop_columns(["rows"]).to_pylist()
    asked = (task.engine, task.method, task.profile)
    mine = [i for i, fact in enumerate(facts) if (fact["engine"], fact["method"], fact["profile"]) == asked]
    if not mine:
        return None, ""
    apart = {i: _about(facts[i]).fault(about) for i in mine}
    same = [i for i in mine if not apart[i]]
    if not same:
        return None, f"{path} is not used: it is of another {apart[mine[0]]}; record it again"
    versions = {i: json.loads(facts[i]["versions"]) for i in same}
    allowed = [i for i in same if _allowed(versions[i])]
    if not allowed:
        there = ", ".join(dict.fromkeys(f"R {v['R']}" for v in sorted(versions.values(), key=_newness)))
        return None, f"{path} has nothing that {CHOICE}={os.environ[CHOICE]!r} allows: it is of {there}"
    best = max(allowed, key=lambda i: (_newness(versions[i]), facts[i]["date"]))
    (fit,) = from_arrow(table.slice(best, 1))
    return _recording(fit, facts[best]), ""


def _others(task: Task) -> list[tuple[Path, About]]:
    """Recordings of cases with the task's data and model, the folder ./cases first, and what they are of."""
    from bridge.resources import find

    asked = About.of(task)
    roots = [Path("cases").absolute(), find("cases")]
    files = dict.fromkeys(path for root in roots for path in sorted(root.glob(f"*/{FILE}")))
    faults = [(path, about, asked.fault(about)) for path in files for about in _abouts(path)]
    return [
        (path, about)
        for path, about, fault in faults
        if not fault or (fault == "data" and _same_table(task, path.parent, about))
    ]


def _same_table(task: Task, folder: Path, about: About) -> bool:
    """Whether a case's table says to the model what the task's does, though not in the same types.

    A file of R's sleepstudy may hold whole numbers where the case holds floats and labels: values are
    compared as numbers, what only groups rows as labels, all else must be the same.
    """
    import pandas as pd

    from bridge.case import Case
    from bridge.data import content_hash
    from bridge.formula import columns, parse

    try:
        case = Case.load(folder)
        theirs = case.frame()
    except BridgeError:
        return False
    mine, formula = task.data, parse(task.formula)
    if not isinstance(mine, pd.DataFrame) or case.data_hash != about.data or not {*mine} <= {*theirs}:
        return False
    valued = columns((formula.response, formula.fixed, tuple(bar.part for bar in formula.random)))
    groups = {*columns(tuple(bar.factors for bar in formula.random))} - {*valued}
    pairs = [(_plain(mine[name], name in groups), _plain(theirs[name], name in groups)) for name in mine]
    return all(content_hash(a) == content_hash(b) for a, b in pairs)


def _plain(values: pd.Series[Any], labels: bool) -> pd.DataFrame:
    """A column as labels in code-point order if asked for, whole numbers as floats, else as it is."""
    from bridge.data import normalise

    if labels:
        values = normalise(values.astype("category").to_frame()).iloc[:, 0].astype("object")
    elif values.dtype.kind == "i":
        values = values.astype("float64")
    return normalise(values.to_frame())


def _abouts(path: Path) -> set[About]:
    try:
        return {_about(fact) for fact in _table(path).drop_columns(schema().names).to_pylist()}
    except StoreError:
        return set()


def _table(path: Path) -> pa.Table:
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); restore it, or remove it") from None


@cache
def _read(path: Path, _changed: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [*schema().names, *About.__dataclass_fields__, "platform", "date"]
    try:
        return pq.read_table(path, columns=names, page_checksum_verification=True).select(names)
    except (pa.ArrowException, KeyError) as error:
        said = str(error).splitlines()[0]
        raise StoreError(f"{path}: is no recording ({said}); remove it, or record it again") from None


def _recording(fit: Fit, fact: Mapping[str, Any]) -> Recording:
    return Recording(fit, _about(fact), fact["platform"], fact["date"])


def _about(fact: Mapping[str, Any]) -> About:
    return About(**{name: fact[name] for name in About.__dataclass_fields__})


def _lasting(recording: Recording | None) -> str:
    """All of it but when, how fast, in what time limit and its place, as text: NaN equals NaN."""
    if recording is None:
        return ""
    return repr(
        replace(
            recording, fit=recording.fit.having(seconds=0.0, limit=0.0, versions={}), platform="", date=""
        )
    )


@cache
def _same(a: str, b: str) -> bool:
    from bridge.formula import parse

    try:
        return parse(a) == parse(b)
    except FormulaError:
        return False


def _allowed(versions: Mapping[str, str]) -> bool:
    from bridge.spec import satisfied

    wanted = os.environ.get(CHOICE, "")
    try:
        return satisfied(wanted, versions)
    except ValueError as error:
        raise BridgeError(f"{CHOICE}={wanted!r}: {error}") from None


def _newness(versions: Mapping[str, str]) -> tuple[Any, ...]:
    """Versions of R and of the engines, to be compared with others of the same engine."""
    from bridge.engines.r import PACKAGES
    from bridge.spec import version

    return tuple(version(versions[name]) for name in ("R", *PACKAGES) if name in versions)
