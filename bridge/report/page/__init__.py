"""The page: a run's results as one HTML file that needs nothing else, on disk or on a server."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import UnavailableError
from bridge.report import diagnosis, glossary, pictures, text
from bridge.report.grid import Grid
from bridge.report.results import FitResult, Line, Results

if TYPE_CHECKING:
    from jinja2 import Template

    from bridge.drift import Drift

FILE = "index.html"
KIND = {text.AGREES: "right", text.KNOWN: "known", text.FAILS: "wrong", text.NEUTRAL: "none"}
"""Classes of a cell by its symbol."""
PART = "ℓ"
"""Beside the symbol where the log-likelihood alone is wrong."""
LEGEND = (
    ("right", text.AGREES, "right; singular: on the boundary, as it should be; flat: the data hardly tell"),
    ("known", text.KNOWN, "expected of this case: a known difference, or a refusal that is right"),
    ("wrong", text.FAILS, "not expected"),
    (
        "known part",
        text.KNOWN + PART,
        "the log-likelihood alone is wrong, as by its constant; the estimates are right",
    ),
    ("known silent", text.KNOWN, "no word of warning from the engine"),
    ("none", text.NEUTRAL, "not available, or the model is not supported"),
)
"""Class, sign and words of each kind of cell."""


def lacking() -> str:
    """What must be installed to draw the page; empty if nothing."""
    names = ["" if find_spec("jinja2") else "jinja2", pictures.lacking()]
    return " and ".join(name for name in names if name)


def require() -> None:
    """UnavailableError unless the page can be drawn."""
    if lacking():
        raise UnavailableError(f"the page needs {lacking()}: pip install 'lmmbridge[report]'")


@dataclass(frozen=True, slots=True)
class Cell:
    """What the matrix shows of one fit."""

    name: str
    method: str
    profile: str
    kind: str
    symbol: str
    words: str
    silent: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What the page shows of a `bridge.drift.Drift`."""

    heading: str
    sentence: str
    compared: str
    tables: list[tuple[str, Grid]]

    @classmethod
    def of(cls, drift: Drift) -> Changes:
        """Its tables."""
        from bridge.report import drift as shown

        return cls(shown.heading(drift), drift.sentence, drift.compared, list(shown.tables(drift)))


