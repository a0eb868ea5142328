"""``lmmbridge catalogue``: the page of all cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def catalogue(
    out: Annotated[
        Path, typer.Option("--output", "--out", "-o", help="Folder for catalogue.md and its pictures.")
    ] = Path("docs"),
    pictures: Annotated[
        bool, typer.Option("--pictures/--text", help="Draw those that are missing, or write the text alone.")
    ] = True,
) -> None:
    """Write the page of the catalogue: by family, each case, what is hard, and who fails.

    Who fails, and how, is taken from the known differences in case.toml. A picture of a case shows
    up to six groups, their rows and the certified fit; remove one to have it drawn again.

    - `lmmbridge catalogue -o docs`
    """
    from bridge.case import find
    from bridge.output import make_folder, write_bytes
    from bridge.report.catalogue import document, picture, svg
    from bridge.report.terminal import console

    make_folder(out, f"-o {out}")
    cases = find([], common.roots([]))
    folder = make_folder(out / "catalogue", f"-o {out}: {out / 'catalogue'}")
    for case in cases if pictures else ():
        path = folder / f"{case.id}.svg"
        if not path.exists() and (drawn := picture(case)) is not None:
            write_bytes(svg(drawn).encode(), path)
    write_bytes(document(cases, folder).encode(), out / "catalogue.md")
    console().print(f"Written: {out / 'catalogue.md'} ({len(cases)} cases)", markup=False, soft_wrap=True)
