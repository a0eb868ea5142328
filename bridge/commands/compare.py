"""``lmmbridge compare``: one's own data through all engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common
from bridge.commands.report import Formal

if TYPE_CHECKING:
    from bridge.entry import Entry
    from bridge.explanation import Explanation

EXPLAINED = 5000
"""Rows up to which the page shows what each cluster weighs: it takes time that grows with them."""
Keep = Annotated[
    Path | None, typer.Option("--store", help="Folder to keep finished fits in; by default none are kept.")
]


@common.ending
def compare(
    data: common.Data,
    formula: common.FormulaText,
    engines: common.Engines = None,
    profile: common.Profiles = common.Which.default,
    method: common.OneMethod = None,
    missing: common.Missing = common.Holes.omit,
    weights: common.Weights = "",
    offset: common.Offset = "",
    expect: common.Expect = common.Expected.ok,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: Keep = None,
    require: common.Required = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE.html", help="Write the report's page of it as well."),
    ] = None,
    formal: Formal = False,
) -> int:
    """Compare engines on your own data: a row a quantity, a column an engine, then the verdicts.

    - `lmmbridge compare trial.csv "y ~ arm + (1 | clinic)"`

    - `lmmbridge compare growth.parquet "height ~ age * sex + (age | child)" --method ML --profile both`

    - `lmmbridge compare trial.csv "y ~ arm + (1 | clinic)" --html trial.html --formal`
    """
    from bridge.agreement import refuse
    from bridge.catalogue import session
    from bridge.commands.run import extras, watching
    from bridge.entry import Entry
    from bridge.errors import BridgeError
    from bridge.output import check_file, write_bytes
    from bridge.report import page
    from bridge.report.explain import draw
    from bridge.report.gather import gather
    from bridge.report.terminal import console, show
    from bridge.run import LIMIT

    begin = perf_counter()
    if html is not None:
        page.require()
        check_file(html, f"--html {html}")
    elif formal:
        raise BridgeError("--formal: it is a variant of the page; give --html FILE.html as well")
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
        if html is not None:
            more = extras(agreement, referee, [entry])
            with TemporaryDirectory() as place:
                drawn, weighed = Path(place), explained(entry)
                pictures = {e.name: draw(e, drawn, Path("figures")) for e in weighed}
                more = replace(more, explained=weighed, drawn=pictures)
                found = gather(agreement, perf_counter() - begin, more)
                write_bytes(page.render(found, drawn, formal, beside=False).encode(), html)
    show(agreement, console())
    if html is not None:
        console().print(f"Written: {html}", markup=False, soft_wrap=True)
    return agreement.exit_code


def explained(entry: Entry) -> list[Explanation]:
    """What clusters weigh in it, if it has any and they can be told."""
    from bridge.errors import BridgeError
    from bridge.explanation import of_entry

    if not entry.model.random or entry.model.n > EXPLAINED:
        return []
    try:
        return [of_entry(entry, entry.methods[0], None, [])]
    except BridgeError:  # not identified, or nothing to explain: the verdicts say so
        return []
