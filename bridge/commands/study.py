"""``lmmbridge study``: the same designs thousands of times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands import common

if TYPE_CHECKING:
    from bridge.study.run import Progress


@common.ending
def study(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="study.toml, or a bundled one: founding-question, ...")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="By default study-NAME.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="tcp://host:8786, or local:2.")
    ] = None,
    replicates: Annotated[
        int | None, typer.Option("--replicates", min=1, help="Instead of the study's number.")
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say how much work it is.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Millions of fits are meant.")] = False,
) -> int:
    """Bias, precision, coverage and agreement of engines over thousands of replicates of a design.

    Finished chunks are files: a study that is stopped goes on from there. docs/studies.md has the rest.

    - `lmmbridge study founding-question --jobs 2`

    - `lmmbridge study study.toml -o results --dask tcp://scheduler:8786`
    """
    from bridge.report.terminal import console
    from bridge.study.audit import audit
    from bridge.study.folder import Folder, chunks
    from bridge.study.report import write
    from bridge.study.run import check, find, run
    from bridge.study.spec import Study
    from bridge.study.summary import Summary

    path = find(name)
    asked = Study.load(path)
    if replicates is not None:
        asked = asked.model_copy(update={"replicates": replicates})
    ready = check(asked, yes or dry)
    out = console()
    tasks = len(ready.cells) * -(-asked.replicates // asked.chunk)
    out.print(
        f"{path.stem}: {len(ready.cells)} designs x {asked.replicates} replicates, {asked.fits} fits "
        f"in {tasks} chunks",
        markup=False,
        soft_wrap=True,
    )
    if dry:
        return 0
    folder = Folder.of(output or Path(f"study-{path.stem}"), asked)
    with _maker(jobs, dask) as maker, _watching() as progress:
        run(ready, folder, maker, progress)
    said = list(audit(asked, ready.cells))
    summary = Summary.of(folder, ready.cells, chunks(asked, len(ready.cells)))
    written = write(asked, summary, folder.path, said)
    out.print(f"Written: {written}", markup=False, soft_wrap=True)
    return int(any(line.startswith("FAILED") for line in said))


@contextmanager
def _maker(jobs: int, dask: str | None) -> Iterator[Any]:
    """Where chunks are made, closed at the end."""
    from bridge.study.hand import Hands, Here

    if dask is None:
        yield Here() if jobs == 1 else Hands(jobs)
        return
    from bridge.study.cluster import Cluster

    cluster = Cluster(dask)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def _watching() -> Iterator[Progress | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    from bridge.report.terminal import console

    err = console(stderr=True)
    if not err.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
