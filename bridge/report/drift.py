"""Drift: what changed between two runs, as tables for a terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge.drift import DIGIT, PACE
from bridge.report import text
from bridge.report.grid import Grid

if TYPE_CHECKING:
    from bridge.drift import Drift, Key

MOST = 200


def tables(found: Drift) -> Iterator[tuple[str, Grid]]:
    """A title and a table for each kind of change that there is."""
    if found.software:
        yield (
            "Software",
            Grid(("", "before", "after"), tuple((a, b or "–", c or "–") for a, b, c in found.software)),
        )
    if found.verdicts:
        changed = [
            (_fit(c.key), c.before, c.after, "worse" if c.worse else "", c.reason)
            for c in sorted(found.verdicts, key=lambda c: not c.worse)
        ]
        yield "Verdicts", Grid(("fit", "before", "after", "", "why"), tuple(changed))
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
                f"{1e3 * p.before:.2g}",
                f"{1e3 * p.after:.2g}",
                f"{p.ratio:.2g}",
            )
            for p in sorted(found.paces, key=lambda p: -p.ratio)
        ]
        columns = ("engine", "settings", "fits", "ms before", "ms after", "median ratio")
        yield f"Engines that take {PACE:.0f} times as long or half", Grid(columns, tuple(times))
    for title, keys in (("Only before", found.gone), ("Only after", found.new)):
        if keys:
            yield f"{title}{_more(len(keys))}", Grid(("fit",), tuple((_fit(key),) for key in keys[:MOST]))


def heading(found: Drift) -> str:
    """The runs by name."""
    return f"From {found.before} to {found.after}"


def markdown(found: Drift) -> str:
    """All of it as Markdown."""
    parts = [f"# {text.markdown(heading(found))}", f"**{text.markdown(found.sentence)}**"]
    for title, grid in tables(found):
        parts += [f"## {title}", grid.markdown()]
    return "\n\n".join(parts) + "\n"


def _fit(key: Key) -> str:
    case, method, engine, profile = key
    return f"{case}, {method}, {engine}" + ("" if profile == "default" else f", {profile}")


def _more(count: int) -> str:
    return f" (the first {MOST} of {count})" if count > MOST else ""
