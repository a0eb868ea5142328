"""Arrows: from each level's own estimate to the partially pooled one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.levels import Levels
from bridge.leverage import Ints
from bridge.report import text
from bridge.report.pictures.ink import BLACK, BLUE, RED, TOP, data, names, spread, title

if TYPE_CHECKING:
    from bridge.explanation import Explanation

MOST_LEVELS, MOST_TERMS = 40, 3
KINDS = ("own rows only", "partially pooled", "the mixed model's line")


def arrows(found: Explanation) -> Any:
    """A row a level, smallest first; a panel a random coefficient."""
    import altair as alt

    levels = found.pooling.levels[0]
    order = spread(levels.rows, MOST_LEVELS)
    panels = [_panel(found, levels, order, i) for i in range(min(len(levels.names), MOST_TERMS))]
    under = "From a level's own estimate to the pooled one: the less its rows tell, the nearer to the line"
    if levels.rows.min() == levels.rows.max():
        under = "From a level's own estimate to the pooled one"
    if len(order) < len(levels.rows):
        under += f"; {len(order)} of {len(levels.rows)} levels"
    whole = panels[0] if len(panels) == 1 else alt.hconcat(*panels)
    return whole.properties(title=title("Shrinkage", under))


def _panel(found: Explanation, levels: Levels, order: Ints, i: int) -> Any:
    import altair as alt

    labels = names(levels, order)
    columns = (levels.none[order, i], levels.partial[order, i], levels.fixed[order, i])
    pairs = list(zip(KINDS, columns, strict=True))
    signs = [  # drawn in this order
        {"level": label, "kind": kind, "value": float(v)}
        for kind, column in (pairs[2], pairs[0], pairs[1])
        for label, v in zip(labels, column, strict=True)
        if np.isfinite(v)
    ]
    moves = [
        {"level": label, "value": float(a), "to": float(b)}
        for label, a, b in zip(labels, columns[0], columns[1], strict=True)
        if np.isfinite(a)
    ]
    many = len(levels.names) > 1
    name = levels.names[i] if many else f"mean {found.pooling.model.response}"
    x = alt.X("value:Q", title=text.clean(name), scale=alt.Scale(zero=False))
    y = alt.Y("level:N", sort=labels, title=None if i else f"{text.clean(levels.group)} (rows)")
    legend = alt.Legend(**TOP, symbolSize=90)
    domain = list(KINDS)
    marks = (
        alt.Chart(data(signs))
        .mark_point(strokeWidth=2, size=60, opacity=1)
        .encode(
            x=x,
            y=y,
            shape=alt.Shape(
                "kind:N",
                scale=alt.Scale(domain=domain, range=["circle", "diamond", "M0,-1V1"]),
                legend=legend,
            ),
            color=alt.Color(
                "kind:N", scale=alt.Scale(domain=domain, range=[BLACK, RED, BLUE]), legend=legend
            ),
            fill=alt.Fill(
                "kind:N", scale=alt.Scale(domain=domain, range=["white", RED, BLUE]), legend=legend
            ),
        )
    )
    arrow = alt.Chart(data(moves)).mark_rule(color="#666666", strokeWidth=1.5).encode(x=x, x2="to:Q", y=y)
    return alt.layer(arrow, marks).properties(width=300 if many else 440)
