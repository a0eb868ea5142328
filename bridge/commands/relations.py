"""``lmmbridge relations``: each engine held to its own answer to the same model in other words."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def relations(
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="[CASE]...", help="Ids of cases; all if none is named.")
    ] = None,
    relation: Annotated[
        list[str] | None, typer.Option("--relation", help="Only this one; may be given several times.")
    ] = None,
    engines: common.Engines = None,
    profile: common.Profiles = common.Which.default,
    method: common.Methods = None,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
) -> int:
    """Say each case in other words, and hold every engine to its own first answer.

    No reference is used. The relations: scaled-y, scaled-x, permuted-rows, renamed-levels,
    duplicated-data (ML), swapped-terms, multiplied-out, constant-column (an engine may drop that
    column or refuse it). One that does not apply to a case is left out.

    - `lmmbridge relations sleepstudy penicillin`

    - `lmmbridge relations sleepstudy --relation scaled-x --engines lme4,statsmodels --profile both`
    """
    from bridge.case import find
    from bridge.catalogue import session
    from bridge.commands.run import watching
    from bridge.consistency import consistency
    from bridge.entry import Entry
    from bridge.report.terminal import console, summarise
    from bridge.store import Store

    entries = [Entry.of_case(case, limit) for case in find(cases or [], common.roots(cases or []))]
    with session(Store(store), jobs) as referee, watching(console(stderr=True)) as watch:
        agreement = consistency(
            referee,
            entries,
            engines=common.split(engines),
            relations=relation,
            methods=common.methods(method, ("REML", "ML")),
            profiles=common.profiles(profile),
            watch=watch,
        )
    summarise(agreement, console())
    return agreement.exit_code
