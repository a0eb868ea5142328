"""Chunk: some replicates of one design, drawn, fitted and judged; one task, one file, anywhere the same."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.fit import Fit, Method, Row
from bridge.study.baseline import Baseline
from bridge.study.cell import Cell
from bridge.study.spec import BATCH, Study

if TYPE_CHECKING:
    import pyarrow as pa

    from bridge.model import Model
    from bridge.run import Executor

LANE, CELLS = 2000, 2_000_000
"""Replicates drawn and fitted together within a chunk, and numbers of their responses, at most."""
JUDGED = 50
"""Replicates whose fits and judgements are in memory together."""


def schema() -> pa.Schema:
    """One row for each replicate, engine, method, profile and estimand."""
    import pyarrow as pa

    words = pa.dictionary(pa.int16(), pa.string())
    numbers = ("estimate", "std_error", "df", "between_df", "adjusted_error", "adjusted_df", "gap")
    return pa.schema(
        [
            ("replicate", pa.int64()),
            *((name, words) for name in ("engine", "method", "profile", "estimand")),
            *((name, pa.float64()) for name in numbers),
            *((name, pa.bool_()) for name in ("converged", "singular", "silent")),
            *((name, words) for name in ("verdict", "claim")),
            ("reason", pa.string()),
        ]
    )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Replicates start, ..., stop - 1 of the design at `place` in the study's grid."""

    place: int
    start: int
    stop: int

    def made(self, study: Study, cell: Cell, executor: Executor | None = None) -> bytes:
        """Its rows, as Parquet.

        Parameters
        ----------
        executor : Executor, optional
            For engines other than ``batch``; workers of its own if not given.
        """
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        with pq.ParquetWriter(sink, schema(), write_page_checksum=True) as writer:
            for columns in self._parts(study, cell, executor):
                writer.write_table(_table(columns))
        return sink.getvalue()

    def _parts(self, study: Study, cell: Cell, executor: Executor | None) -> Iterator[dict[str, Any]]:
        others = [engine for engine in study.engines if engine != BATCH]
        if BATCH in study.engines or study.baselines:
            for start, stop in _spans(self.start, self.stop, lane(cell.rows)):
                yield from _batched(study, cell, start, cell.responses(cell.seeds(start, stop)))
        for start, stop in _spans(self.start, self.stop, JUDGED) if others else ():
            yield from _judged(study, cell, start, cell.seeds(start, stop), others, executor)


