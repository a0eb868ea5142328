"""Lines: each level's own line, its partially pooled one and lm's, for models with a random slope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.report import text
from bridge.report.pictures.ink import (
    BLACK,
    BLUE,
    DASHED,
    DOTTED,
    GREY,
    RED,
    SOLID,
    TOP,
    centred_response,
    data,
    names,
    spread,
    title,
)

if TYPE_CHECKING:
    from bridge.explanation import Explanation

MOST, MOST_ROWS = 18, 60


def lines(found: Explanation) -> Any:
    """A panel a level, of up to `MOST` spread over the sizes; None unless Z is an intercept and one slope."""
    import altair as alt

    p, levels = found.pooling, found.pooling.levels[0]
    if len(levels.names) != 2 or levels.names[0] != "(Intercept)":
        return None
    g, y = p.grouping(levels), centred_response(p.model)
    t = g.Z[:, 1]
    kinds = {
        "own rows only": levels.none,
        "partially pooled": levels.partial,
        "lm, all rows": levels.complete,
    }
    order = spread(levels.rows, MOST)
    labels = names(levels, order)
    drawn: list[dict[str, Any]] = []
    for label, j in zip(labels, order, strict=True):
        own = np.flatnonzero(g.index == j)
        ends = np.array([t[own].min(), t[own].max()])
        ends = ends if ends[0] < ends[1] else np.array([t.min(), t.max()])
        own = own[:MOST_ROWS]
        drawn += [{"level": label, "t": float(t[i]), "y": float(y[i])} for i in own]
        for kind, estimate in kinds.items():
            if np.all(np.isfinite(estimate[j])):
                up = estimate[j, 0] + estimate[j, 1] * ends
                drawn += [
                    {"level": label, "kind": kind, "t": float(a), "y": float(b)}
                    for a, b in zip(ends, up, strict=True)
                ]
    x = alt.X("t:Q", title=text.clean(levels.names[1]), scale=alt.Scale(zero=False))
    over = alt.Y("y:Q", title=text.clean(p.model.response), scale=alt.Scale(zero=False))
    domain, legend = list(kinds), alt.Legend(**TOP, symbolSize=900)
    ink = alt.Scale(domain=domain, range=[BLACK, RED, BLUE])
    dash = alt.Scale(domain=domain, range=[SOLID, DASHED, DOTTED])
    base = alt.Chart(data(drawn))
    dots = base.transform_filter("!isValid(datum.kind)").mark_point(
        size=8, filled=True, color=GREY, opacity=0.9
    )
    strokes = base.transform_filter("isValid(datum.kind)").mark_line(strokeWidth=2)
    colour = alt.Color("kind:N", scale=ink, legend=legend)
    stroke = alt.StrokeDash("kind:N", scale=dash, legend=legend)
    panel = alt.layer(dots.encode(x=x, y=over), strokes.encode(x=x, y=over, color=colour, strokeDash=stroke))
    facet = alt.Facet("level:N", sort=labels, title=None)
    head = "Each level's line before and after partial pooling"
    return (
        panel.properties(width=130, height=100)
        .facet(facet=facet, columns=6)
        .properties(title=title(head, "A panel a level, smallest first (rows in parentheses)"))
    )
