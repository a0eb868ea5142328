"""Explanation: why lm and the mixed model differ on one data set, in words, tables and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import BridgeError, ModelError
from bridge.fit import Fit, Method
from bridge.pooling import Pooling, pooling

if TYPE_CHECKING:
    import pandas as pd

    from bridge.entry import Entry

OPTIMUM = "optimum"
"""What stands for an engine's name where the exact optimum is explained."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one coefficient is made of.

    Attributes
    ----------
    name, formula : str
    method : {"REML", "ML"}
    engine : str
        Whose (Psi, sigma2) it is; ``optimum`` for the exact one.
    pooling : Pooling
    k : int
        Column of the coefficient.
    others : mapping of str to Pooling
        The same from other engines, to compare with.
    notes : tuple of str
    """

    name: str
    formula: str
    method: Method
    engine: str
    pooling: Pooling
    k: int
    others: Mapping[str, Pooling] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def coefficient(self) -> str:
        """Its name."""
        return self.pooling.model.names[self.k]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The answer in plain words, computed from the numbers."""
        from bridge.report.reasons import sentences

        return sentences(self)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per level of each grouping factor, for the one coefficient.

        `shift`, `share`, `information`, `variance` with suffix ``_lm`` and ``_mixed`` are those of
        `bridge.pooling.Weights`; `pooling` is the smallest eigenvalue of the pooling factor; `none`,
        `partial`, `complete` are the level's own coefficients, one column each.
        """
        return table(self.pooling, self.k)

    def difference(self, engine: str) -> float:
        """Largest difference of another engine's shift weights from these, any coefficient and level."""
        pairs = zip(self.pooling.levels, self.others[engine].levels, strict=True)
        return max(float(np.max(np.abs(a.mixed.shift - b.mixed.shift))) for a, b in pairs)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """explain.md, weights.csv and the pictures as SVG and PNG; returns what was written.

        Raises
        ------
        StoreError
            The folder cannot be written to.
        UnavailableError
            The libraries for pictures are not installed.
        """
        from bridge.report.explain import write

        return write(self, Path(folder))

    def __repr__(self) -> str:
        from bridge.report.explain import plain

        return plain(self)

    def _repr_html_(self) -> str:
        from bridge.report.explain import page

        return page(self)


def table(found: Pooling, k: int) -> pd.DataFrame:
    """See `Explanation.table`."""
    import pandas as pd

    frames = []
    for levels in found.levels:
        columns: dict[str, object] = {"group": levels.group, "level": levels.labels, "rows": levels.rows}
        for name, w in (("lm", levels.lm), ("mixed", levels.mixed), ("unweighted", levels.unweighted)):
            for what in ("shift", "share", "information", "variance"):
                values = None if w is None else getattr(w, what)
                if name != "unweighted" or what in ("shift", "share"):
                    columns[f"{what}_{name}"] = np.nan if values is None else values[:, k]
        columns |= {
            "source": levels.source[:, k],
            "lean": levels.lean[:, k],
            "pooling": levels.eigenvalues[:, 0],
            "effective_rows": levels.size,
        }
        for i, term in enumerate(levels.names):
            columns |= {
                f"none {term}": levels.none[:, i],
                f"partial {term}": levels.partial[:, i],
                f"complete {term}": levels.complete[:, i],
            }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def explain(
    data: pd.DataFrame | str | os.PathLike[str],
    formula: str | None = None,
    *,
    coef: str | None = None,
    engine: str | Sequence[str] | None = None,
    method: Method | None = None,
    weights: str = "",
    offset: str = "",
    limit: float | None = None,
) -> Explanation:
    """Why lm and the mixed model differ: what every cluster weighs in a coefficient.

    Parameters
    ----------
    data : DataFrame or path, or the id of a case if there is no formula
    formula : str, optional
        In lme4's language.
    coef : str, optional
        A fixed effect; by default the first that is constant within clusters, else the first slope.
    engine : str or sequence of str, optional
        Whose variances to explain, such as ``"lme4"``; further ones are compared with the first. By default
        the exact optimum's.
    method : {"REML", "ML"}, optional
        REML if not given, or the case's only one.
    weights, offset : str
        Columns, with data and a formula: see `bridge.compare`.
    limit : float, optional
        Seconds an engine's fit may take.

    Raises
    ------
    BridgeError
        The data, formula, coefficient or engine cannot be used; the message says what to do.
    """
    from bridge.entry import Entry
    from bridge.run import LIMIT

    if formula is None:
        if weights or offset:
            raise BridgeError(
                "weights, offset: are the case's own; leave them out, or give data and a formula"
            )
        entry = of_case(data, limit)
        chosen: Method = method or ("REML" if "REML" in entry.methods else entry.methods[0])
        if chosen not in entry.methods:
            raise BridgeError(f"{entry.name}: has no {chosen}; use {', '.join(entry.methods)}")
    else:
        if isinstance(data, str) and not Path(data).exists() and not Path(data).suffix:
            raise BridgeError(f"{data}: is no file; if it is a case, leave the formula out, it has its own")
        chosen = method or "REML"
        if chosen not in ("REML", "ML"):
            raise BridgeError(f"method {chosen!r}: use REML or ML")
        known = {"weights": weights, "offset": offset}
        entry = Entry.of_data(
            data, formula, methods=[chosen], limit=LIMIT if limit is None else limit, **known
        )
    return of_entry(entry, chosen, coef, [engine] if isinstance(engine, str) else list(engine or []))


