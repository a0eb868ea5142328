"""Charts of the page, as SVG that takes its ink from the page: digits, speed, Python against R."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bridge.report import text
from bridge.report.digits import SHOWN
from bridge.report.pictures.ink import data
from bridge.report.results import Number, Pair, Results

# 3:1 or better on the page's white and on its black; shapes say the same for those who see no colour.
INKS = ("#3b82c4", "#d1662a", "#2a9d78", "#b0569b", "#a5821f", "#7a7fd1", "#80868f", "#c2506a")
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "stroke", "triangle-right")
FLOOR = 1e-17
"""Differences are drawn on a log axis; those that are exactly 0 lie on its floor."""
UNITS = {"beta": "SE", "var": "G+F", "BLUP": "sqrt(G+F)"}
NAMES = {"beta": "Fixed effects", "var": "Variance components", "BLUP": "BLUPs"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart: its SVG, its caption, and what it shows in words."""

    name: str
    svg: str
    caption: str
    label: str


def figures(results: Results) -> Iterator[Figure]:
    """Every chart that there is something for."""
    for make in (digits, speed):
        if (found := make(results)) is not None:
            yield found


def against_r(results: Results) -> Iterator[Figure]:
    """Value against value, then difference against size, for each kind of number."""
    for draw in (scatter, differences):
        for quantity in NAMES:
            pairs = [p for p in results.pairs if p.quantity == quantity and math.isfinite(p.a + p.b)]
            if pairs:
                yield draw(quantity, pairs)


def digits(results: Results) -> Figure | None:
    """Distribution of each engine's correct digits: a fit's worst among G, sigma, beta, SE and BLUPs."""
    import altair as alt

    found = list(_worst(results))
    if not found:
        return None
    order = list(dict.fromkeys(engine for engine, *_ in found))
    values = [{"engine": e, "profile": p, "digits": d} for e, p, d, _ in found]
    profiles = list(dict.fromkeys(p for _, p, _, _ in found))
    ink = alt.Scale(domain=profiles, range=list(INKS[: len(profiles)]))
    legend = alt.Legend(orient="top") if len(profiles) > 1 else None
    base = alt.Chart(data(values)).encode(
        y=alt.Y("engine:N", sort=order, title=None),
        x=alt.X("digits:Q", title="correct digits of a fit's worst number", scale=alt.Scale(domain=[0, 15])),
        yOffset=alt.YOffset("profile:N", sort=profiles),
        color=alt.Color("profile:N", scale=ink, legend=legend, title=None),
    )
    boxes = base.mark_boxplot(
        extent="min-max", size=9, rule={"color": "currentColor"}, median={"color": "white", "strokeWidth": 2}
    )
    chart = boxes.properties(width=430, height=alt.Step(16 if len(profiles) > 1 else 24))
    said = "; ".join(
        f"{e} {median(d for n, p, d, _ in found if n == e and p == 'default'):.1f}"
        for e in order
        if any(n == e and p == "default" for n, p, _, _ in found)
    )
    caption = (
        "Correct digits (LRE) of the worst number among variances, sigma, fixed effects, standard errors and "
        "BLUPs of each fit: box from quartile to quartile with the median in white, whiskers to the extremes."
    )
    return Figure("digits", svg(chart, "digits"), caption, f"Median digits by default: {said}")


