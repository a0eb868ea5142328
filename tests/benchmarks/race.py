"""Race: the numpy engine, glmm and lme4 on the same data in one process, one thread each, in CPU seconds.

``OPENBLAS_NUM_THREADS=1 RAYON_NUM_THREADS=1 python -m tests.benchmarks.race tables`` (and ``plot``)
measures what is in docs/speed.md; ``plot`` draws docs/figures/speed.svg. CPU time, not wall time, so that
other work on the machine weighs less; engines take turns, and the least of several rounds counts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd

from bridge.engines.numpy import Numpy
from bridge.model import build

COLOURS = {"numpy": "#0072b2", "glmm": "#d55e00", "lme4": "#555555"}


def into_r(frame: pd.DataFrame) -> None:
    """The frame as `d` in R, text as factors; lme4 loaded."""
    import rpy2.robjects as ro

    columns = {
        name: ro.FloatVector(column.to_numpy(float))
        if pd.api.types.is_numeric_dtype(column)
        else ro.StrVector(column.astype(str).tolist())
        for name, column in frame.items()
    }
    ro.globalenv["d"] = ro.r("function(...) data.frame(..., stringsAsFactors = TRUE)")(**columns)
    ro.r("suppressMessages(library(lme4))")


def runners(formula: str, frame: pd.DataFrame, method: str) -> dict[str, Callable[[], float]]:
    """What is installed of the three: from data frame and formula to the log-likelihood."""
    found = {"numpy": lambda: Numpy().fit(build(formula, frame), method, "default").loglik}
    if find_spec("glmm"):
        import glmm

        found["glmm"] = lambda: glmm.fit(frame, formula, reml=method == "REML").loglik
    if find_spec("rpy2"):
        import rpy2.robjects as ro

        into_r(frame)
        call = f"function() c(logLik(lmer({formula}, d, REML = {str(method == 'REML').upper()})))"
        lmer = ro.r(call)
        found["lme4"] = lambda: float(lmer()[0])
    return found


def race(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each; once is enough for whom it took ten.

    Those that take milliseconds run five times in a row: what the others left in the caches is no part of it.
    """
    least = dict.fromkeys(contestants, math.inf)
    for _ in range(rounds):
        for name, run in contestants.items():
            if 10 < least[name] < math.inf:
                continue
            for _ in range(5 if least[name] < 0.1 else 1):
                start = process_time()
                run()
                least[name] = min(least[name], process_time() - start)
    return least


def grouped(rows: int, levels: int) -> pd.DataFrame:
    """One grouping factor, intercepts and slopes that vary, sizes as equal as they can be."""
    rng = np.random.default_rng(1)
    group, x = np.arange(rows) % levels, rng.normal(size=rows)
    u, v = rng.normal(size=levels), 0.5 * rng.normal(size=levels)
    y = 1 + x + u[group] + v[group] * x + rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in group]})


def insteval() -> pd.DataFrame:
    """lme4's InstEval: 73,421 ratings, crossed factors of 2972, 1128 and 14 levels."""
    import rpy2.robjects as ro

    ro.r('data(InstEval, package = "lme4")')
    return pd.DataFrame(
        {
            name: np.array(ro.r(f"as.numeric(as.character(InstEval${name}))"))
            for name in ("y", "s", "d", "dept", "service")
        }
    ).astype(dict.fromkeys(("s", "d", "dept", "service"), "str"))


def growth(sizes: list[tuple[int, int]], formula: str) -> dict[str, list[float]]:
    """Seconds by engine at each (rows, levels); NaN once an engine has needed ten seconds."""
    times: dict[str, list[float]] = {name: [] for name in COLOURS}
    for rows, levels in sizes:
        contestants = runners(formula, grouped(rows, levels), "REML")
        late = [
            name for name, past in times.items() if name not in contestants or (past and not past[-1] < 10)
        ]
        measured = race({n: run for n, run in contestants.items() if n not in late}, 3 if rows < 1e5 else 1)
        for name, past in times.items():
            past.append(measured.get(name, math.nan))
        print(rows, levels, {name: round(past[-1], 4) for name, past in times.items()}, file=sys.stderr)
    return times