def of_case(data: object, limit: float | None) -> Entry:
    """Entry of a case's id."""
    from bridge.case import find
    from bridge.commands.common import roots
    from bridge.entry import Entry

    if not isinstance(data, str | os.PathLike):
        raise BridgeError('formula: is missing; give it with the data, such as "y ~ x + (1 | g)"')
    name = os.fspath(data)
    if Path(name).is_file():
        raise BridgeError(f'{name}: is a data file, so it needs a formula, such as "y ~ x + (1 | g)"')
    (case,) = find([name], roots([name]))
    return Entry.of_case(case, limit)


def of_entry(
    entry: Entry, method: Method, coef: str | None, engines: Sequence[str], fits: Sequence[Fit] = ()
) -> Explanation:
    """Explanation of an entry, from `fits` if they are at hand, else from fits made now."""
    if not entry.model.random:
        raise ModelError(f"formula {entry.formula!r}: has no random term, so nothing is pooled; add (1 | g)")
    if (errors := entry.model.residual) is not None:
        raise ModelError(
            f"formula {entry.formula!r}: weights are not explained under {errors.kind}(); leave it out"
        )
    if problems := entry.problems():
        raise ModelError(f"{entry.where or entry.name}: not identified: {'; '.join(problems)}")
    if not entry.model.names:
        raise ModelError(f"formula {entry.formula!r}: has no fixed effect to explain; add one")
    if coef is not None and coef not in entry.model.names:
        known = ", ".join(entry.model.names)
        raise ModelError(f'coefficient "{coef}": is not in the model; use one of {known}')
    answers = {name: _answer(entry, method, name, fits) for name in engines}
    found = {name: pooling(entry.model, psi, sigma2) for name, (psi, sigma2, _) in answers.items()}
    told = tuple(told for _, _, told in answers.values() if told)
    if not found:
        found = {OPTIMUM: pooling(entry.model, *_optimum(entry, method))}
    first = next(iter(found))
    return Explanation(
        name=entry.name,
        formula=entry.formula,
        method=method,
        engine=first,
        pooling=found[first],
        k=found[first].coefficient(coef),
        others={name: p for name, p in found.items() if name != first},
        notes=(*told, *_notes(entry)),
    )


def _optimum(entry: Entry, method: Method) -> tuple[tuple[np.ndarray, ...], float]:
    from bridge.reference import Reference

    given = entry.certificates.get(method)
    if given is not None and given.rows:
        best = Reference.certified(given, entry.model).best
    else:
        best = Reference.polished(entry.model, method).best
    return best.psi, best.sigma2


def _answer(
    entry: Entry, method: Method, engine: str, fits: Sequence[Fit]
) -> tuple[tuple[np.ndarray, ...], float, str]:
    """An engine's (Psi, sigma2), from the fit at hand, one made now in a worker or a recorded one.

    The third is what must be said of it: that it is recorded.
    """
    from bridge import engines, recording
    from bridge.audit import align, usable
    from bridge.run import Task, execute

    engines.check(engine)
    fit = next((f for f in fits if f.engine == engine and f.method == method), None)
    if fit is None:
        what = entry.name, entry.path if entry.path is not None else entry.frame, entry.data_hash
        task = Task(
            *what,
            entry.formula,
            method,
            engine,
            missing=entry.missing,
            limit=entry.limit,
            weights=entry.weights,
            offset=entry.offset,
        )
        ((_, fit),) = execute([task])
        if fit.status == "unavailable":
            fit = recording.stand_in(task, fit.reason, entry.recorded)
    if fit.status != "ok":
        raise BridgeError(f"engine {engine}: {fit.status}: {fit.reason}; leave --engine out for the optimum")
    if engines.get(engine).pooling == "complete":
        raise BridgeError(f"engine {engine}: has no random effects, nothing is pooled; name another engine")
    answer = align(entry.model, fit)
    zero = replace(answer, beta=np.zeros(0), blups=())
    if why := usable(zero):
        raise BridgeError(f"engine {engine}: gave {why}, so there are no weights; name another engine")
    kept = fit.recorded
    told = f"{engine} is not on this machine: its fit is a recorded one, by {kept.software}." if kept else ""
    return answer.psi, answer.sigma2, told


def _notes(entry: Entry) -> tuple[str, ...]:
    """What is not in the fit: rows with missing values, and clusters that have no others."""
    model, notes = entry.model, []
    if model.dropped:
        notes.append(f"{model.dropped} of {len(entry.frame)} rows are left out: they have missing values.")
    for term in {t.group: t for t in model.random}.values():
        if len(term.factors) == 1 and term.factors[0] in entry.frame.columns:
            given = {str(v) for v in entry.frame[term.factors[0]].dropna().unique()}
            kept = {level[0] for level in term.levels}
            if len(given) > len(kept):
                gone = ", ".join(sorted(given - kept)[:5]) or f"{len(given) - len(kept)} of them"
                notes.append(f"{term.group} without a complete row, so not in the fit: {gone}.")
    return tuple(notes)
