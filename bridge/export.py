"""Export: certified values as plain CSV, JSON and READMEs, for people who do not have this package."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge import data
from bridge.case import Case
from bridge.certificate import Certificate, Number
from bridge.errors import CaseError, StoreError
from bridge.fit import Method

if TYPE_CHECKING:
    import pandas as pd

    from bridge.model import Model

SCHEMA = "lmmbridge-reference/1"
COLUMNS = ("method", "effect", "group", "level", "term", "value", "radius", "double")


@dataclass(frozen=True, eq=False)
class Reference:
    """A case and its certificates, to be written.

    Attributes
    ----------
    case : Case
    certificates : mapping of method to Certificate
    """

    case: Case
    certificates: Mapping[Method, Certificate]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The data, those rows too that have missing values."""
        return self.case.frame()

    @cached_property
    def model(self) -> Model | None:
        """None where the data allow none, so that no certificate has numbers either."""
        if not any(c.rows for c in self.certificates.values()):
            return None
        return self.case.model()

    def files(self) -> Iterator[tuple[str, str]]:
        """Names and contents."""
        from bridge.leaflet import leaflet

        yield "data.csv", data_csv(self.frame)
        yield "reference.json", json.dumps(self.record(), indent=1, allow_nan=False) + "\n"
        yield "reference.csv", reference_csv(self.certificates.values())
        yield "README.md", leaflet(self)

    def record(self) -> dict[str, Any]:
        """All there is, as JSON holds it; nan, as a number that cannot be told, is null."""
        spec, model = self.case.spec, self.model
        return {
            "schema": SCHEMA,
            "case": self.case.id,
            "title": spec.title,
            "source": spec.source,
            "licence": spec.licence,
            "why": spec.why,
            "formula": spec.formula,
            "weights": spec.weights or None,
            "offset": spec.offset or None,
            "data": {
                "file": "data.csv",
                "hash": self.case.data_hash,
                "rows": len(self.frame),
                "rows_used": None if model is None else model.n,
                "columns": [_column(self.frame[name]) for name in self.frame.columns],
            },
            "fixed": None if model is None else list(model.names),
            "random": None
            if model is None
            else [{"group": t.group, "terms": list(t.names), "levels": len(t.levels)} for t in model.random],
            "references": [self._reference(c) for c in self.certificates.values()],
        }

    def _reference(self, certificate: Certificate) -> dict[str, Any]:
        facts = certificate.facts()
        for field in ("optima", "formula", "weights", "offset", "data_hash"):
            del facts[field]
        return {
            "method": certificate.method,
            **facts,
            "values": [
                {
                    "effect": row.effect,
                    "group": row.group,
                    "level": None if row.level is None else list(row.level),
                    "term": row.term,
                    **_number(row.number),
                }
                for row in certificate.rows
            ],
            "local_optima": [
                {
                    "deviance": _number(optimum.criterion),
                    "relative_covariances": [
                        {"group": group, "term": term, **_number(number)}
                        for (group, term), number in zip(self._entries(), optimum.relative, strict=True)
                    ],
                    "ranks": list(optimum.ranks),
                    "proven": optimum.proven,
                    "why": optimum.why,
                }
                for optimum in certificate.optima
            ],
        }

    def _entries(self) -> list[tuple[str, str]]:
        """Group and term, as among the values, of each entry of the lower triangles, by columns."""
        random = self.model.random if self.model else ()
        return [
            (term.group, f"var__{a}" if a == b else f"cov__{a}.{b}")
            for term in random
            for j, a in enumerate(term.names)
            for b in term.names[j:]
        ]


def export(cases: Sequence[Case], folder: Path, force: bool = False, named: bool = False) -> list[Case]:
    """Write every case that has a certificate; whole or not at all.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    force : bool
        Write into a folder that is not empty: earlier exports of the same cases are replaced.
    named : bool
        The cases were asked for by name: it is an error if one has no certificate.

    Returns
    -------
    list of Case
        Those left out: they have no certificate of their formula and data.

    Raises
    ------
    StoreError, CaseError
    """
    from bridge.leaflet import index

    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: a file, not a folder; name another")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise StoreError(
            f"{folder}: not empty; name another folder, or replace an earlier export with --force"
        )
    given = [Reference(case, case.certificates()) for case in cases]
    without = [r.case for r in given if not r.certificates]
    if without and (named or len(without) == len(given)):
        raise CaseError(
            f"case {without[0].id!r}: has no certificate; lmmbridge certify {without[0].id} first"
        )
    references = [r for r in given if r.certificates]
    with _aside(folder) as temporary:
        for reference in references:
            (temporary / "new" / reference.case.id).mkdir(parents=True)
            for name, text in reference.files():
                _write(temporary / "new" / reference.case.id / name, text)
        _write(temporary / "new" / "README.md", index(references))
        _move(temporary, folder)
    return without


def data_csv(frame: pd.DataFrame) -> str:
    """RFC 4180: numbers as the shortest decimals that give the same double, missing as an empty field."""
    columns = [
        [_cell(value, kind) for value in frame[name]]
        for name, kind in ((name, data.kind(frame[name])) for name in frame.columns)
    ]
    return _csv([list(frame.columns), *map(list, zip(*columns, strict=True))])


def reference_csv(certificates: Iterable[Certificate]) -> str:
    """All certified numbers, a row each; crossed levels are joined by a colon."""
    rows = [
        (c.method, r.effect, r.group or "", ":".join(r.level or ()), r.term, *_texts(r.number))
        for c in certificates
        for r in c.rows
    ]
    return _csv([COLUMNS, *rows])


def _csv(rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _cell(value: Any, kind: str) -> str:
    if kind == "bool":
        return "TRUE" if value else "FALSE"
    if kind in ("factor", "ordered"):
        return value if isinstance(value, str) else ""
    if kind == "int":
        return str(int(value))
    return "" if math.isnan(value) else repr(float(value))


def _column(values: pd.Series[Any]) -> dict[str, Any]:
    kind = data.kind(values)
    levels = {"levels": list(values.cat.categories)} if kind in ("factor", "ordered") else {}
    return {"name": values.name, "kind": kind, **levels}


def _number(number: Number) -> dict[str, Any]:
    if number.value == "nan":
        return {"value": None, "radius": None, "double": None}
    return {"value": number.value, "radius": number.radius, "double": number.double}


def _texts(number: Number) -> tuple[str, str, str]:
    return ("", "", "") if number.value == "nan" else (number.value, number.radius, repr(number.double))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder to fill in peace, gone at the end; StoreError if anything cannot be written."""
    place = folder.resolve()
    hidden = f".{place.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary = place / hidden if place.is_dir() else place.with_name(hidden)
    try:
        (temporary / "new").mkdir(parents=True)
        yield temporary
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, folder: Path) -> None:
    """Into place at once; where the folder is there already, data set by data set, earlier ones out first."""
    new, old = temporary / "new", temporary / "old"
    if not folder.is_dir():
        os.replace(new, folder)
        return
    for part in sorted(new.iterdir()):
        place = folder / part.name
        if part.is_dir() and os.path.lexists(place) and not (place / "reference.json").is_file():
            raise StoreError(f"{place}: not an earlier export; move it away")
    old.mkdir()
    for part in sorted(new.iterdir()):
        place = folder / part.name
        if os.path.lexists(place):
            os.replace(place, old / part.name)
        os.replace(part, place)
