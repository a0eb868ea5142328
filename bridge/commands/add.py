"""``lmmbridge add``: one's own data as a case for pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common

Name = Annotated[
    str, typer.Option("--name", help="The case's id: letters, digits, dots, underscores and hyphens.")
]
Into = Annotated[Path, typer.Option("--into", help="Folder of cases; made if it is not there.")]
Title = Annotated[str | None, typer.Option("--title", help="One line that says what it is.")]
Source = Annotated[str, typer.Option("--source", help="Where the data come from.")]
Licence = Annotated[str, typer.Option("--licence", help="Under which terms they may be passed on.")]


@common.ending
def add(
    data: common.Data,
    formula: common.FormulaText,
    name: Name,
    into: Into = Path("cases"),
    title: Title = None,
    source: Source = "the author's own data",
    licence: Licence = "not stated",
    method: common.Methods = None,
    missing: common.Missing = common.Holes.omit,
    weights: common.Weights = "",
    offset: common.Offset = "",
    expect: common.Expect = common.Expected.ok,
) -> None:
    """Keep a table and a formula as a case, which `pytest` and `lmmbridge run` then collect.

    Only the columns that the formula names are kept.

    - `lmmbridge add trial.csv "y ~ arm + (1 | clinic)" --name my-trial`, then `pytest`
    """
    from bridge.agreement import refuse
    from bridge.case import Case, check_id
    from bridge.entry import Entry
    from bridge.report.terminal import console

    check_id(name)
    methods = common.methods(method, ("REML", "ML"))
    entry = Entry.of_data(
        data,
        formula,
        methods=methods,
        missing=missing.value,
        expect=expect.value,
        weights=weights,
        offset=offset,
    )
    refuse(str(data), entry.problems(), expect.value, "--expect unidentified")
    fields = {
        "title": title or f"{formula} on {data.name}",
        "formula": formula,
        "methods": methods,
        "source": source,
        "licence": licence,
        **({"expect": expect.value} if expect is not common.Expected.ok else {}),
        **({"missing": missing.value} if missing is not common.Holes.omit else {}),
        **({"weights": weights} if weights else {}),
        **({"offset": offset} if offset else {}),
    }
    case = Case.create(into, name, fields, entry.frame)
    out = console()
    dropped = entry.model.dropped
    if dropped:
        out.print(f"{dropped} of {len(entry.frame)} rows have missing values", markup=False)
    out.print(
        f"Written: {case.folder}. Run it with pytest, or lmmbridge run {name}", markup=False, soft_wrap=True
    )
