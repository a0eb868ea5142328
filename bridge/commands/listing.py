"""``lmmbridge list``: the cases there are."""

from __future__ import annotations

from bridge.commands import common


@common.ending
def listing() -> None:
    """List the cases: those in ./cases if there is such a folder, else the bundled ones."""
    from bridge.case import find
    from bridge.report.grid import Grid
    from bridge.report.terminal import console

    (place,) = common.roots([])
    rows = []
    for case in find([], [place]):
        expected = {method: case.expect(method) for method in case.spec.methods}
        said = [word if len(set(expected.values())) == 1 else f"{word} ({m})" for m, word in expected.items()]
        what = ", ".join(dict.fromkeys(said))
        rows.append((case.id, case.spec.formula, ", ".join(case.spec.methods), what, case.spec.title))
    out = console()
    if rows:
        out.print(Grid(("case", "formula", "methods", "expect", "title"), tuple(rows)).rich())
    out.print(f"{len(rows)} cases in {place}", markup=False, soft_wrap=True)
