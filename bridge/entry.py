"""Entry: a model to be judged, from a case folder or from anyone's table and formula."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from bridge import recording
from bridge.errors import DataError, FormulaError
from bridge.fit import Method
from bridge.record import Place
from bridge.run import LIMIT, limited

if TYPE_CHECKING:
    import pandas as pd

    from bridge.case import Case
    from bridge.certificate import Certificate
    from bridge.model import Model
    from bridge.spec import KnownDifference


@dataclass(frozen=True, eq=False)
class Entry:
    """A model to be judged: a case, or a table and a formula.

    Attributes
    ----------
    name, formula : str
    methods : tuple of {"REML", "ML"}
    frame : DataFrame
        Normalised.
    path : Path or None
        Parquet file of the same table, where workers can read it.
    data_hash : str
    missing : {"omit", "pass"}
    expect : mapping of method to str
    limit : float
        Seconds per fit.
    known : tuple of KnownDifference
    tags : tuple of str
    certified : Path or None
        The case's certified.parquet, if it has one.
    where : str
        What messages call the data: a file or a folder; else its name.
    weights, offset : str
        Their columns; empty for none.
    recorded : Path or None
        The case's recorded.parquet, there or not; None: no case, any that is like it will do.
    """

    name: str
    formula: str
    methods: tuple[Method, ...]
    frame: pd.DataFrame
    path: Path | None
    data_hash: str
    missing: Literal["omit", "pass"] = "omit"
    expect: Mapping[str, str] = field(default_factory=dict)
    limit: float = LIMIT
    known: tuple[KnownDifference, ...] = ()
    tags: tuple[str, ...] = ()
    certified: Path | None = None
    where: str = ""
    weights: str = ""
    offset: str = ""
    recorded: Path | None = None

    @classmethod
    def of_case(cls, case: Case, limit: float | None = None) -> Entry:
        """Entry of a case folder; its data are read and their hash is verified."""
        from bridge.data import content_hash

        spec, frame = case.spec, case.frame()
        return cls(
            name=case.id,
            formula=spec.formula,
            methods=spec.methods,
            frame=frame,
            path=case.path,
            data_hash=spec.data.hash if spec.data else content_hash(frame),
            missing=spec.missing,
            expect={method: case.expect(method) for method in spec.methods},
            limit=limited(limit if limit is not None else spec.time_limit or LIMIT),
            known=spec.known_difference,
            tags=(*spec.tags, spec.family),
            where=str(case.folder),
            weights=spec.weights,
            offset=spec.offset,
            recorded=case.folder / recording.FILE,
            certified=path if (path := case.folder / "certified.parquet").is_file() else None,
        )

    @classmethod
    def of_data(
        cls,
        data: pd.DataFrame | str | os.PathLike[str],
        formula: str,
        *,
        methods: Sequence[Method] = ("REML",),
        missing: str = "omit",
        expect: str = "ok",
        limit: float = LIMIT,
        weights: str = "",
        offset: str = "",
    ) -> Entry:
        """Entry of a table, or of the file it is in."""
        from bridge.data import content_hash, normalise, read
        from bridge.formula import columns, parse, taken
        from bridge.numerals import refuse_text

        if not isinstance(formula, str):
            raise FormulaError(f'formula {formula!r:.80}: give it as text, such as "y ~ x + (1 | g)"')
        name, where = "data", "data"
        if isinstance(data, str | os.PathLike):
            name, where, data = Path(data).stem, os.fspath(data), read(data)
        if not hasattr(data, "columns") or not hasattr(data, "iloc"):
            kind = type(data).__name__
            raise DataError(f"data: is of type {kind}; give a pandas DataFrame, or the path of a file")
        parsed, known = parse(formula), [column for column in (weights, offset) if column]
        frame = normalise(data, where, [*columns(parsed), *known])
        refuse_text(data, where, [*taken(parsed), *known], [*columns(parsed.response), *known])
        return cls(
            name=name,
            formula=formula,
            methods=tuple(dict.fromkeys(methods)),
            frame=frame,
            path=None,
            data_hash=content_hash(frame),
            missing=cast(Literal["omit", "pass"], missing),
            expect=dict.fromkeys(methods, expect),
            limit=limited(limit),
            where=where,
            weights=weights,
            offset=offset,
        )

    @cached_property
    def certificates(self) -> dict[str, Certificate]:
        """Certificates that came with the case, by method; those of other data are none."""
        if self.certified is None:
            return {}
        from bridge.certificate import read

        mine = self.formula, self.weights, self.offset, self.data_hash
        return {c.method: c for c in read(self.certified) if c.about == mine}

    @cached_property
    def _certified_by(self) -> str:
        return sha256(self.certified.read_bytes()).hexdigest() if self.certified else ""

    def place(self, method: Method, pooling: str) -> Place:
        """What its reference depends on."""
        given = self._certified_by if pooling == "partial" else ""
        what = self.formula, self.missing, self.data_hash, method, pooling, given
        return Place(*what, self.weights, self.offset)

    @cached_property
    def model(self) -> Model:
        """The formula met with the data, built once."""
        from bridge.model import build

        known = {"weights": self.weights, "offset": self.offset}
        return build(self.formula, self.frame, missing=self.missing, name=self.where or self.name, **known)

    @cached_property
    def unpooled(self) -> Model:
        """The model without its random terms, errors independent: what complete-pooling baselines fit."""
        return replace(self.model, random=(), residual=None)

    def problems(self) -> list[str]:
        """Why the data cannot identify the model; empty if they can."""
        from bridge.identification import problems

        return list(problems(self.model))
