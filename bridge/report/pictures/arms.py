"""Arms: the founding question's picture, two arms, cluster means before and after pooling, both lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.levels import Levels, constant_within
from bridge.leverage import Ints
from bridge.model import Vector
from bridge.report import text
from bridge.report.pictures.ink import BLACK, BLUE, DASHED, GREY, RED, SOLID, TOP, data, limits, title

if TYPE_CHECKING:
    from bridge.explanation import Explanation

MOST = 3000
"""Points that are drawn."""
MOST_CLUSTERS = 120
"""With more, the bars of an arm could not be told apart, and there is no picture."""
DODGE = 0.38
"""Half the width that the clusters of an arm are spread over; arms are 1 apart."""
FITS = ("lm", "mixed model")


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """Where the clusters of two arms stand.

    Attributes
    ----------
    levels : Levels
    index : (n,) int array
        Cluster of each row.
    place : (levels,) array
        Horizontal: the arm, 0 or 1, spread by size, smallest first.
    step : float
        Room of a cluster.
    raw, pooled : (levels,) arrays
        Means of y and of the mixed model's fitted values.
    """

    levels: Levels
    index: Ints
    place: Vector
    step: float
    raw: Vector
    pooled: Vector


def stage(found: Explanation) -> Stage | None:
    """None unless the coefficient has two values, the same in all rows of a cluster, and clusters are few."""
    p, levels = found.pooling, found.pooling.clusters
    if levels is None or len(levels.rows) > MOST_CLUSTERS:
        return None
    index = p.grouping(levels).index
    x = p.model.X[:, found.k]
    values = np.unique(x)
    if len(values) != 2 or not constant_within(x[:, None], index):
        return None
    arm = np.zeros(len(levels.rows))
    arm[index] = x == values[1]
    place = arm.copy()
    for side in (0.0, 1.0):
        members = np.flatnonzero(arm == side)
        order = members[np.argsort(levels.rows[members], kind="stable")]
        place[order] += DODGE * ((np.arange(len(order)) + 0.5) / len(order) * 2 - 1)
    part = np.ones(p.model.n) if p.model.weights is None else p.model.weights
    total = np.bincount(index, part)
    raw, pooled = (np.bincount(index, part * v) / total for v in (p.model.y, p.fitted))
    return Stage(levels, index, place, 2 * DODGE / max(np.bincount(arm.astype(int))), raw, pooled)


def means(found: Explanation) -> Any:
    """Cluster means before (black) and after pooling (vermilion, shorter), and both lines."""
    import altair as alt

    at = stage(found)
    if at is None:
        return None
    p, name = found.pooling, text.clean(found.coefficient)
    y = _response(found, np.concatenate([at.raw, at.pooled, _ends(found, p.beta_lm), _ends(found, p.beta)]))
    kinds = ["cluster mean", "after partial pooling"]
    bars = [
        {
            "what": what,
            "from": float(at.place[j] - half * at.step),
            "to": float(at.place[j] + half * at.step),
            "y": float(values[j]),
        }
        for what, values, half in zip(kinds, (at.raw, at.pooled), (0.45, 0.28), strict=True)
        for j in range(len(values))
    ]
    ink = alt.Color(
        "what:N",
        scale=alt.Scale(domain=kinds, range=[BLACK, RED]),
        legend=alt.Legend(**TOP, symbolType="stroke", symbolSize=900, symbolStrokeWidth=4),
    )
    black, red = (
        alt.Chart(data(r for r in bars if r["what"] == kind))
        .mark_rule(strokeWidth=width)
        .encode(x="from:Q", x2="to:Q", y=y, color=ink)
        for kind, width in zip(kinds, (6, 3), strict=True)
    )
    rows = (
        alt.Chart(
            data({"place": float(a), "rows": str(n)} for a, n in zip(at.place, at.levels.rows, strict=True))
        )
        .mark_text(fontSize=11, color="#444444", baseline="top", dy=3)
        .encode(x=_axis(found), y=alt.value(300), text="rows:N")
    )
    lm, mixed = (f"{beta[found.k]:.3g}".replace("-", "−") for beta in (p.beta_lm, p.beta))
    head = f"{name}: {lm} in lm, {mixed} in the mixed model"
    under = "Cluster means, smallest cluster left in each arm; below, the rows of each"
    return alt.layer(_fits(found, y), black, red, rows, title=title(head, under)).properties(
        width=560, height=300
    )


def points(found: Explanation) -> Any:
    """All rows before and after pooling; lm on the pooled ones falls on lm."""
    import altair as alt

    at = stage(found)
    if at is None:
        return None
    p = found.pooling
    moved = p.pooled
    again = p.refit(moved)
    y = _response(found, np.concatenate([p.model.y, moved]))
    before = _panel(found, at, p.model.y, at.raw, y, GREY, p.beta_lm, "before pooling")
    name = "after: lm on these points (thin) lies on lm on the raw ones (wide)"
    after = _panel(found, at, moved, at.pooled, y, RED, again, name)
    off = float(np.max(np.abs(again - p.beta_lm) / p.std_error))
    how = "by less than 1e-9" if off < 1e-9 else f"by {off:.0e}"  # rounding, which differs between machines
    under = f"The two lm fits differ {how} standard errors. Black: cluster means"
    if p.model.n > MOST:
        under += f"; {MOST} of {p.model.n} points are drawn"
    head = "Pooling moves the points, not lm's line: lm counts rows, pooled or not"
    return alt.hconcat(before, after, title=title(head, under))


def _panel(
    found: Explanation, at: Stage, values: Vector, bars: Vector, y: Any, colour: str, lm: Vector, name: str
) -> Any:
    import altair as alt

    n = found.pooling.model.n
    shown = np.unique(np.linspace(0, n - 1, min(n, MOST)).round().astype(int))
    across = (np.arange(n) * 0.6180339887) % 1 - 0.5  # the golden ratio: even, without a seed
    dots = [
        {"place": float(at.place[at.index[i]] + 0.8 * at.step * across[i]), "y": float(values[i])}
        for i in shown
    ]
    rules = [
        {
            "from": float(at.place[j] - 0.45 * at.step),
            "to": float(at.place[j] + 0.45 * at.step),
            "y": float(bars[j]),
        }
        for j in range(len(bars))
    ]
    wide = []
    if bars is at.pooled:
        ends = _ends(found, found.pooling.beta_lm)
        wide = [{"place": float(side), "y": float(end)} for side, end in enumerate(ends)]
    return alt.layer(
        alt.Chart(data(dots))
        .mark_point(size=9, filled=True, opacity=0.45, color=colour)
        .encode(x=_axis(found), y=y),
        alt.Chart(data(rules)).mark_rule(strokeWidth=3, color=BLACK).encode(x="from:Q", x2="to:Q", y=y),
        alt.Chart(data(wide)).mark_line(strokeWidth=9, color="#A6CEE3").encode(x=_axis(found), y=y),
        _fits(found, y, lm),
        title=alt.TitleParams(text=name, fontSize=12, fontWeight="normal", offset=2),
    ).properties(width=390, height=300)


def _axis(found: Explanation) -> Any:
    """The arms, named by the coefficient's two values."""
    import altair as alt

    low, high = np.unique(found.pooling.model.X[:, found.k])
    name = "".join(c for c in text.clean(found.coefficient) if c not in "\\'")
    return alt.X(
        "place:Q",
        title=None,
        scale=alt.Scale(domain=[-0.5, 1.5]),
        axis=alt.Axis(
            values=[0, 1],
            labelExpr=f"datum.value == 0 ? '{name} = {low:g}' : '{name} = {high:g}'",
            ticks=False,
            domain=False,
            labelFontSize=13,
            labelPadding=18,
        ),
    )


