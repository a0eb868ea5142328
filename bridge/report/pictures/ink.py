"""Ink: colours, titles and data that all pictures share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from bridge.levels import Levels
from bridge.leverage import Ints
from bridge.model import Model, Vector
from bridge.report import text

# Okabe & Ito's, told apart by the colour-blind; their greys differ, too.
BLACK, RED, BLUE, GREY = "#111111", "#D55E00", "#0072B2", "#999999"
SOLID, DASHED, DOTTED = [1, 0], [7, 5], [2, 3]
TOP: dict[str, Any] = {"title": None, "orient": "top"}


def data(records: Iterable[dict[str, Any]]) -> Any:
    """Records as a chart's data."""
    from altair import InlineData

    return InlineData(values=list(records))


def title(head: str, *under: str) -> Any:
    """A headline and lines under it."""
    import altair as alt

    return alt.TitleParams(text=text.clean(head), subtitle=[text.clean(line) for line in under])


def spread(rows: Ints, most: int) -> Ints:
    """Positions of up to `most` levels, spread evenly over their order by size, smallest first."""
    order = np.argsort(rows, kind="stable")
    if len(order) > most:
        order = order[np.linspace(0, len(order) - 1, most).round().astype(int)]
    return np.asarray(order)


def names(levels: Levels, order: Ints) -> list[str]:
    """``c4 (10)``: label and rows."""
    return [f"{text.clean(levels.labels[j])} ({levels.rows[j]})" for j in order]


def limits(values: Vector) -> list[float]:
    """A scale's ends, with a little room."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.06 * (high - low or 1.0)
    return [low - room, high + room]


def centred_response(model: Model) -> Vector:
    """The response without its offset."""
    return model.y if model.offset is None else model.y - model.offset
