"""Catalogue: the page of all cases, by family, with what is known to go wrong; generated, never typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.report import text
from bridge.report.grid import Grid

if TYPE_CHECKING:
    import pandas as pd

    from bridge.case import Case
    from bridge.spec import KnownDifference

PANELS, POINTS = 6, 40
LARGEST = 20_000
"""Rows up to which a case gets a picture."""
QUIET = {True: ", silent", "varies": ", silent at times", False: ""}


def document(cases: Sequence[Case], pictures: Path | None = None) -> str:
    """docs/catalogue.md; `pictures` is the folder, beside it, of those that were drawn."""
    families: dict[str, list[Case]] = {}
    for case in cases:
        families.setdefault(case.spec.family or "none", []).append(case)
    parts = [
        "# The catalogue",
        f"{len(cases)} cases in {len(families)} families, written by `lmmbridge catalogue -o docs`. What an "
        "engine gets wrong is what the cases' known differences say: each is strict, so a test fails when it "
        "is gone.",
    ]
    parts.append(", ".join(f"[{name}](#{name})" for name in sorted(families)))
    for name, mine in sorted(families.items()):
        rows = tuple(_row(case) for case in mine)
        head = ("case", "formula", "rows", "levels", "what is hard", "certified", "who fails")
        parts += [f"## {name}", Grid(head, rows).markdown()]
        if pictures is not None:
            shown = [case.id for case in mine if (pictures / f"{case.id}.svg").is_file()]
            parts += [f"**{id}**\n\n![{id}]({pictures.name}/{id}.svg)" for id in shown]
    quiet = [(case, k) for case in cases for k in case.spec.known_difference if k.silent and not k.relation]
    parts += [
        "## Wrong without a warning",
        f"The {sum(k.silent is True for _, k in quiet)} known differences with `silent = true`, and the "
        f'{sum(k.silent == "varies" for _, k in quiet)} with `"varies"` (*at times*: rounding decides): the '
        "engine's numbers are wrong and it gave no word of warning. Measured, and held to in every run.",
    ]
    rows = tuple((case.id, *_quiet(k)) for case, k in quiet)
    parts.append(
        Grid(
            ("case", "engine", "versions", "methods", "profile", "silent", "size", "reason"), rows
        ).markdown()
    )
    return "\n\n".join(parts) + "\n"


def _quiet(k: KnownDifference) -> tuple[str, ...]:
    when = "yes" if k.silent is True else "at times"
    return k.engine, k.versions, "/".join(k.methods), "/".join(k.profile), when, str(k.size), k.reason


def _row(case: Case) -> tuple[str, ...]:
    from bridge.formula import parse

    spec, frame = case.spec, case.frame()
    levels = []
    for factors in dict.fromkeys(bar.factors for bar in parse(spec.formula).random):
        names = [factor.text for factor in factors]
        levels.append(f"{len(frame[names].dropna().drop_duplicates())} {':'.join(names)}")
    kinds = {m: f"{c.status}, {c.proof}" for m, c in case.certificates().items()}
    said = [kind if len(set(kinds.values())) == 1 else f"{m}: {kind}" for m, kind in kinds.items()]
    failing: dict[str, list[str]] = {}
    for k in spec.known_difference:
        if not k.relation:
            how = f"{'/'.join(k.verdicts)}{QUIET[k.silent]} ({k.size or 'no size'})"
            failing.setdefault(k.engine, []).append(how)
    who = "; ".join(f"{engine}: {', '.join(dict.fromkeys(how))}" for engine, how in failing.items())
    hard = (spec.why or spec.title).split(". ")[0].rstrip(".")
    certified = "; ".join(dict.fromkeys(said)) or "no"
    return case.id, spec.formula, str(len(frame)), ", ".join(levels), hard, certified, who


def picture(case: Case) -> Any:
    """A panel a group, up to six, its rows and what the certificate fits to them; None if there is none."""
    import altair as alt
    import pandas as pd

    from bridge.reference import Reference

    certificates = [c for c in case.certificates().values() if c.rows]
    if not certificates or case.spec.missing == "pass" or len(case.frame()) > LARGEST:
        return None
    model = case.model()
    reference = Reference.certified(certificates[0], model)
    fitted = model.X @ reference.beta + model.known_mean
    for term, b in zip(model.random, reference.blups, strict=True):
        fitted = fitted + (term.Z * b[term.index]).sum(axis=1)
    term = model.random[0]
    x, label = _axis(model.X, model.names, term.index)
    sizes = np.bincount(term.index, minlength=len(term.levels))
    order = np.argsort(sizes, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(PANELS, len(order))).astype(int))]
    parts: list[pd.DataFrame] = []
    for level in chosen:
        rows = np.flatnonzero(term.index == level)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).astype(int))]
        rows = rows[np.argsort(x[rows], kind="stable")]
        name = f"{text.clean(':'.join(term.levels[level]))[:16]} ({sizes[level]})"
        values = {"x": _short(x[rows]), "y": _short(model.y[rows]), "fit": _short(fitted[rows])}
        parts.append(pd.DataFrame({"group": name, **values}))
    table = pd.concat(parts)
    over = alt.Scale(zero=False)
    base = alt.Chart(table).encode(alt.X("x:Q", title=text.clean(label)[:24], scale=over))
    dots = base.mark_point(size=7, filled=True, color="#888").encode(
        alt.Y("y:Q", title=text.clean(model.response)[:24], scale=over)
    )
    line = base.mark_line(color="#c03", strokeWidth=1.5).encode(alt.Y("fit:Q", scale=over))
    panel = alt.layer(dots, line).properties(width=85, height=65)
    names = list(dict.fromkeys(table["group"]))
    facet = alt.Facet("group:N", sort=names, title=None, header=alt.Header(labelFontSize=8))
    return panel.facet(facet=facet, columns=PANELS).configure_axis(
        labelFontSize=7, titleFontSize=8, tickCount=3, grid=False
    )


def svg(chart: Any) -> str:
    """A chart's SVG, its places to a tenth of a pixel: a third of the bytes."""
    import vl_convert

    return lean(vl_convert.vegalite_to_svg(chart.to_json()))


def lean(drawn: str) -> str:
    """Without the digits that nobody sees, and the words for screen readers on each point."""
    short = re.sub(r"(\d+\.\d)\d+", r"\1", drawn)
    return re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", short)


def _axis(X: Any, names: Sequence[str], index: Any) -> tuple[Any, str]:
    """The fixed column that varies most within groups, else the row's place in its group."""
    for j, name in enumerate(names):
        column = X[:, j]
        means = np.bincount(index, column) / np.maximum(np.bincount(index), 1)
        within = float(np.std(column - means[index]))
        if within > 1e-9 * (1e-300 + float(np.max(np.abs(column)))) and len(np.unique(column)) > 2:
            return column, name
    place = np.zeros(len(index))
    for level in np.unique(index):
        rows = np.flatnonzero(index == level)
        place[rows] = np.arange(1, len(rows) + 1)
    return place, "row of its group"


def _short(values: Any) -> list[float]:
    return [float(f"{v:.5g}") if abs(v) < 1e5 else float(f"{v:.9g}") for v in values]
