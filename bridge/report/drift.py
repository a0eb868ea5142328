"""Drift: what changed between two runs, as tables for a terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge.drift import DIGIT, PACE
from bridge.report import text
from bridge.report.grid import Grid
from bridge.report.league import number

if TYPE_CHECKING:
    from bridge.drift import Drift, Key

MOST = 200


def tables(found: Drift) -> Iterator[tuple[str, Grid]]:
    """A title and a table for each kind of change that there is."""
    if found.software:
        yield (
            "Software",
            Grid(
                ("software", "before", "after"), tuple((a, b or "–", c or "–") for a, b, c in found.software)
            ),
        )
    if found.verdicts:
        changed = [
            (_fit(c.key), c.before, c.after, "worse" if c.worse else "other", c.reason)
            for c in sorted(found.verdicts, key=lambda c: not c.worse)
        ]
        yield "Verdicts", Grid(("fit", "before", "after", "change", "why"), tuple(changed))
    if found.values:
        moved = [
            (_fit(m.key), m.what, text.number(m.before, 10), text.number(m.after, 10), text.size(m.times))
            for m in found.values[:MOST]
        ]
        head = ("fit", "number", "before", "after", "change / tolerance")
        yield (
            f"Numbers that moved by more than their tolerance{_more(len(found.values))}",
            Grid(head, tuple(moved)),
        )
    if found.digits:
        worst = sorted(found.digits, key=lambda d: d.after - d.before)
        rows = [(_fit(d.key), d.kind, f"{d.before:.1f}", f"{d.after:.1f}") for d in worst[:MOST]]
        title = f"Worst correct digits that changed by {DIGIT:.0f} or more{_more(len(worst))}"
        yield title, Grid(("fit", "kind", "before", "after"), tuple(rows))
    if found.paces:
        times = [
            (
                p.engine,
                p.profile,
                str(p.fits),
                number(1e3 * p.before),
                number(1e3 * p.after),
                number(p.ratio),
            )
            for p in sorted(found.paces, key=lambda p: -p.ratio)
        ]
        columns = ("engine", "settings", "fits", "ms before", "ms after", "median ratio")
        yield f"Engines whose times changed {PACE:.0f}-fold or more", Grid(columns, tuple(times))
    for title, keys in (("Only before", found.gone), ("Only after", found.new)):
        if keys:
            yield f"{title}{_more(len(keys))}", Grid(("fit",), tuple((_fit(key),) for key in keys[:MOST]))


def heading(found: Drift) -> str:
    """The runs by name."""
    return f"From {found.before} to {found.after}"


def markdown(found: Drift) -> str:
    """All of it as Markdown."""
    parts = [f"# {text.markdown(heading(found))}", f"**{text.markdown(found.sentence)}**", found.compared]
    for title, grid in tables(found):
        parts += [f"## {title}", grid.markdown()]
    return "\n\n".join(parts) + "\n"


def _fit(key: Key) -> str:
    case, method, engine, profile = key
    return f"{case}, {method}, {engine}" + ("" if profile == "default" else f", {profile}")


def _more(count: int) -> str:
    return f" (the first {MOST} of {count})" if count > MOST else ""
