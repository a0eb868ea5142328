"""Explain: an Explanation as sentences, a table, a notebook view and a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.levels import Levels
from bridge.report import text
from bridge.report.grid import Grid
from bridge.report.reasons import figure, percent, signed

if TYPE_CHECKING:
    from bridge.explanation import Explanation

MOST = 24
"""Levels that a table shows; those that pull most."""


def tables(found: Explanation) -> Iterator[tuple[Levels, Grid]]:
    """Each grouping factor with its table."""
    for levels in found.pooling.levels:
        yield levels, _grid(found, levels)


def _grid(found: Explanation, levels: Levels) -> Grid:
    """Weights and estimates of the levels that pull most, smallest first."""
    k = found.k
    unit = 100 * found.pooling.std_error[k]
    pull = np.where(np.abs(levels.lean[:, k]) > 1e-12 * unit, np.abs(levels.lean[:, k]), 0.0)
    order = np.sort(np.argsort(-pull, kind="stable")[:MOST])
    order = order[np.argsort(levels.rows[order], kind="stable")]
    head = [levels.group, "rows", "share in lm", "share in mixed", "shift in lm", "shift in mixed"]
    head += ["pooling factor", *(["effective rows"] if levels.independent else [])]
    short = levels.names == ("(Intercept)",)
    for name in levels.names:
        head += [f"{kind} {'mean' if short else name}" for kind in ("own", "pooled")]
    head.append("part of lm − mixed")
    rows = []
    top = float(np.sum(np.abs(found.pooling.leverage.lm[:, k])))
    for j in order:
        factor = ", ".join(f"{v:.3f}" for v in levels.eigenvalues[j])
        row = [levels.labels[j], str(levels.rows[j])]
        row += [percent(levels.lm.share[j, k]), percent(levels.mixed.share[j, k])]
        row += [signed(w.shift[j, k], top) for w in (levels.lm, levels.mixed)] + [factor]
        row += [] if not levels.independent else [figure(levels.size[j])]
        for i in range(len(levels.names)):
            row += [figure(levels.none[j, i], 4), figure(levels.partial[j, i], 4)]
        rows.append((*row, signed(levels.lean[j, k], unit)))
    return Grid(tuple(head), tuple(rows), numeric=True)


def title(found: Explanation) -> str:
    """``sleepstudy: Days in Reaction ~ Days + (Days | Subject)``."""
    return text.clean(f"{found.name}: {found.coefficient} in {found.formula}")


def left(levels: Levels) -> str:
    """What the table does not show, in a sentence."""
    more = len(levels.rows) - MOST
    return f"The {MOST} that make most of the difference; {more} more are left out." if more > 0 else ""


def plain(found: Explanation) -> str:
    """Words, then tables."""
    parts = [title(found), *map(text.clean, found.sentences)]
    for levels, grid in tables(found):
        parts += [grid.text(), left(levels)]
    return "\n\n".join(part for part in parts if part)


def markdown(found: Explanation, figures: Sequence[str] = (), heading: str = "#") -> str:
    """The same as Markdown, with pictures by name."""
    parts = [f"{heading} {text.markdown(title(found))}", *map(text.markdown, found.sentences)]
    for levels, grid in tables(found):
        parts += [grid.markdown(), left(levels)]
    parts += [f"![{Path(name).stem}]({name})" for name in figures]
    return "\n\n".join(part for part in parts if part)


def page(found: Explanation) -> str:
    """For a notebook, with the pictures if their library is installed."""
    from bridge.report import pictures

    parts = [f"<h4>{text.html(title(found))}</h4>", *(f"<p>{text.html(s)}</p>" for s in found.sentences)]
    for levels, grid in tables(found):
        parts += [grid.html(), f"<p>{text.html(left(levels))}</p>"]
    if not pictures.lacking():
        parts += [pictures.svg(chart) for chart in pictures.charts(found).values()]
    return "\n".join(parts)


def draw(found: Explanation, root: Path, folder: Path, png: bool = False) -> list[str]:
    """Each picture as SVG (and PNG) in a folder under `root`; names of the SVG ones, seen from `root`.

    None are drawn where their library is not installed.
    """
    from bridge.output import make_folder, write_bytes
    from bridge.report import pictures

    if pictures.lacking():
        return []
    place = root / folder
    make_folder(place, str(place))
    names = []
    for name, chart in pictures.charts(found).items():
        write_bytes(pictures.svg(chart).encode(), place / f"{name}.svg")
        if png:
            write_bytes(pictures.png(chart), place / f"{name}.png")
        names.append((folder / f"{name}.svg").as_posix())
    return names


def write(found: Explanation, folder: Path) -> list[Path]:
    """explain.md, weights.csv, and each picture as SVG and PNG."""
    from bridge.output import write_bytes
    from bridge.report import pictures

    pictures.require()
    names = draw(found, folder, Path(), png=True)
    write_bytes((markdown(found, names) + "\n").encode(), folder / "explain.md")
    write_bytes(found.table.to_csv(index=False).encode(), folder / "weights.csv")
    images = [name.replace(".svg", kind) for name in names for kind in (".svg", ".png")]
    return [folder / name for name in ("explain.md", "weights.csv", *images)]