def lane(rows: int) -> int:
    """Replicates of a design with so many rows that are drawn and fitted together."""
    return max(1, min(LANE, CELLS // rows))


def _spans(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    return ((i, min(i + size, stop)) for i in range(start, stop, size))


def _table(columns: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    size = len(columns["replicate"])
    arrays = []
    for field in schema():
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(size, field.type))
        elif isinstance(values, str):
            arrays.append(
                pa.array([values]).dictionary_encode().take(pa.array(np.zeros(size, int))).cast(field.type)
            )
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values, pa.string()).dictionary_encode().cast(field.type))
        else:
            arrays.append(pa.array(values, field.type, from_pandas=True))
    return pa.Table.from_arrays(arrays, schema=schema())


def _batched(study: Study, cell: Cell, start: int, Y: Any) -> Iterator[dict[str, Any]]:
    from bridge.batch import Plan, fit
    from bridge.denominator import containment

    model, replicate = cell.model, np.arange(start, start + len(Y))
    between = containment(model)
    for method in study.methods if BATCH in study.engines else ():
        found = fit(Plan.of(model, method), Y, adjusted=method == "REML")
        facts = {
            "engine": BATCH,
            "method": method,
            "profile": "default",
            "converged": found.converged,
            "singular": found.singular,
        }
        for name, (term, _) in cell.truths.items():
            j = model.names.index(term)
            yield facts | {
                "replicate": replicate,
                "estimand": name,
                "estimate": found.beta[:, j],
                "std_error": found.std_error[:, j],
                "df": found.df[:, j],
                "between_df": np.full(len(Y), between[j]),
                "adjusted_error": found.adjusted_error[:, j],
                "adjusted_df": found.adjusted_df[:, j],
            }
    for baseline in (Baseline.of(name, model) for name in study.baselines):
        beta, error = baseline.estimates(Y)
        for name, (term, _) in cell.truths.items():
            j = model.names.index(term)
            if np.isfinite(baseline.gram[j]):
                yield {
                    "replicate": replicate,
                    "engine": baseline.name,
                    "method": "-",
                    "profile": "-",
                    "estimand": name,
                    "estimate": beta[:, j],
                    "std_error": error[:, j],
                    "between_df": np.full(len(Y), float(baseline.df)),
                    "converged": np.ones(len(Y), bool),
                }


def _judged(
    study: Study,
    cell: Cell,
    start: int,
    seeds: Sequence[int],
    engines: Sequence[str],
    executor: Executor | None,
) -> Iterator[dict[str, Any]]:
    """Engines fit by fit, each answer judged by an optimum polished in float64."""
    from bridge.run import LocalWorkers, Task, execute

    if executor is None:
        with LocalWorkers(1) as own:
            yield from _judged(study, cell, start, seeds, engines, own)
        return
    names = [f"replicate {start + i}" for i in range(len(seeds))]
    frames = {name: cell.again(seed).draw().frame for name, seed in zip(names, seeds, strict=True)}
    tasks = [
        Task(
            name, frames[name], f"{cell.key} {seed}", cell.formula, method, engine, profile, limit=study.limit
        )
        for name, seed in zip(names, seeds, strict=True)
        for method in study.methods
        for engine in engines
        for profile in study.profiles
    ]
    fits: dict[tuple[str, Method], list[Fit]] = {}
    for task, fit in execute(tasks, None, executor):
        fits.setdefault((task.case, task.method), []).append(fit)
    rows = [
        row
        for (name, method), mine in fits.items()
        for row in _verdicts(cell, name, frames[name], method, mine)
    ]
    if rows:
        yield {name: [row.get(name) for row in rows] for name in schema().names}


def _verdicts(
    cell: Cell, name: str, frame: Any, method: Method, fits: Sequence[Fit]
) -> Iterator[dict[str, Any]]:
    from bridge.catalogue import adapter
    from bridge.denominator import containment
    from bridge.judge import judge
    from bridge.model import build

    model = build(cell.formula, frame, name=name)
    models = {"partial": model, "complete": replace(model, random=())}
    adapters = [adapter(fit.engine) for fit in fits]
    references = {
        pooling: referee(
            models[pooling], method, [f for f, a in zip(fits, adapters, strict=True) if a.pooling == pooling]
        )
        for pooling in {a.pooling for a in adapters}
    }
    between = dict(zip(model.names, containment(model), strict=True))
    for fit, engine in zip(fits, adapters, strict=True):
        reference = references[engine.pooling]
        said = judge(name, models[engine.pooling], reference, fit, engine)
        fixed = {row.term: row for row in fit.select("fixed")}
        for estimand, (term, _) in cell.truths.items():
            row = fixed.get(term)
            yield {
                "replicate": int(name.split()[1]),
                "engine": fit.engine,
                "method": method,
                "profile": fit.profile,
                "estimand": estimand,
                "estimate": math.nan if row is None else row.estimate,
                "std_error": None if row is None else row.std_error,
                **_freedom(engine.df, row),
                "between_df": between[term],
                "gap": said.gap,
                "converged": fit.status == "ok" and fit.converged is not False,
                "singular": reference.singular,
                "silent": said.silent,
                "verdict": str(said.verdict),
                "claim": said.claim,
                "reason": "" if said.verdict.passes or said.verdict.neutral else said.reason,
            }


def _freedom(rule: str, row: Row | None) -> dict[str, float | None]:
    """The engine's own df, in the columns of their rule; inner-outer df are `between_df` already."""
    if row is None:
        return {}
    if rule == "kenward-roger":
        return {"adjusted_error": row.std_error, "adjusted_df": row.df}
    return {"df": row.df} if rule == "satterthwaite" else {}


def referee(model: Model, method: Method, fits: Sequence[Fit] = ()) -> Any:
    """The lowest optimum that the referee's starts and every engine's own answer lead to."""
    from bridge.audit import align, usable
    from bridge.reference import Reference

    answers = [align(model, fit) for fit in fits if fit.status == "ok"]
    return Reference.polished(model, method, [(a.psi, a.sigma2) for a in answers if not usable(a)])