def speed(results: Results) -> Figure | None:
    """Each engine's median time against its median digits."""
    import altair as alt

    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for engine, profile, lre, seconds in _worst(results):
        if seconds > 0:
            groups.setdefault((engine, profile), []).append((seconds, lre))
    if not groups:
        return None
    values: list[dict[str, Any]] = [
        {
            "engine": engine,
            "profile": profile,
            "ms": 1e3 * median(s for s, _ in these),
            "digits": median(d for _, d in these),
        }
        for (engine, profile), these in groups.items()
    ]
    profiles = list(dict.fromkeys(profile for _, profile in groups))
    colour = alt.Color(
        "profile:N",
        scale=alt.Scale(domain=profiles, range=list(INKS[: len(profiles)])),
        title=None,
        legend=alt.Legend(orient="top") if len(profiles) > 1 else None,
    )
    shape = alt.Shape("profile:N", scale=alt.Scale(domain=profiles, range=list(SHAPES[: len(profiles)])))
    base = alt.Chart(data(values)).encode(
        x=alt.X(
            "ms:Q",
            scale=alt.Scale(type="log", padding=30),
            title="median time of a fit, ms (log)",
            axis=_powers([1e3 * median(s for s, _ in these) for these in groups.values()]),
        ),
        y=alt.Y("digits:Q", scale=alt.Scale(domain=[0, 15.5]), title="median correct digits"),
    )
    for value, place in zip(values, _spread(values), strict=True):
        value["place"] = place
    points = base.mark_point(filled=True, size=70, opacity=1).encode(color=colour, shape=shape)
    names = base.mark_text(align="left", dx=8, fontSize=11, color="currentColor").encode(
        y="place:Q", text="engine:N"
    )
    lines = base.mark_line(strokeWidth=1, opacity=0.5, color="currentColor").encode(detail="engine:N")
    layers = (lines, points) if len(profiles) > 1 else (points,)
    named = names.transform_filter(f"datum.profile == '{profiles[0]}'")
    chart = alt.layer(*layers, named).properties(width=430, height=330)
    said = "; ".join(
        f"{v['engine']} {v['ms']:.2g} ms, {v['digits']:.1f} digits"
        for v in values
        if v["profile"] == profiles[0]
    )
    caption = (
        "Up and to the left is better. Medians over the fits that gave numbers, each engine's own time; an "
        "engine that supports fewer models is measured on fewer and easier ones."
    )
    return Figure("speed", svg(chart, "speed"), caption, said)


def _spread(values: Sequence[Mapping[str, Any]]) -> list[float]:
    """Heights for labels beside their points, moved up until none lies on another."""
    line, width = 0.6, 0.75  # a line's height in digits; a label's width in powers of ten
    placed: list[tuple[float, float]] = []
    heights = [0.0] * len(values)
    for i in sorted(range(len(values)), key=lambda i: float(values[i]["digits"])):
        left, height = math.log10(values[i]["ms"]), float(values[i]["digits"])
        while any(abs(left - x) < width and abs(height - y) < line for x, y in placed):
            height += line / 4
        placed.append((left, height))
        heights[i] = height
    return heights


def scatter(quantity: str, pairs: Sequence[Pair]) -> Figure:
    """Python's value against R's, on a symmetric log scale: agreement is the diagonal."""
    import altair as alt

    r = pairs[0].r
    scale = alt.Scale(type="symlog", constant=1)
    values = [{"python": p.python, "a": p.a, "b": p.b} for p in pairs]
    ends = [min(min(p.a, p.b) for p in pairs), max(max(p.a, p.b) for p in pairs)]
    axis = alt.Axis(values=_ticks(*ends), format="~g", labelOverlap="greedy", labelSeparation=6)
    diagonal = (
        alt.Chart(data([{"b": e, "a": e} for e in ends]))
        .mark_line(color="currentColor", strokeWidth=1, opacity=0.6)
        .encode(x=alt.X("b:Q", scale=scale), y=alt.Y("a:Q", scale=scale))
    )
    points = _dots(alt.Chart(data(values)), pairs).encode(
        x=alt.X("b:Q", scale=scale, axis=axis, title=f"{r} (R)"),
        y=alt.Y("a:Q", scale=scale, axis=axis, title="Python engine"),
    )
    chart = (diagonal + points).properties(width=250, height=250)
    name = NAMES[quantity]
    return Figure(
        f"scatter-{quantity}",
        svg(chart, f"scatter-{quantity}"),
        f"{name}: value against value (symmetric log).",
        f"{name}: {len(pairs)} of Python engines against {r}; on the diagonal they agree.",
    )


def differences(quantity: str, pairs: Sequence[Pair]) -> Figure:
    """How far two engines are apart in the unit of the tolerance, against the size of the number."""
    import altair as alt

    means = [max(abs(p.a + p.b) / 2, 1e-12) for p in pairs]
    apart = [max(p.difference, FLOOR) if math.isfinite(p.difference) else 1e3 for p in pairs]
    values = [
        {"python": p.python, "mean": mean, "apart": far}
        for p, mean, far in zip(pairs, means, apart, strict=True)
    ]
    points = _dots(alt.Chart(data(values)), pairs).encode(
        x=alt.X(
            "mean:Q",
            scale=alt.Scale(type="log"),
            axis=_powers(means),
            title="size: |mean of the two|",
        ),
        y=alt.Y(
            "apart:Q",
            scale=alt.Scale(type="log"),
            axis=_powers(apart),
            title=f"difference / {UNITS[quantity]}",
        ),
    )
    worst = max(pairs, key=lambda p: p.difference)
    name = NAMES[quantity]
    return Figure(
        f"difference-{quantity}",
        svg(points.properties(width=250, height=250), f"difference-{quantity}"),
        f"{name}: difference against size (log).",
        f"Largest difference {text.size(worst.difference)} {UNITS[quantity]}: {worst.python} and {worst.r}, "
        f"{worst.case}, {worst.method}, {worst.what}.",
    )


