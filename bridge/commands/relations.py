"""``lmmbridge relations``: each engine held to its own answer to the same model in other words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def relations(
    cases: common.Ids = None,
    relation: Annotated[
        list[str] | None, typer.Option("--relation", help="Only this one; may be given several times.")
    ] = None,
    engines: common.Engines = None,
    profile: common.Profiles = common.Which.default,
    method: common.Methods = None,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
    out: Annotated[
        Path | None, typer.Option("--output", "--out", "-o", help="Write a page: the violations, and why.")
    ] = None,
) -> int:
    """Say each case in other words, and hold every engine to its own first answer.

    No reference is used. One that does not apply to a case is left out. The relations:

    - scaled-y: the response shifted by 2 sd and multiplied by 2.5

    - scaled-x: a predictor shifted by its sd and halved

    - permuted-rows: rows in another order

    - renamed-levels: groups under other labels, sorted otherwise

    - duplicated-data: every group twice (ML only)

    - swapped-terms: terms of the formula in reverse order

    - multiplied-out: an interaction as columns of products

    - constant-column: a fixed effect that is constant, beside the intercept; may be dropped or refused

    For example:

    - `lmmbridge relations sleepstudy penicillin`

    - `lmmbridge relations sleepstudy --relation scaled-x --engines lme4,statsmodels --profile both`
    """
    from bridge.catalogue import session
    from bridge.commands.run import watching
    from bridge.consistency import consistency
    from bridge.entry import Entry
    from bridge.output import check_file, write_bytes
    from bridge.report.terminal import console, summarise
    from bridge.store import Store

    if out is not None:
        check_file(out, f"-o {out}")
    found, left = common.select(cases or [])
    entries = [Entry.of_case(case, limit) for case in found]
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
    if out is not None:
        from bridge.report.relations import page

        write_bytes(page(agreement, common.typed()).encode(), out)
        common.say(f"Written: {out}")
    common.omitted(left)
    return agreement.exit_code
