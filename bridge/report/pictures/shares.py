"""Shares: what a cluster weighs against its size, in lm, in the mixed model and unweighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.levels import Levels
from bridge.model import Vector
from bridge.report import text
from bridge.report.pictures.ink import BLUE, DASHED, DOTTED, GREY, RED, SOLID, TOP, data, spread, title

if TYPE_CHECKING:
    from bridge.explanation import Explanation

MOST = 500
"""Levels that are drawn."""
KINDS = ("lm", "mixed model", "unweighted")


def shares(found: Explanation) -> Any:
    """Share of weight by cluster size, and the limit 1/tau2; None if all sizes are equal."""
    import altair as alt

    p, levels = found.pooling, found.pooling.levels[0]
    if levels.rows.min() == levels.rows.max():
        return None
    simple, n = p.closed, levels.rows.astype(float)
    ends = [float(max(1.0, n.min() / 2)), float(n.max() * 1.5)]
    kinds = KINDS if simple else KINDS[:2]
    curves: list[dict[str, Any]] = []
    dots: list[dict[str, Any]] = []
    if simple:
        sizes = np.unique(n)
        size = np.geomspace(ends[0], ends[1], 80)
        for name in kinds:
            curves += _records(name, size, _share(found, levels, name, size))
            dots = _records(name, sizes, _share(found, levels, name, sizes)) + dots  # the first on top
        under = "Share of the sum of all weights: n in lm, 1/(tau² + sigma²/n) in the mixed model, 1"
    else:
        shown = spread(levels.rows, MOST)
        for name, weights in zip(kinds, (levels.lm, levels.mixed), strict=True):
            dots += _records(name, n[shown], weights.share[shown, found.k])
        under = f"Share of the absolute row weights in {found.coefficient}; a sign a level"
    scale = alt.Scale(type="log", nice=False, domain=ends)
    x = alt.X("rows:Q", title=f"rows per {text.clean(levels.group)}", scale=scale)
    y = alt.Y("share:Q", title="share of the weight", axis=alt.Axis(format=".0%"))
    ink = alt.Scale(domain=list(kinds), range=[BLUE, RED, GREY][: len(kinds)])
    form = alt.Scale(domain=list(kinds), range=["circle", "diamond", "square"][: len(kinds)])
    dash = alt.Scale(domain=list(kinds), range=[SOLID, DASHED, DOTTED][: len(kinds)])
    legend = alt.Legend(**TOP, symbolSize=120, symbolStrokeWidth=0)
    signs = alt.Chart(data(dots)).mark_point(size=70, filled=True, opacity=0.85)
    layers = [
        signs.encode(
            x=x,
            y=y,
            color=alt.Color("fit:N", scale=ink, legend=legend),
            shape=alt.Shape("fit:N", scale=form, legend=legend),
        )
    ]
    if curves:
        lines = alt.Chart(data(curves)).mark_line(strokeWidth=2)
        layers.append(
            lines.encode(
                x=x,
                y=y,
                color=alt.Color("fit:N", scale=ink, legend=legend),
                strokeDash=alt.StrokeDash("fit:N", scale=dash, legend=None),
            )
        )
        layers += _limit(_share(found, levels, "mixed model", np.array([np.inf]))[0], float(size[0]), x, y)
    head = "Small clusters gain on lm, large ones stop gaining" if simple else "Weight by size"
    return alt.layer(*layers, title=title(head, under)).properties(width=560, height=300)


def _records(name: str, rows: Vector, share: Vector) -> list[dict[str, Any]]:
    return [{"fit": name, "rows": float(a), "share": float(b)} for a, b in zip(rows, share, strict=True)]


def _share(found: Explanation, levels: Levels, name: str, size: Vector) -> Vector:
    """Share of a cluster of so many rows among those there are."""
    p, n = found.pooling, levels.rows
    if name == "lm":
        return np.asarray(size / n.sum())
    if name == "unweighted":
        return np.full(len(size), 1 / len(n))
    tau2 = float(p.grouping(levels).psi[0, 0])
    return np.asarray(1 / (tau2 + p.sigma2 / size) / np.sum(1 / (tau2 + p.sigma2 / n)))


def _limit(top: float, left: float, x: Any, y: Any) -> list[Any]:
    """Where the mixed model's weight ends."""
    import altair as alt

    here = data([{"share": float(top), "rows": left, "note": "1/tau²: what no cluster can pass"}])
    rule = alt.Chart(here).mark_rule(strokeDash=[1, 3], color=RED, strokeWidth=1.5).encode(y=y)
    note = alt.Chart(here).mark_text(align="left", dx=4, dy=-8, color=RED, fontSize=12)
    return [rule, note.encode(x=x, y=y, text="note:N")]
