"""``lmmbridge run``: cases through engines, and who agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands import common

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.agreement import Agreement
    from bridge.case import Case
    from bridge.catalogue import Referee, Watch
    from bridge.entry import Entry
    from bridge.report.markdown import Extras

SOON = 10.0
"""Seconds of which nothing is said where there is no progress bar."""


@common.ending
def run(
    cases: common.Ids = None,
    engines: common.Engines = None,
    profile: common.Profiles = common.Which.default,
    method: common.Methods = None,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Folder for index.html, report.md, report.json, Parquet tables and junit.xml."
        ),
    ] = None,
    require: common.Required = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make every fit anew, stored or not.")] = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 even if there is a disagreement.")
    ] = False,
) -> int:
    """Run cases through all engines and say who agrees.

    The cases are those in ./cases if there is such a folder, else the bundled ones. What is stored
    and unchanged is not fitted again.

    - `lmmbridge run sleepstudy machines --engines lme4,statsmodels`

    - `lmmbridge run --profile both --report reports`

    - `lmmbridge run --require lme4,nlme`: for CI, where R must be there
    """
    from bridge.catalogue import session
    from bridge.entry import Entry
    from bridge.output import make_folder
    from bridge.report import page
    from bridge.report.terminal import console, summarise
    from bridge.store import Store

    begin = perf_counter()
    if report is not None:
        make_folder(report, f"--report {report}")
    found, left = common.select(cases or [])
    entries = [Entry.of_case(case, limit) for case in found]
    with session(Store(store), jobs, fresh) as referee:
        with watching(console(stderr=True)) as watch:
            agreement = referee.judge(
                entries,
                engines=common.split(engines),
                methods=common.methods(method, ("REML", "ML")),
                profiles=common.profiles(profile),
                required=common.split(require) or (),
                watch=watch,
            )
        if report is not None:
            write(agreement, report, perf_counter() - begin, referee, entries, found)
    out = console()
    summarise(agreement, out)
    if report is not None:
        out.print(
            f"Written: {report / ('report.md' if page.lacking() else page.FILE)}",
            markup=False,
            soft_wrap=True,
        )
    common.omitted(left)
    return 0 if exit_zero else agreement.exit_code


def write(
    agreement: Agreement,
    folder: Path,
    seconds: float,
    referee: Referee,
    entries: list[Entry],
    cases: Sequence[Case] = (),
) -> None:
    """The report, with the weights of the founding question's designs."""
    from bridge.report import markdown

    markdown.write(agreement, folder, seconds, extras(agreement, referee, entries, cases))


def extras(
    agreement: Agreement, referee: Referee, entries: Sequence[Entry], cases: Sequence[Case] = ()
) -> Extras:
    """What a report shows besides the judgements."""
    from bridge.explanation import of_entry
    from bridge.report import league, markdown

    found = {
        (entry.name, method): referee.reference(entry, method)
        for entry in entries
        for method in entry.methods
        if entry.expect.get(method) in ("ok", "singular")
    }
    proofs = {where: (r.kind, r.certificate) for where, r in found.items()}
    asked = [e for e in entries if "founding-question" in e.tags and e.expect.get("REML") == "ok"]
    return markdown.Extras(
        [of_entry(entry, "REML", None, []) for entry in asked],
        {where: certificate.allowed for where, (_, certificate) in proofs.items() if certificate},
        {w: f"{kind}, {c.proof}" if c and c.proven else kind for w, (kind, c) in proofs.items()},
        league.measured(agreement),
        {case.id: case.spec for case in cases},
    )


@contextmanager
def watching(err: Console) -> Iterator[Watch | None]:
    """A progress bar with counts of verdicts on a terminal; elsewhere lines, after a while."""
    if not err.is_terminal:
        tell = common.tenths("fits", after=SOON)
        yield lambda done, total, judgement: tell(done, total) if judgement is None else None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from bridge.report.tables import counts

    said = TextColumn("{task.fields[counts]}", markup=False)
    judged: list[Any] = []
    with Progress(
        BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), said, console=err, transient=True
    ) as bar:
        task = bar.add_task("", total=None, counts="")

        def watch(done: int, total: int, judgement: Any) -> None:
            if judgement is None:
                bar.update(task, completed=done, total=total)
            else:
                judged.append(judgement)
                bar.update(task, counts=counts(judged))

        yield watch
