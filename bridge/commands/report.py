"""``lmmbridge report``: the page of a run that is stored, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common

Formal = Annotated[
    bool,
    typer.Option("--formal", help="With requirement ids, a place for signatures and every tolerance."),
]


@common.ending
def report(
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="Folder that lmmbridge run --report wrote.")
    ] = Path("reports"),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "--out", "-o", metavar="FOLDER", help="Where to write; by default RESULTS itself."
        ),
    ] = None,
    formal: Formal = False,
) -> None:
    """Draw the page of an earlier run again; nothing is fitted.

    - `lmmbridge run --profile both --report reports`, then `lmmbridge report reports -o out`

    - `lmmbridge report --formal -o validation`: with requirement ids and a place for signatures
    """
    from bridge.output import make_folder, write_bytes
    from bridge.report import page
    from bridge.report.results import dump, read
    from bridge.report.summary import summary
    from bridge.report.terminal import console

    page.require()
    found = read(results)
    source = results if results.is_dir() else results.parent
    folder = source if output is None else make_folder(output, f"-o {output}")
    write_bytes(page.render(found, source, formal).encode(), folder / page.FILE)
    if folder != source:
        write_bytes(dump(found).encode(), folder / "report.json")
        write_bytes(summary(found).encode(), folder / "summary.md")
    console().print(f"Written: {folder / page.FILE}", markup=False, soft_wrap=True)
