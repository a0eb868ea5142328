"""``lmmbridge compare``: one's own data through all engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common

Keep = Annotated[
    Path | None, typer.Option("--store", help="Folder to keep finished fits in; by default none are kept.")
]


@common.ending
def compare(
    data: common.Data,
    formula: common.FormulaText,
    engines: common.Engines = None,
    profile: common.Profiles = common.Which.default,
    method: common.Methods = None,
    missing: common.Missing = common.Holes.omit,
    weights: common.Weights = "",
    offset: common.Offset = "",
    expect: common.Expect = common.Expected.ok,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: Keep = None,
    require: common.Required = None,
) -> int:
    """Compare engines on your own data: a row a quantity, a column an engine, then the verdicts.

    - `lmmbridge compare trial.csv "y ~ arm + (1 | clinic)"`

    - `lmmbridge compare growth.parquet "height ~ age * sex + (age | child)" --method ML --profile both`
    """
    from bridge.agreement import refuse
    from bridge.catalogue import Entry, session
    from bridge.commands.run import watching
    from bridge.report.terminal import console, show
    from bridge.run import LIMIT

    entry = Entry.of_data(
        data,
        formula,
        methods=common.methods(method, ("REML",)),
        missing=missing.value,
        expect=expect.value,
        limit=LIMIT if limit is None else limit,
        weights=weights,
        offset=offset,
    )
    refuse(str(data), entry.problems(), expect.value, "--expect unidentified")
    with session(store, jobs) as referee, watching(console(stderr=True)) as watch:
        agreement = referee.judge(
            [entry],
            engines=common.split(engines),
            profiles=common.profiles(profile),
            required=common.split(require) or (),
            watch=watch,
        )
    show(agreement, console())
    return agreement.exit_code
