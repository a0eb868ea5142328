"""``lmmbridge export-reference``: certified values for people who do not have this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def export_reference(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.")],
    cases: common.Ids = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export of the same cases; leave the rest.")
    ] = False,
) -> None:
    """Write every case that has a certificate as CSV, JSON and a README in the manner of NIST's StRD.

    - `lmmbridge export-reference reference`
    """
    from bridge.export import export
    from bridge.report.terminal import console

    found, left = common.select(cases or [])
    without = export(found, folder, force, named=bool(cases))
    if without:
        common.say(f"lmmbridge: left out, without a certificate: {', '.join(case.id for case in without)}")
    written = len(found) - len(without)
    console().print(f"Written: {folder} ({written} data sets)", markup=False, soft_wrap=True)
    common.omitted(left)
