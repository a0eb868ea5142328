"""Apart: numbers of Python engines beside those of R engines, pair by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge import engines
from bridge.errors import BridgeError
from bridge.report import text
from bridge.report.results import Pair
from bridge.report.tables import key, partial, scaled

if TYPE_CHECKING:
    from bridge.agreement import Agreement
    from bridge.comparison import Comparison
    from bridge.verdict import Judgement

QUANTITIES = ("beta", "var", "BLUP")
BLUPS = 2
"""BLUPs of one pair of fits that are kept for each term, if there are several cases: those furthest apart."""
MOST = 800
"""Pairs of each quantity that are kept: half those furthest apart, half an even choice of the others."""
R = "lme4"


def pairs(agreement: Agreement) -> tuple[list[Pair], int]:
    """Slopes, variances and BLUPs of each Python engine beside lme4's, or the first R engine's.

    Right or wrong, default profile. Where there are too many, those furthest apart and, of the others, every
    so many-th by distance; the second number says how many were left out.
    """
    spoken = {name: _language(name) for name in {j.fit.engine for j in agreement.judgements}}
    fits: dict[tuple[str, str, str], Judgement] = {}
    for j in agreement.judgements:
        if j.fit.profile == "default" and partial(j):
            fits[j.fit.engine, j.case, j.fit.method] = j
    r = [name for name in dict.fromkeys(engine for engine, _, _ in fits) if spoken[name] == "R"]
    if not r:
        return [], 0
    theirs = R if R in r else r[0]
    found: list[Pair] = []
    left = 0
    most = MOST if len({case for _, case, _ in fits}) == 1 else BLUPS
    for (engine, case, method), mine in fits.items():
        other = fits.get((theirs, case, method))
        if spoken[engine] == "Python" and other is not None:
            made, fewer = _of(mine, other, most)
            found += made
            left += fewer
    found.sort(key=lambda pair: -pair.difference if pair.difference == pair.difference else -float("inf"))
    kept = [pair for q in QUANTITIES for pair in _chosen([p for p in found if p.quantity == q])]
    return kept, left + len(found) - len(kept)


def _chosen(pairs: list[Pair]) -> list[Pair]:
    """At most `MOST` of pairs in order of distance."""
    if len(pairs) <= MOST:
        return pairs
    far, near = pairs[: MOST // 2], pairs[MOST // 2 :]
    step = len(near) / (MOST // 2)
    return far + [near[int(i * step)] for i in range(MOST // 2)]


def _of(mine: Judgement, other: Judgement, most: int) -> tuple[list[Pair], int]:
    beside = {key(row): row for row in other.rows if row.quantity in QUANTITIES}
    groups: dict[tuple[str, str, str], list[tuple[float, Comparison, Comparison]]] = {}
    total = 0
    for row in mine.rows:
        if (twin := beside.get(key(row))) is not None:
            groups.setdefault((row.quantity, row.group, row.term), []).append((scaled(row, twin), row, twin))
            total += 1
    kept = []
    for (quantity, _, _), these in groups.items():
        these.sort(key=lambda item: -item[0] if item[0] == item[0] else -float("inf"))
        kept += these[:most] if quantity == "BLUP" else these
    made = [
        Pair(
            quantity=a.quantity,
            python=mine.fit.engine,
            r=other.fit.engine,
            case=mine.case,
            method=mine.fit.method,
            what=text.where(a),
            a=a.estimate,
            b=b.estimate,
            difference=difference,
        )
        for difference, a, b in kept
    ]
    return made, total - len(made)


def _language(name: str) -> str:
    try:
        return engines.get(name).language
    except BridgeError:
        return ""
