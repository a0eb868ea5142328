"""Badge: one line about an engine as an SVG of its own, with nothing fetched from anywhere."""

from __future__ import annotations

from bridge.conformance import Outcome, Score
from bridge.report import text

LABEL = "lmmbridge"
GREEN, RED, ORANGE, GREY = "#2e7d32", "#b71c1c", "#a84300", "#555"
"""White text on each has a contrast of at least 5 to 1."""

_NARROW, _WIDE = "fijltrI1 ,./:;|!'()[]-", "mwMW%"


def width(words: str) -> float:
    """About how wide a text is at 11 px in Verdana or DejaVu Sans; `svg` makes any font keep to it."""
    return sum(4.7 if c in _NARROW else 10.5 if c in _WIDE else 7.1 for c in words)


def colour(score: Score) -> str:
    """Green: nothing wrong; red: something wrong without a warning; orange: wrong, and said so."""
    if score.counts[Outcome.SILENT]:
        return RED
    if score.failing:
        return ORANGE
    return GREEN if score.ranked else GREY


def svg(score: Score) -> str:
    """The badge, 20 px high, with its text as title and description for who cannot see it."""
    label, said = LABEL, text.html(score.sentence)
    left, right = width(label) + 12, width(score.sentence) + 12
    whole = left + right
    what = text.html(f"{score.engine}, profile {score.profile}")
    parts = "".join(
        f'<text x="{middle:.1f}" y="14" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs">'
        f"{words}</text>"
        for middle, length, words in (
            (left / 2, left - 12, label),
            (left + right / 2, right - 12, said),
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.1f}" height="20" '
        f'viewBox="0 0 {whole:.1f} 20" role="img" aria-labelledby="title desc">'
        f'<title id="title">{label}: {said}</title>'
        f'<desc id="desc">Mixed-model fits of {what} that agree with the certified optimum</desc>'
        f'<clipPath id="round"><rect width="{whole:.1f}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#round)"><rect width="{left:.1f}" height="20" fill="#333"/>'
        f'<rect x="{left:.1f}" width="{right:.1f}" height="20" fill="{colour(score)}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f"{parts}</g></svg>\n"
    )
