"""Measured: what the fits that agree leave of each tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge import engines, tolerance
from bridge.errors import BridgeError
from bridge.report.grid import Grid
from bridge.verdict import Verdict

if TYPE_CHECKING:
    from bridge.agreement import Agreement

Key = tuple[str, str, str]
"""Owner of the tolerance (an engine, a family, anyone), profile, quantity."""


def worst_here(agreement: Agreement) -> dict[Key, tuple[float, str]]:
    """Largest difference of each tolerance that was used, over the fits that AGREE, and where."""
    worst: dict[Key, tuple[float, str]] = {}
    for j in agreement.judgements:
        if j.verdict not in (Verdict.AGREE, Verdict.AGREE_SINGULAR):
            continue
        family = _family(j.fit.engine)
        for row in j.rows:
            quantity = "G" if row.quantity == "var" else row.quantity
            owner = tolerance.owner(quantity, j.fit.engine, family, j.fit.profile)
            key = (owner, j.fit.profile, quantity)
            if row.tolerance > 1.1 * tolerance.table()[owner][j.fit.profile][quantity].value:
                continue  # set by what a double can hold of these data, not by the engine
            if row.difference >= worst.get(key, (-1.0, ""))[0]:
                worst[key] = (row.difference, j.name)
    return worst


def measured(agreement: Agreement) -> Grid:
    """Each tolerance that was used: its value, the worst it states, the worst of this run and where.

    Over the fits that AGREE; differences on the scales of docs/verdicts.md.
    """
    rows = []
    for (owner, profile, quantity), (difference, where) in sorted(worst_here(agreement).items()):
        entry = tolerance.table()[owner][profile][quantity]
        rows.append(
            (owner, profile, quantity, f"{entry.value:.0e}", f"{entry.worst:.1e}", f"{difference:.1e}", where)
        )
    head = ("owner", "profile", "quantity", "allowed", "worst stated", "worst here", "where")
    return Grid(head, tuple(rows))


def _family(engine: str) -> str:
    try:
        return engines.get(engine).family
    except BridgeError:
        return "any"
