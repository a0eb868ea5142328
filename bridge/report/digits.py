"""Digits: how many correct ones each engine gives (LRE), and how many the data allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING

from bridge.report import text
from bridge.report.grid import Grid
from bridge.verdict import Judgement

if TYPE_CHECKING:
    from bridge.agreement import Agreement

Where = tuple[str, str]
"""Case and method."""

KINDS = {
    "G": ("var",),
    "sigma": ("sigma", "residual"),
    "beta": ("beta",),
    "SE": ("SE",),
    "BLUP": ("BLUP",),
    "logLik": ("logLik",),
}
SHOWN = ("G", "sigma", "beta", "SE", "BLUP")
NOTE = (
    "LRE = -log10 of the relative error against the reference (McCullough 1998), from 0 to 15; the error of "
    "a BLUP is relative to sqrt(G + F), since one next to zero has no relative error. An SE is the one that "
    "the engine prints, held to the reference's under the engine's own convention; where that has no "
    "definition (the joint Hessian at the boundary) it has no digits. Infinite or missing numbers count 0."
)


def digits(agreement: Agreement) -> Grid:
    """Median and worst over all numbers of all fits that gave any, by engine and profile."""
    fits: dict[str, list[Judgement]] = {}
    for j in agreement.judgements:
        if j.rows:
            fits.setdefault(_engine(j), []).append(j)
    rows = []
    for name, these in fits.items():
        cells = []
        for kind in KINDS:
            found = [lre for j in these for lre in correct(j, kind)]
            cells.append(f"{median(found):.1f} ({min(found):.1f})" if found else "")
        rows.append((name, str(len(these)), *cells))
    return Grid(("engine", "fits", *KINDS), tuple(rows), numeric=True)


def by_case(agreement: Agreement, allowed: Mapping[Where, Mapping[str, float]]) -> Grid:
    """A row a case and method, a column an engine: the worst digits of G, sigma, beta, SE and BLUPs.

    Parameters
    ----------
    allowed : mapping of (case, method) to mapping of str to float
        What the data allow (bridge.allowed): the first column.
    """
    engines = list(dict.fromkeys(_engine(j) for j in agreement.judgements if j.rows))
    found = {(j.case, j.fit.method, _engine(j)): j for j in agreement.judgements}
    rows = []
    for case, method in dict.fromkeys((j.case, j.fit.method) for j in agreement.judgements):
        limits = allowed.get((case, method), {})
        most = " ".join(_whole(limits.get("sigma2" if kind == "sigma" else kind)) for kind in SHOWN)
        cells = []
        for engine in engines:
            j = found.get((case, method, engine))
            worst = [min(correct(j, kind), default=None) if j else None for kind in SHOWN]
            cells.append(" ".join(map(_whole, worst)) if j and j.rows else "")
        rows.append((f"{case}, {method}", most if limits else "", *cells))
    return Grid(("case", "data allow", *engines), tuple(rows), numeric=True)


def _engine(j: Judgement) -> str:
    return text.engine(j) + ("" if j.fit.profile == "default" else f" ({j.fit.profile})")


def correct(j: Judgement, kind: str) -> Iterable[float]:
    """Correct digits (LRE) of every number of a kind (a key of `KINDS`) in one fit."""
    found = [r.lre for r in j.rows if r.quantity in KINDS[kind] and not math.isnan(r.lre)]
    # A mixed model's fit without a finite logLik has no digit of it; a baseline may give none by design.
    if kind == "logLik" and not found and any(r.quantity == "G" for r in j.rows):
        return [0.0]
    return found


def _whole(lre: float | None) -> str:
    return "-" if lre is None else str(math.floor(lre))
