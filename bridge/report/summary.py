"""Summary: a run in a few lines of Markdown, for the summary of a CI job."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bridge.report import text
from bridge.report.grid import Grid

if TYPE_CHECKING:
    from bridge.report.results import Results

MOST = 20


def summary(results: Results) -> str:
    """The sentence, an engine a row, and what is not expected."""
    sign = text.FAILS if results.exit_code else text.AGREES
    rows = []
    for engine in results.engines:
        counts = Counter(fit.symbol for fit in results.fits if fit.engine == engine.name)
        silent = sum(fit.silent for fit in results.fits if fit.engine == engine.name)
        shown = (counts[s] for s in (text.AGREES, text.KNOWN, text.FAILS, text.NEUTRAL))
        rows.append((engine.name, *map(str, shown), str(silent)))
    head = ("engine", "✓ right", "≈ expected", "✗ not expected", "– not run", "wrong without a warning")
    parts = [
        f"### {sign} {text.markdown(results.sentence)}",
        Grid(head, tuple(rows), numeric=True).markdown(),
    ]
    odd = [fit for fit in results.fits if not fit.expected]
    parts += [
        f"- **{text.markdown(f'{f.case}, {f.method}, {f.engine}, {f.profile}')}**: {f.symbol} {f.words}: "
        f"{text.markdown(f.surprise or f.reason)}"
        for f in odd[:MOST]
    ]
    if len(odd) > MOST:
        parts.append(f"{len(odd) - MOST} more are in the report.")
    parts += [
        f"Not available: {text.markdown(f'{e.name}: {e.missing}')}" for e in results.engines if e.missing
    ]
    return "\n\n".join(parts) + "\n"
