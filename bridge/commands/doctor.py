"""``lmmbridge doctor``: what this machine has and lacks, each with its fix."""

from __future__ import annotations

from bridge.commands import common


@common.ending
def doctor(store: common.StoreFolder = None) -> int:
    """Look at Python, R, its packages, rpy2, locale, threads and the store; say how to mend each.

    Exits with 1 only if nothing at all can run.
    """
    from bridge.doctor import examine
    from bridge.report.grid import Grid
    from bridge.report.terminal import console

    signs = {"ok": "✓", "note": "–", "broken": "✗"}
    checks = examine(store)
    rows = [(f"{signs[c.state]} {c.what}", c.found, c.fix) for c in checks]
    console().print(Grid(("", "found", "how to mend it"), tuple(rows)).rich())
    return int(any(c.state == "broken" for c in checks))
