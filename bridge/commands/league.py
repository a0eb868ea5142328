"""``lmmbridge league``: all engines side by side, from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def league(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "--out", "-o", metavar="FILE.md", help="Write the page instead of showing it."
        ),
    ] = None,
    engines: common.Engines = None,
    cases: Annotated[
        str | None, typer.Option("--cases", metavar="A,B", help="Ids of bundled cases; all by default.")
    ] = None,
    method: common.Methods = None,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
) -> None:
    """Run the bundled catalogue with every engine, default and tight, and rank the engines.

    Stored fits that are unchanged are not made again.

    - `lmmbridge league -o docs/league.md`
    """
    from bridge.catalogue import session
    from bridge.commands.run import watching
    from bridge.entry import Entry
    from bridge.output import check_file, write_bytes
    from bridge.report.league import page
    from bridge.report.terminal import console
    from bridge.resources import find as resource
    from bridge.store import Store

    if output is not None:
        check_file(output, f"-o {output}")
    found, left = common.select(common.split(cases) or [], [resource("cases")])
    entries = [Entry.of_case(case, limit) for case in found]
    with session(Store(store), jobs) as referee, watching(console(stderr=True)) as watch:
        agreement = referee.judge(
            entries,
            engines=common.split(engines),
            methods=common.methods(method, ("REML", "ML")),
            profiles=("default", "tight"),
            watch=watch,
        )
    written = page(agreement, common.typed())
    if output is None:
        console().print(written, markup=False, soft_wrap=True)
    else:
        write_bytes(written.encode(), output)
        console().print(f"Written: {output}", markup=False, soft_wrap=True)
    common.omitted(left)
