"""``lmmbridge list``: the cases there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.case import Case

HEAD = ("case", "formula", "methods", "expect", "family", "tags", "title")
WIDE = 140
"""Columns that the table needs."""


@common.ending
def listing(
    tag: Annotated[str | None, typer.Option("--tag", help="Only cases with this tag.")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Only cases of this family.")] = None,
    verdict: Annotated[
        str | None, typer.Option("--verdict", help="Only cases where some engine is known to get this one.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", "--engines", help="Only cases where this engine is known to differ."),
    ] = None,
    bundled: Annotated[
        bool, typer.Option("--bundled", help="The bundled cases, though there is a folder ./cases.")
    ] = False,
) -> None:
    """List the cases: those in ./cases if there is such a folder, else the bundled ones.

    - `lmmbridge list --family near-zero`

    - `lmmbridge list --bundled --engine lme4 --verdict WORSE_OPTIMUM`
    """
    from bridge.case import find
    from bridge.report.terminal import console
    from bridge.report.text import plural
    from bridge.resources import find as resource

    (place,) = [resource("cases")] if bundled else common.roots([])
    hides = place.resolve() != resource("cases").resolve()
    cases = find([], [place])
    known = [k for case in cases for k in case.spec.known_difference]
    for option, value, there in (
        ("--tag", tag, {t for case in cases for t in case.spec.tags}),
        ("--family", family, {case.spec.family for case in cases if case.spec.family}),
        ("--verdict", verdict, {v.value for k in known for v in k.verdicts}),
        ("--engine", engine, {k.engine for k in known}),
    ):
        if value is not None and value not in there:
            raise BridgeError(_absent(option, value, there, hides))
    rows = []
    for case in cases:
        spec = case.spec
        if tag not in (None, *spec.tags) or family not in (None, spec.family):
            continue
        if (verdict or engine) and not _differs(case, verdict, engine):
            continue
        expected = {method: case.expect(method) for method in spec.methods}
        said = [word if len(set(expected.values())) == 1 else f"{word} ({m})" for m, word in expected.items()]
        what, tags = ", ".join(dict.fromkeys(said)), ", ".join(spec.tags)
        rows.append((case.id, spec.formula, ", ".join(spec.methods), what, spec.family, tags, spec.title))
    out = console()
    show(rows, out)
    more = "; those that come with lmmbridge: --bundled" if hides else ""
    out.print(f"{plural(len(rows), 'case')} in {place}{more}", markup=False, soft_wrap=True)


def show(rows: Sequence[tuple[str, ...]], out: Console) -> None:
    """A table where there is room for one, else the id and the formula, unbroken, with the title beneath."""
    from rich.padding import Padding
    from rich.text import Text

    from bridge.report.grid import Grid
    from bridge.report.text import clean

    if rows and out.width >= WIDE:
        out.print(Grid(HEAD, tuple(rows)).rich())
        return
    for row in rows:
        out.print(f"{clean(row[0])}  {clean(row[1])}", markup=False, soft_wrap=True)
        out.print(Padding(Text(clean(row[-1]), style="dim"), (0, 0, 0, 4)))


def _differs(case: Case, verdict: str | None, engine: str | None) -> bool:
    return any(
        engine in (None, k.engine) and verdict in (None, *(v.value for v in k.verdicts))
        for k in case.spec.known_difference
        if not k.relation
    )


def _absent(option: str, value: str, there: set[str], hides: bool) -> str:
    """What to do about a word that no case has."""
    use = f"use one of {', '.join(sorted(there))}" if there else f"leave {option} out, as no case has any"
    other = "; ./cases hides the bundled cases: --bundled looks there" if hides else ""
    return f"{option} {value!r:.80}: no case has it; {use}{other}"
