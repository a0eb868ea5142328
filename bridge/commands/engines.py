"""``lmmbridge engines``: what is available, in which version, else why not."""

from __future__ import annotations

from bridge.commands import common


@common.ending
def engines() -> None:
    """List the engines: available with their versions, or why not."""
    from bridge import engines as declared
    from bridge.report.grid import Grid
    from bridge.report.terminal import console
    from bridge.report.text import AGREES, NEUTRAL

    rows = []
    for name, found in declared.available().items():
        here = not isinstance(found, str)
        text = found if isinstance(found, str) else ", ".join(f"{n} {v}" for n, v in found.items())
        rows.append((f"{AGREES if here else NEUTRAL} {name}", *_kind(name), text))
    console().print(
        Grid(("engine", "language", "fits", "versions, or why it is not available"), tuple(rows)).rich()
    )


def _kind(name: str) -> tuple[str, str]:
    from bridge.engines import get
    from bridge.errors import BridgeError

    try:
        engine = get(name)
    except BridgeError:
        return "", ""
    return engine.language, "mixed model" if engine.pooling == "partial" else "no groups"
