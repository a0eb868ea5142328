"""Pictures of an Explanation, by altair: SVG and PNG, readable in grey and by the colour-blind.

Colour never carries a meaning alone: raw is a black bar or open circle, pooled a vermilion bar of another
length or a filled diamond; lm is a solid line, the mixed model a dashed one.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bridge.errors import UnavailableError

if TYPE_CHECKING:
    from bridge.explanation import Explanation

NEEDED = {"altair": "altair", "vl-convert-python": "vl_convert"}


def lacking() -> str:
    """What must be installed to draw; empty if nothing."""
    return " and ".join(name for name, module in NEEDED.items() if not find_spec(module))


def require() -> None:
    """UnavailableError unless pictures can be drawn."""
    if lacking():
        raise UnavailableError(
            f"pictures: need {lacking()}; pip install 'lmmbridge[report]', or leave -o out"
        )


def svg(chart: Any) -> str:
    """A chart as SVG text."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.to_dict()))


def png(chart: Any) -> bytes:
    """A chart as PNG, two pixels a point."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=2))


def charts(found: Explanation) -> dict[str, Any]:
    """Altair charts that the model has, by name: means, points, weights, shrinkage, lines.

    ``means`` and ``points`` need two arms: a coefficient with two values, the same in all rows of a cluster.
    ``lines`` needs a random intercept and one random slope.
    """
    from bridge.report.pictures import arms, arrows, lines, shares

    made = {
        "means": arms.means(found),
        "points": arms.points(found),
        "weights": shares.shares(found),
        "shrinkage": arrows.arrows(found),
        "lines": lines.lines(found),
    }
    return {name: _dressed(chart) for name, chart in made.items() if chart is not None}


def _dressed(chart: Any) -> Any:
    return (
        chart.configure_view(stroke=None)
        .configure(background="white", font="sans-serif")
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", grid=False)
        .configure_legend(labelFontSize=12, titleFontSize=12, symbolStrokeWidth=2, labelLimit=320)
        .configure_title(fontSize=14, anchor="start", subtitleFontSize=12, subtitleColor="#444444", offset=12)
        .configure_header(labelFontSize=11, titleFontSize=12)
    )
