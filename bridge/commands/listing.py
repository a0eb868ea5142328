"""``lmmbridge list``: the cases there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.case import Case


@common.ending
def listing(
    tag: Annotated[str | None, typer.Option("--tag", help="Only cases with this tag.")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Only cases of this family.")] = None,
    verdict: Annotated[
        str | None, typer.Option("--verdict", help="Only cases where some engine is known to get this one.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="Only cases where this engine is known to differ.")
    ] = None,
) -> None:
    """List the cases: those in ./cases if there is such a folder, else the bundled ones.

    - `lmmbridge list --family near-zero`

    - `lmmbridge list --engine lme4 --verdict WORSE_OPTIMUM`
    """
    from bridge.case import find
    from bridge.report.grid import Grid
    from bridge.report.terminal import console

    (place,) = common.roots([])
    cases = find([], [place])
    _among("--tag", tag, {t for case in cases for t in case.spec.tags})
    _among("--family", family, {case.spec.family for case in cases if case.spec.family})
    known = [k for case in cases for k in case.spec.known_difference]
    _among("--verdict", verdict, {v.value for k in known for v in k.verdicts})
    _among("--engine", engine, {k.engine for k in known})
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
    if rows:
        head = ("case", "formula", "methods", "expect", "family", "tags", "title")
        out.print(Grid(head, tuple(rows)).rich())
    out.print(f"{len(rows)} cases in {place}", markup=False, soft_wrap=True)


def _differs(case: Case, verdict: str | None, engine: str | None) -> bool:
    return any(
        engine in (None, k.engine) and verdict in (None, *(v.value for v in k.verdicts))
        for k in case.spec.known_difference
        if not k.relation
    )


def _among(option: str, value: str | None, known: set[str]) -> None:
    if value is not None and value not in known:
        raise BridgeError(f"{option} {value!r:.80}: no case has it; use one of {', '.join(sorted(known))}")