def render(
    results: Results,
    folder: Path | None = None,
    formal: bool = False,
    drift: Changes | None = None,
    beside: bool = True,
) -> str:
    """The page as text.

    Parameters
    ----------
    folder : Path, optional
        Where the pictures lie that the results name.
    formal : bool
        With requirements, a place for signatures and every tolerance, for a validation team.
    drift : Changes, optional
        What changed since another run.
    beside : bool
        Whether results.parquet lies beside the page.

    Raises
    ------
    UnavailableError
        The libraries that draw it are not installed.
    """
    require()
    from bridge.report.page import charts

    script = files("bridge.report.page").joinpath("page.js").read_text(encoding="utf-8")
    pictures_there = _pictures(results, folder)
    methods = [m for m in ("REML", "ML") if any(f.method == m for f in results.fits)]
    profiles = [p for p in ("default", "tight") if any(f.profile == p for f in results.fits)]
    return _template().render(
        results=results,
        cells=_cells(results, list(product(methods, profiles))),
        methods=methods,
        profiles=profiles,
        families=sorted({case.family for case in results.cases} - {""}),
        verdicts=sorted({fit.words for fit in results.fits}),
        unexpected=[fit for fit in results.fits if not fit.expected],
        silent=[fit for fit in results.fits if fit.silent],
        known=[fit for fit in results.fits if fit.known is not None],
        spoken=spoken,
        figures=[f for f in charts.figures(results) if f.name != "digits" or not results.numbers],
        against=list(charts.against_r(results)),
        pictures=pictures_there,
        legend=LEGEND,
        glossary=glossary,
        formal=formal,
        drift=drift,
        beside=beside and folder is not None,
        style=files("bridge.report.page").joinpath("style.css").read_text(encoding="utf-8"),
        script=script,
        hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        payload=packed(payload(results) | {"pictures": pictures_there}),
    )


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    room = Environment(
        loader=PackageLoader("bridge.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"size": text.size, "number": text.number, "one_line": text.clean}
    return room.get_template("page.html.j2")


def _cells(results: Results, settings: list[tuple[str, str]]) -> dict[str, list[list[Cell]]]:
    """By case and engine, a cell for each method and profile that was run."""
    fits = {fit.key: fit for fit in results.fits}
    return {
        case.name: [
            [_cell(fits[key]) for m, p in settings if (key := (case.name, m, engine.name, p)) in fits]
            for engine in results.engines
        ]
        for case in results.cases
    }


def spoken(row: Line) -> str:
    """A row beyond tolerance on one line."""
    what = text.where(row)
    numbers = f"{text.number(row.estimate, 10)}, right is {text.number(row.reference, 10)}; "
    return (
        f"{what}: {numbers if row.reference == row.reference else ''}"
        f"{text.size(row.difference)} {text.clean(row.scale)}, allowed {text.size(row.tolerance)}"
    )


def packed(found: dict[str, Any]) -> str:
    """JSON, deflated, in base64: a fifth of the size, and no text in it can end a script element."""
    words = json.dumps(found, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(words.encode(), 9)).decode()


def payload(results: Results) -> dict[str, Any]:
    """What the page's program reads when a cell is opened: rows keyed by case and method, numbers short."""
    keys: dict[tuple[str, str], dict[tuple[Any, ...], int]] = {}
    shown: dict[str, list[tuple[Any, ...]]] = {}
    cases = [
        {"name": c.name, "title": c.title, "formula": c.formula, "why": c.why, "command": c.command}
        for c in results.cases
    ]
    fits = []
    for fit in results.fits:
        known = keys.setdefault((fit.case, fit.method), {})
        table = shown.setdefault(f"{fit.case}\n{fit.method}", [])
        rows = []
        for row in fit.rows:
            digits = _digits(row)
            right = _short(row.reference, digits)
            key = (row.quantity, row.group, row.level, row.term, row.scale, right)
            if key not in known:
                known[key] = len(table)
                table.append((text.where(row), right, text.clean(row.scale)))
            numbers = (_short(row.estimate, digits), _short(row.difference, 2), _short(row.tolerance, 2))
            rows.append((known[key], *numbers, _short(round(row.lre, 1), 3), int(row.ok)))
        fits.append(_entry(fit, [list(column) for column in zip(*rows, strict=True)]))
    return {"cases": cases, "fits": fits, "rows": shown}


def _entry(fit: FitResult, rows: list[Any]) -> dict[str, Any]:
    known = fit.known
    found = {
        "id": fit.name,
        "case": fit.case,
        "method": fit.method,
        "engine": fit.engine,
        "profile": fit.profile,
        "kind": _kind(fit),
        "words": f"{_sign(fit)} {fit.words}",
        "told": diagnosis.warned(fit.claim, fit.silent),
        "surprise": fit.surprise if not fit.expected else "",
        "reason": fit.reason,
        "cause": fit.cause,
        "advice": fit.advice,
        "gap": _short(fit.gap, 3),
        "ms": _short(1e3 * fit.seconds, 3),
        "loglik": _short(fit.loglik, 12),
        "recorded": fit.recorded,
        "messages": list(fit.messages),
        "versions": ", ".join(f"{name} {v}" for name, v in sorted(fit.versions.items())),
        "known": None if known is None else [known.reason, known.size, known.versions, known.link],
        "rows": rows,
        "left": fit.left_out,
    }
    return {name: value for name, value in found.items() if value not in ("", None, [], 0)}


def _cell(fit: FitResult) -> Cell:
    words = fit.words.replace("unidentified", "un\u00adidentified")
    return Cell(fit.name, fit.method, fit.profile, _kind(fit), _sign(fit), words, fit.silent)


def _kind(fit: FitResult) -> str:
    """Classes of a fit's cell."""
    part = " part" if fit.words == text.LOGLIK else ""
    return KIND[fit.symbol] + part + (" silent" if fit.silent else "")


def _sign(fit: FitResult) -> str:
    return fit.symbol + (PART if fit.words == text.LOGLIK else "")


def _digits(row: Line) -> int:
    """12, or all 17 where 12 would hide a difference that counts: y = 1e12 + small."""
    hidden = abs(row.estimate - row.reference) < 1e-10 * abs(row.reference)
    return 17 if hidden and row.difference > row.tolerance / 100 else 12


def _short(value: float, digits: int) -> float | str:
    """A number to so many significant digits, one that is not finite as text."""
    if value != value or abs(value) == float("inf"):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _pictures(results: Results, folder: Path | None) -> dict[str, str]:
    """The pictures that are named and there, by name; none from outside the folder."""
    if folder is None:
        return {}
    named = [folder / name for found in results.explained for name in found.pictures]
    inside = [p for p in named if p.resolve().is_relative_to(folder.resolve()) and p.suffix == ".svg"]
    return {p.relative_to(folder).as_posix(): p.read_text("utf-8", "replace") for p in inside if p.is_file()}
