"""``lmmbridge engines``: what is available, in which version, else why not."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def engines(
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Also how many MB each engine's software takes.")
    ] = False,
) -> None:
    """List the engines: available with their versions, or why not.

    - `lmmbridge engines --sizes`
    """
    from bridge import engines as declared
    from bridge import footprint
    from bridge.report.grid import Grid
    from bridge.report.terminal import console
    from bridge.report.text import AGREES, NEUTRAL

    rows = []
    for name, found in declared.available().items():
        here = not isinstance(found, str)
        text = found if isinstance(found, str) else ", ".join(f"{n} {v}" for n, v in found.items())
        size = (footprint.megabytes(footprint.of(name, found) if here else None),) if sizes else ()
        rows.append((f"{AGREES if here else NEUTRAL} {name}", *_kind(name), *size, text))
    head = ("engine", "language", "fits", *(("MB",) if sizes else ()), "versions, or why it is not available")
    out = console()
    out.print(Grid(head, tuple(rows)).rich())
    if sizes:
        out.print(footprint.MEANING, markup=False, soft_wrap=True)


def _kind(name: str) -> tuple[str, str]:
    from bridge.engines import get
    from bridge.errors import BridgeError

    try:
        engine = get(name)
    except BridgeError:
        return "", ""
    return engine.language, "mixed model" if engine.pooling == "partial" else "no groups"