def _ends(found: Explanation, beta: Vector) -> Vector:
    """Both arms' fitted means, other predictors (and the offset) at their means."""
    model, k = found.pooling.model, found.k
    x = model.X.mean(axis=0)
    given = 0.0 if model.offset is None else float(np.mean(model.offset))
    return np.asarray(float(x @ beta) + given + (np.unique(model.X[:, k]) - x[k]) * beta[k])


def _fits(found: Explanation, y: Any, lm: Vector | None = None) -> Any:
    """Line of lm, solid, and of the mixed model, dashed."""
    import altair as alt

    p = found.pooling
    betas = zip(FITS, (p.beta_lm if lm is None else lm, p.beta), strict=True)
    records = [
        {"fit": name, "place": float(side), "y": float(end)}
        for name, beta in betas
        for side, end in enumerate(_ends(found, beta))
    ]
    dash = alt.StrokeDash(
        "fit:N",
        scale=alt.Scale(domain=list(FITS), range=[SOLID, DASHED]),
        legend=alt.Legend(**TOP, symbolSize=900),
    )
    line = alt.Chart(data(records)).mark_line(color=BLUE, strokeWidth=2.5)
    return line.encode(x=_axis(found), y=y, strokeDash=dash)


def _response(found: Explanation, values: Vector) -> Any:
    import altair as alt

    scale = alt.Scale(domain=limits(values), nice=False)
    return alt.Y("y:Q", title=text.clean(found.pooling.model.response), scale=scale)
