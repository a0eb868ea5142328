"""Figures: zip plot, bias and RMSE along the grid, failures; altair, as SVG and PNG."""

from __future__ import annotations

import math
from typing import Any

from bridge.study.cell import spell
from bridge.study.summary import SHOWN, Summary

PANES = 12
"""Most that `along` draws; of more, as many from all over the grid."""
PALETTE = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def figures(summary: Summary) -> dict[str, Any]:
    """Charts by name; those that the study has nothing for are left out."""
    made = {"zip": zipped(summary), "bias": along(summary, "bias"), "rmse": along(summary, "rmse")}
    made["failures"] = failures(summary)
    return {name: chart for name, chart in made.items() if chart is not None}


def zipped(summary: Summary) -> Any:
    """95 % t intervals of the first replicates, most improbable on top; red misses the truth."""
    import altair as alt

    rows = []
    keys = list(summary.tallies)
    places = sorted({key[0] for key in keys})
    chosen = {places[i * (len(places) - 1) // 2] for i in range(3)} if len(places) > 2 else set(places)
    for (place, engine, method, profile, estimand), tally in summary.tallies.items():
        if place not in chosen:
            continue
        shown = [s for s in tally.shown if all(map(math.isfinite, s))]
        shown.sort(key=lambda s: abs(s[0] - tally.truth) / max(s[2] - s[1], 1e-300))
        for rank, (_, low, high) in enumerate(shown):
            rows.append(
                {
                    "centile": 100 * (rank + 0.5) / len(shown),
                    "low": low - tally.truth,
                    "high": high - tally.truth,
                    "holds the truth": "yes" if low <= tally.truth <= high else "no",
                    "who": who(engine, method, profile),
                    "where": f"{spell(summary.cells[place].at)}: {estimand}",
                }
            )
    if not rows:
        return None
    bars = (
        _chart(rows)
        .mark_rule(strokeWidth=0.7, clip=True)
        .encode(
            x=alt.X("low:Q", title=None, axis=alt.Axis(tickCount=4, labelOverlap=True)),
            x2="high:Q",
            y=alt.Y("centile:Q", title="centile", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color(
                "holds the truth:N",
                scale=alt.Scale(domain=["yes", "no"], range=["#9ab", "#D55E00"]),
                legend=alt.Legend(orient="top"),
            ),
        )
        .properties(width=190, height=150)
    )
    label = alt.Header(labelAngle=0, labelAlign="left", labelExpr="split(datum.label, ': ')")
    title = alt.TitleParams(
        "95 % t intervals minus the truth",
        subtitle=f"first {SHOWN} replicates at most; the larger |estimate − truth| / width, the higher",
        anchor="start",
    )
    chart = bars.facet(
        column=alt.Column("who:N", title=None), row=alt.Row("where:N", title=None, header=label), title=title
    )
    return chart.resolve_scale(x="independent")


def along(summary: Summary, measure: str) -> Any:
    """A measure against the first key of the grid that takes several numbers, with Monte Carlo intervals."""
    import altair as alt

    records = summary.records()
    axis = next(
        (n for n in summary.cells[0].at if len({_number(r.get(n)) for r in records} - {None}) > 1), None
    )
    if axis is None or not any(measure in r for r in records):
        return None
    other = [name for name in summary.cells[0].at if name != axis]
    rows = [
        {
            "at": r[axis],  # under a name of its own: a dot in a field's name means a field within
            measure: r[measure],
            "low": r[measure] - 1.96 * r[f"{measure}_mcse"],
            "high": r[measure] + 1.96 * r[f"{measure}_mcse"],
            "who": who(r["engine"], r["method"], r["profile"]),
            "where": ", ".join([*(f"{name} {r[name]}" for name in other), r["estimand"]]),
        }
        for r in records
        if measure in r and _number(r[axis]) is not None
    ]
    panes = list(dict.fromkeys(row["where"] for row in rows))
    kept = {panes[i * len(panes) // PANES] for i in range(PANES)} if len(panes) > PANES else set(panes)
    rows = [row for row in rows if row["where"] in kept]
    title = measure.upper() if measure == "rmse" else measure
    base = _chart(rows).encode(
        x=alt.X("at:Q", title=axis),
        color=alt.Color("who:N", title=None, scale=alt.Scale(range=PALETTE)),
    )
    line = base.mark_line(point=True).encode(
        y=alt.Y(f"{measure}:Q", title=title), strokeDash=alt.StrokeDash("who:N", legend=None)
    )
    bars = base.mark_rule().encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    faceted = (
        alt.layer(bars, line)
        .properties(width=260, height=220)
        .facet(facet=alt.Facet("where:N", title=None), columns=3)
    )
    return faceted.resolve_scale(y="independent")


def failures(summary: Summary) -> Any:
    """Share of failures of each engine, and of silent ones, with Wilson's intervals; all designs together."""
    import altair as alt

    from bridge.study.report import failing

    rows = failing(summary)
    if not rows:
        return None
    kinds = {"failed": "all failures", "silent": "silent failures"}
    long = [
        {"who": row["who"], "kind": words, "share": row[k], "low": row[f"{k}_low"], "high": row[f"{k}_high"]}
        for row in sorted(rows, key=lambda row: -row["failed"])
        for k, words in kinds.items()
    ]
    names = list(kinds.values())
    base = _chart(long).encode(
        y=alt.Y("who:N", title=None, sort=None),
        yOffset=alt.YOffset("kind:N", sort=names),
        color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=names, range=["#555555", "#D55E00"])),
    )
    bars = base.mark_rule().encode(x=alt.X("low:Q", title="share of fits, 95 % interval"), x2="high:Q")
    points = base.mark_point(filled=True, size=70).encode(
        x="share:Q", shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=names))
    )
    return alt.layer(bars, points).properties(width=420, height=alt.Step(16))


def _chart(rows: list[dict[str, Any]]) -> Any:
    import altair as alt

    data: Any = alt.Data
    return alt.Chart(data(values=rows))


def who(engine: str, method: str, profile: str) -> str:
    """An engine, or a baseline, in words."""
    return " ".join([engine, *(word for word in (method, profile) if word not in ("-", "default"))])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
