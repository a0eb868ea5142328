"""Tables of an Agreement: quantities by engine, verdicts with reasons, cases by engine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING

from bridge.comparison import Comparison
from bridge.report import conventions, text
from bridge.report.grid import Grid
from bridge.verdict import Judgement, Verdict

if TYPE_CHECKING:
    from bridge.agreement import Agreement

Block = tuple[str, str, str]
"""Case, method, profile."""

SHOWN = ("beta", "SE", "var", "sigma", "residual", "logLik")


def blocks(agreement: Agreement) -> dict[Block, list[Judgement]]:
    """Judgements by case, method and profile."""
    found: dict[Block, list[Judgement]] = {}
    for j in agreement.judgements:
        found.setdefault((j.case, j.fit.method, j.fit.profile), []).append(j)
    return found


def partial(judgement: Judgement) -> bool:
    """Whether it speaks of a mixed model's fit, not of a complete-pooling baseline's."""
    return any(row.quantity == "G" for row in judgement.rows)


def quantities(judgements: Sequence[Judgement]) -> Grid | None:
    """One block: a row a quantity, a column an engine; BLUPs as the largest difference of a term's levels.

    None if no engine gave numbers. The column ``right`` is the reference of the mixed model.
    """
    fits = [j for j in judgements if j.rows]
    if not fits:
        return None
    mixed = next((j for j in fits if partial(j)), fits[0])
    keyed = [{key(row): row for row in _shown(j)} for j in fits]
    right = {key(row): row.reference for j in (*filter(partial, fits), mixed) for row in j.rows}
    keys = sorted(dict.fromkeys(k for rows in keyed for k in rows), key=lambda k: SHOWN.index(k[0]))
    lines = [
        (_label(k), text.number(right.get(k, math.nan)), *(_cell(rows.get(k)) for rows in keyed))
        for k in keys
    ]
    after = next((i for i, k in enumerate(keys) if k[0] not in ("beta", "SE")), len(keys))
    lines[after:after] = conventions.printed(fits)
    for group, term in dict.fromkeys((r.group, r.term) for j in fits for r in j.rows if r.quantity == "BLUP"):
        worst = [_largest(j.rows, group, term) for j in fits]
        lines.append((f"BLUPs {group} {term} off by", "", *map(_difference, worst)))
    gaps = [next((r for r in j.rows if r.quantity == "gap"), None) for j in fits]
    lines.append(("gap in deviance", "", *map(_difference, gaps)))
    heads = [text.engine(j) + ("" if partial(j) or not partial(mixed) else " (no groups)") for j in fits]
    return Grid(("", "right", *heads), tuple(lines), numeric=True)


def verdicts(judgements: Sequence[Judgement]) -> Grid:
    """One block: engine, verdict, and the reason."""
    rows = []
    for j in judgements:
        known = f" (known: {j.known.reason})" if j.known is not None and j.expected else ""
        kept = f" ({j.fit.recorded})" if j.fit.recorded else ""
        why = j.surprise if j.known and j.surprise else j.reason
        rows.append((j.fit.engine, text.words(j), why + known + kept))
    return Grid(("engine", "verdict", "why"), tuple(rows))


def matrix(agreement: Agreement) -> Grid:
    """Cases by engines; methods share a cell, and are named where they differ."""
    engines = list(dict.fromkeys(j.fit.engine for j in agreement.judgements))
    found: dict[tuple[str, str], dict[str, list[Judgement]]] = {}
    for j in agreement.judgements:
        found.setdefault((j.case, j.fit.profile), {}).setdefault(j.fit.engine, []).append(j)
    rows = [
        (
            case if profile == "default" else f"{case} ({profile})",
            *(_shared(cells.get(name, [])) for name in engines),
        )
        for (case, profile), cells in found.items()
    ]
    gone = {j.fit.engine for j in agreement.judgements if j.fit.recorded}
    heads = [f"{name} (recorded)" if name in gone else name for name in engines]
    return Grid(("case", *heads), tuple(rows))


def unexpected(agreement: Agreement, most: int = 4) -> list[tuple[str, str, list[str]]]:
    """Name, reason and worst rows of each unexpected fit."""
    return [
        (j.name, j.surprise or j.reason, [text.explain(row) for row in j.failing[:most]])
        for j in agreement.unexpected
    ]


def counts(judgements: Iterable[Judgement]) -> str:
    """``12 agree, 1 worse optimum``, as a progress bar shows it."""
    tally = Counter(text.words(j) for j in judgements)
    return "  ".join(f"{n} {word}" for word, n in sorted(tally.items(), key=lambda item: -item[1]))


def languages(agreement: Agreement) -> Grid | None:
    """Python engines against R engines: the largest difference where both agree.

    Fixed effects in units of the exact SE, variance components and BLUPs in units of G + F
    (docs/verdicts.md). Default profile. None unless both languages are there.
    """
    from bridge import engines

    agree = {Verdict.AGREE, Verdict.AGREE_SINGULAR}  # numbers that are FLAT may be far apart
    spoken = {
        name: engines.get(name).language
        for name in {j.fit.engine for j in agreement.judgements if partial(j)}
    }
    by_engine: dict[str, dict[tuple[str, str], Judgement]] = {}
    for j in agreement.judgements:
        if partial(j) and j.fit.profile == "default":
            by_engine.setdefault(j.fit.engine, {})[j.case, j.fit.method] = j
    python = [name for name in by_engine if spoken[name] == "Python"]
    r = [name for name in by_engine if spoken[name] == "R"]
    rows = []
    for ours, theirs in product(python, r):
        both = [(a, by_engine[theirs][key]) for key, a in by_engine[ours].items() if key in by_engine[theirs]]
        right = [(a, b) for a, b in both if {a.verdict, b.verdict} <= agree]
        cells = [_apart(right, quantity) for quantity in ("beta", "var", "BLUP")]
        far = " (recorded)" if any(b.fit.recorded for _, b in both) else ""
        rows.append((f"{ours} and {theirs}{far}", f"{len(right)} of {len(both)}", *cells))
    head = ("engines", "fits both agree", "fixed effects / SE", "variances / (G+F)", "BLUPs / sqrt(G+F)")
    return Grid(head, tuple(rows), numeric=True) if rows else None


def _apart(pairs: Sequence[tuple[Judgement, Judgement]], quantity: str) -> str:
    worst = -1.0
    for a, b in pairs:
        others = {key(row): row for row in b.rows if row.quantity == quantity}
        for row in a.rows:
            if row.quantity == quantity and key(row) in others:
                worst = max(worst, scaled(row, others[key(row)]))
    return "" if worst < 0 else text.size(worst)


def scaled(a: Comparison, b: Comparison) -> float:
    """|a - b| in the unit in which both are compared with the reference."""
    far = max(a, b, key=lambda row: row.difference)
    off = abs(far.estimate - far.reference)
    return abs(a.estimate - b.estimate) * far.difference / off if off > 0 else 0.0


def key(row: Comparison) -> tuple[str, str, tuple[str, ...], str]:
    """Its label: what is joined by."""
    return row.quantity, row.group, row.level, row.term


def _label(key: tuple[str, str, tuple[str, ...], str]) -> str:
    quantity, group, _, term = key
    if quantity in ("sigma", "logLik"):
        return quantity
    if quantity == "var":
        kind, _, names = term.partition("__")
        return f"{kind} {group} {names}"
    return term if quantity == "beta" else f"{quantity} {term}"


def _shown(judgement: Judgement) -> list[Comparison]:
    """Rows of one fit; with a log-likelihood that is infinite, which cannot be compared."""
    rows = [row for row in judgement.rows if row.quantity in SHOWN]
    if math.isinf(given := judgement.fit.loglik):
        bad = Comparison("logLik", "", (), "logLik", given, math.nan, math.inf, "absolute", 0.0, lre=0.0)
        rows.append(bad)
    return rows


def _cell(row: Comparison | None) -> str:
    return "" if row is None else text.number(row.estimate) + ("" if row.ok else f" {text.FAILS}")


def _difference(row: Comparison | None) -> str:
    return "" if row is None else text.size(row.difference) + ("" if row.ok else f" {text.FAILS}")


def _largest(rows: Sequence[Comparison], group: str, term: str) -> Comparison | None:
    mine = [r for r in rows if r.quantity == "BLUP" and (r.group, r.term) == (group, term)]
    return max(mine, key=lambda r: math.inf if math.isnan(r.difference) else r.difference, default=None)


def _shared(cell: Sequence[Judgement]) -> str:
    said: dict[str, list[str]] = {}
    for j in cell:
        said.setdefault(text.words(j), []).append(j.fit.method)
    if len(said) == 1:
        return next(iter(said))
    worst = sorted(said.items(), key=lambda item: "✗≈–✓".find(item[0][0]))
    return "; ".join(f"{word} ({', '.join(methods)})" for word, methods in worst)