def _dots(chart: Any, pairs: Sequence[Pair]) -> Any:
    import altair as alt

    names = sorted({p.python for p in pairs})
    inks = [INKS[i % len(INKS)] for i in range(len(names))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    legend = alt.Legend(orient="bottom", columns=3, symbolOpacity=1)
    return chart.mark_point(size=22, opacity=0.75, strokeWidth=1.2).encode(
        color=alt.Color("python:N", scale=alt.Scale(domain=names, range=inks), legend=legend, title=None),
        shape=alt.Shape("python:N", scale=alt.Scale(domain=names, range=shapes), legend=legend, title=None),
    )


def _ticks(low: float, high: float) -> list[float]:
    """0 and powers of ten, each side as far as the numbers go."""
    tops = [math.floor(math.log10(end)) if end >= 1 else -1 for end in (high, -low)]
    step = max(1, math.ceil((sum(tops) + 2) / 7))
    most = [range(0, top + 1, step) for top in tops]
    return [-(10.0**k) for k in reversed(most[1])] + [0.0] + [10.0**k for k in most[0]]


def _worst(results: Results) -> Iterator[tuple[str, str, Number, Number]]:
    """Engine, profile, worst digits and seconds of each mixed-model fit that gave numbers."""
    partial = {engine.name for engine in results.engines if engine.pooling == "partial"}
    for fit in results.fits:
        found = [fit.digits[kind][0] for kind in SHOWN if kind in fit.digits]
        if found and fit.engine in partial:
            yield fit.engine, fit.profile, min(found), fit.seconds


def _powers(values: Sequence[float]) -> dict[str, Any]:
    """An axis with at most five powers of ten."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    step = max(1, math.ceil((high - low) / 4))
    ticks = [float(f"1e{k}") for k in range(low, high + 1, step)]
    return {"values": ticks, "format": "~g" if low >= -3 and high <= 6 else "~e"}


_MARK = re.compile(r'<path transform="translate\(([-\d.e]+),([-\d.e]+)\)" d="([MLAZ\d.,e-]+)" ([^<>]*)/>')
_RUN = re.compile(r'(?:<path transform="translate\([^<>]*/>){2,}')


def _joined(run: re.Match[str]) -> str:
    """Marks of one look as one path: a tenth of the text, and of what a browser must keep.

    A mark is drawn by absolute M, L, A and Z about its centre; here each is moved to where it stands.
    """
    looks: dict[str, list[str]] = {}
    for x, y, shape, look in _MARK.findall(run[0]):
        moved = []
        for command, values in re.findall(r"([MLAZ])([^MLAZ]*)", shape):
            numbers = [float(value) for value in values.split(",") if value]
            if numbers:
                numbers[-2:] = [numbers[-2] + float(x), numbers[-1] + float(y)]
            moved.append(command + ",".join(f"{number:.1f}".removesuffix(".0") for number in numbers))
        looks.setdefault(look, []).append("".join(moved))
    return "".join(f'<path d="{"".join(marks)}" {look}/>' for look, marks in looks.items())


def svg(chart: Any, name: str) -> str:
    """A chart as SVG whose text is in the page's ink, and whose ids are its own."""
    from bridge.report import pictures

    grey = "#80868f"
    dressed = (
        chart.configure(
            background="transparent",
            padding={"left": 18, "right": 8, "top": 5, "bottom": 5},
            font="system-ui, sans-serif",
            aria=False,
        )
        .configure_view(stroke=grey, strokeOpacity=0.4)
        .configure_axis(
            labelColor="currentColor",
            titleColor="currentColor",
            labelFontSize=11,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=10,
            gridColor=grey,
            gridOpacity=0.2,
            domainColor=grey,
            tickColor=grey,
            labelLimit=140,
        )
        .configure_legend(labelColor="currentColor", labelFontSize=11, symbolStrokeWidth=1.5)
    )
    found = _RUN.sub(_joined, pictures.svg(dressed))
    for known in set(re.findall(r'\bid="([^"]+)"', found)):
        found = found.replace(f'id="{known}"', f'id="{name}-{known}"')
        found = found.replace(f"url(#{known})", f"url(#{name}-{known})")
    return found.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
