"""``lmmbridge diff``: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common

Run = Annotated[Path, typer.Argument(help="Folder that lmmbridge run --report wrote, or its report.json.")]


@common.ending
def diff(
    before: Run,
    after: Run,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "--out", "-o", metavar="FILE.html", help="Write a page; FILE.md writes Markdown."
        ),
    ] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 even if a verdict is worse.")
    ] = False,
) -> int:
    """What changed between two runs: verdicts, numbers beyond tolerance, digits, times.

    The runs are named by the software in which they differ. Exits with 1 if a verdict became worse.

    - `lmmbridge run --report before`, then upgrade R, then `lmmbridge run --report after`

    - `lmmbridge diff before after -o drift.html`
    """
    from bridge.drift import drift, numbers
    from bridge.output import check_file, write_bytes
    from bridge.report import drift as shown
    from bridge.report import page
    from bridge.report.results import read
    from bridge.report.terminal import console
    from bridge.report.text import clean

    if output is not None:
        check_file(output, f"-o {output}")
    earlier, later = read(before), read(after)
    found = drift(earlier, later, (numbers(before, earlier), numbers(after, later)))
    out = console()
    out.print(clean(shown.heading(found)), style="bold", markup=False, soft_wrap=True)
    for title, grid in shown.tables(found):
        out.print(f"\n{title}", style="bold", markup=False)
        out.print(grid.rich())
    out.print(
        f"\n{clean(found.sentence)}", style="bold red" if found.exit_code else "bold green", markup=False
    )
    out.print(found.compared, style="dim", markup=False, soft_wrap=True)
    if output is not None:
        if output.suffix == ".md":
            written = shown.markdown(found)
        else:
            page.require()
            source = after if after.is_dir() else after.parent
            written = page.render(later, source, drift=page.Changes.of(found))
        write_bytes(written.encode(), output)
        out.print(f"Written: {output}", markup=False, soft_wrap=True)
    return 0 if exit_zero else found.exit_code