def panel(left: int, title: str, ticks: list[int], times: dict[str, list[float]]) -> list[str]:
    """One log-log panel of 360 by 300."""
    x = [left + 50 + 290 * math.log(t / ticks[0]) / math.log(ticks[-1] / ticks[0]) for t in ticks]

    def height(seconds: float) -> float:
        return 250 - 210 * (math.log10(seconds) + 3) / 5

    out = [f'<text x="{left + 195}" y="22" text-anchor="middle" font-weight="bold">{title}</text>']
    for power in range(-3, 3):
        y = height(10.0**power)
        out.append(f'<path d="M{left + 50} {y:.0f}h290" stroke="#ddd"/>')
        out.append(f'<text x="{left + 44}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g} s</text>')
    out += [
        f'<text x="{a:.0f}" y="270" text-anchor="middle">{t:g}</text>' for a, t in zip(x, ticks, strict=True)
    ]
    for name, values in times.items():
        points = [(a, height(v)) for a, v in zip(x, values, strict=True) if math.isfinite(v)]
        if points:
            line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
            out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{COLOURS[name]}"/>' for a, b in points]
            end = points[-1]
            out.append(
                f'<text x="{end[0] - 6:.0f}" y="{end[1] - 8:.0f}" text-anchor="end" '
                f'fill="{COLOURS[name]}">{name}</text>'
            )
    return out


def table(head: str, rows: dict[str, dict[str, float]]) -> str:
    """Markdown; seconds, and the numpy engine's as a share of the others'."""
    lines = [f"| {head} | numpy | glmm | lme4 | numpy / glmm | numpy / lme4 |", "|---|---|---|---|---|---|"]
    for label, t in rows.items():
        n, g, r = (t.get(name, math.nan) for name in COLOURS)
        cells = [f"{1e3 * v:.2f} ms" if v < 0.1 else f"{v:.2f} s" for v in (n, g, r)]
        lines.append(f"| {label} | {' | '.join(cells)} | {n / g:.2f} | {n / r:.2f} |".replace("nan s", "-"))
    return "\n".join(lines).replace("| nan |", "| - |")


def tables() -> None:
    """Print sleepstudy, InstEval and 100,000 groups."""
    from tests.engines.test_numpy import DAYS, case

    frame = case("sleepstudy")
    model = build(DAYS, frame)
    contestants = runners(DAYS, frame, "REML")
    contestants["alone"] = lambda: Numpy().fit(model, "REML", "default").loglik
    whole = race(contestants, 60)
    alone = {**whole, "numpy": whole["alone"]}
    rows = {"sleepstudy, formula and design included": whole, "sleepstudy, the fit alone": alone}
    print(table("data", rows), flush=True)
    for formula in ("y ~ x + (1 | g)", "y ~ x + (1 + x | g)"):
        took = race(runners(formula, grouped(400_000, 100_000), "REML"), 2)
        print(
            table("data", {f"400,000 rows, 100,000 groups, `{formula.replace('|', '&#124;')}`": took}),
            flush=True,
        )
    crossed = "y ~ service + (1 | s) + (1 | d) + (1 | dept)"
    print(table("data", {"InstEval, ML": race(runners(crossed, insteval(), "ML"), 3)}), flush=True)


def plot() -> None:
    """Print and draw time against rows and against levels."""
    n, q = [1_000, 10_000, 100_000, 1_000_000], [10, 100, 1_000, 10_000, 100_000]
    by_rows = growth([(size, 100) for size in n], "y ~ x + (1 + x | g)")
    by_levels = growth([(200_000, size) for size in q], "y ~ x + (1 | g)")
    for head, sizes, times in (("rows, 100 groups", n, by_rows), ("groups, 200,000 rows", q, by_levels)):
        rows = {f"{s:,}": {e: t[i] for e, t in times.items()} for i, s in enumerate(sizes)}
        print("\n" + table(head, rows), flush=True)
    drawn = panel(0, "rows, 100 groups, (1 + x | g)", n, by_rows)
    drawn += panel(360, "groups, 200,000 rows, (1 | g)", q, by_levels)
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 290" font-size="12">'
    target = Path(__file__).parents[2] / "docs" / "figures" / "speed.svg"
    body = "\n".join(['<rect width="720" height="290" fill="white"/>', *drawn])
    target.write_text(f"{svg}\n{body}\n</svg>\n", encoding="utf-8")


if __name__ == "__main__":
    {"tables": tables, "plot": plot}[sys.argv[1]]()
