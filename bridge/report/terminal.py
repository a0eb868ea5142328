"""Terminal: an Agreement on a rich console, in colour where there is one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from bridge.report import conventions, tables, text
from bridge.report.document import title

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.agreement import Agreement

PLAIN_WIDTH = 200  # columns when the output is a file or a pipe, and $COLUMNS says nothing
LEAST_WIDTH = 40


def console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; for a file or pipe as $COLUMNS says, or 200, never just 80."""
    from rich.console import Console

    class Plain(Console):
        """One that leaves a broken pipe to `bridge.commands`: rich would exit with 1, a disagreement."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream is not None and stream.isatty()
    return Plain(stderr=stderr, highlight=False, width=None if terminal else _plain_width())


def _plain_width() -> int:
    told = os.environ.get("COLUMNS", "")
    return max(LEAST_WIDTH, int(told)) if told.isdecimal() and int(told) else PLAIN_WIDTH


def show(agreement: Agreement, out: Console) -> None:
    """The agreement table of each case, method and profile, then the verdicts, then the answer."""
    for block, judgements in tables.blocks(agreement).items():
        out.print(title(block), style="bold", markup=False)
        if (grid := tables.quantities(judgements)) is not None:
            for part in grid.split(out.width, kept=2):
                out.print(part.rich())
        if said := conventions.note(judgements):
            out.print(text.clean(said), style="dim", markup=False)
        out.print(tables.verdicts(judgements).rich())
    _close(agreement, out)


def summarise(agreement: Agreement, out: Console) -> None:
    """A run: cases by engines, each unexpected fit with its worst rows, silent failures, what was missing."""
    for part in tables.matrix(agreement).split(out.width):
        out.print(part.rich())
    out.print(text.LEGEND, style="dim", markup=False)
    for name, reason, rows in tables.unexpected(agreement):
        out.print(f"\n{text.clean(name)}: {text.clean(reason)}", style="red", markup=False, soft_wrap=True)
        for row in rows:
            out.print(f"    {row}", markup=False, soft_wrap=True)
    if silent := [j.name for j in agreement.judgements if j.silent]:
        out.print(f"\nWrong without a warning: {text.clean(', '.join(silent))}", markup=False, soft_wrap=True)
    for name, reason in agreement.missing.items():
        out.print(f"\nNot available: {text.clean(f'{name}: {reason}')}", markup=False, soft_wrap=True)
    out.print()
    _close(agreement, out)


def _close(agreement: Agreement, out: Console) -> None:
    for note in agreement.notes:
        out.print(text.clean(note), markup=False, soft_wrap=True)
    style = "bold red" if agreement.exit_code else "bold green"
    out.print(text.clean(agreement.sentence), style=style, markup=False, soft_wrap=True)
