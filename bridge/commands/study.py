"""``lmmbridge study``: the same designs thousands of times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands import common
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.study.run import Progress, Ready
    from bridge.study.spec import Study


@common.ending
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="study.toml, or a bundled one: founding-question, unbalanced-clusters."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "--out", "-o", metavar="DIR", help="By default study-NAME, by the name of the file."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="tcp://host:8786, or local:2.")
    ] = None,
    replicates: Annotated[
        int | None, typer.Option("--replicates", min=1, help="Instead of the study's number.")
    ] = None,
    engines: Annotated[
        str | None,
        typer.Option(
            "--engines", "--engine", metavar="A,B", help="Instead of the study's, such as batch,lme4."
        ),
    ] = None,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything; say how much work, time, disk and memory. Writes nothing."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Thousands of designs or millions of fits are meant.")
    ] = False,
) -> int:
    """Bias, precision, coverage and agreement of engines over thousands of replicates of a design.

    A study.toml names designs on a grid, replicates, engines and baselines; docs/studies.md has its
    fields. The folder of -o holds finished chunks, which are files: stopped by whatever, the same
    command goes on from there. Then report.md, summary.parquet, figures, and the worst replicates.

    - `lmmbridge study founding-question --jobs 2`

    - `lmmbridge study study.toml --dry-run`, then `lmmbridge study study.toml -o results`

    - `lmmbridge study study.toml -o results --dask tcp://scheduler:8786`
    """
    from bridge.report.terminal import console
    from bridge.study.audit import audit
    from bridge.study.folder import Folder, chunks
    from bridge.study.report import write
    from bridge.study.run import check, find, run, unfinished
    from bridge.study.spec import Study
    from bridge.study.summary import Summary

    path = find(name)
    place = output or Path(f"study-{path.stem}")
    asked = _changed(Study.load(path), replicates, engines)
    out, err = console(), console(stderr=True)

    def tell(line: str) -> None:
        out.print(line, markup=False, highlight=False, soft_wrap=True)

    with err.status("Checking designs and engines"), _naming(name):
        ready = check(asked, yes)
    tell(f"{path.stem}: {_size(asked)}")
    if dry:
        with err.status("Measuring a few replicates"):
            for line in _estimate(ready, Folder.at(place, asked), jobs):
                tell(line)
        return 0
    folder = Folder.of(place, asked)
    if done := asked.chunks - len(unfinished(ready, folder)):
        tell(f"{done:,} of {asked.chunks:,} chunks are finished already in {place}")
    if others := folder.files() - done:
        tell(f"{others:,} other chunks in {place} (other designs, engines, replicates) are left alone")
    with _maker(jobs, dask) as maker, _watching() as progress:
        run(ready, folder, maker, progress)
    with err.status("Certifying a sample"):
        said = list(audit(asked, ready.cells))
    with err.status("Summing up"):
        summary = Summary.of(folder, ready.cells, chunks(asked, len(ready.cells)))
        written = write(asked, summary, folder.path, said)
    tell(f"Written: {written}")
    return int(any(line.startswith("FAILED") for line in said))


def _size(asked: Study) -> str:
    """``2 designs x 60 replicates, 480 fits in 6 chunks``."""
    from bridge.report.text import plural

    numbers = {
        "design": asked.number,
        "replicate": asked.replicates,
        "fit": asked.fits,
        "chunk": asked.chunks,
    }
    designs, replicates, fits, chunks = (plural(n, word) for word, n in numbers.items())
    return f"{designs} x {replicates}, {fits} in {chunks}"


def _changed(asked: Study, replicates: int | None, engines: str | None) -> Study:
    changes: dict[str, Any] = {}
    if replicates is not None:
        changes["replicates"] = replicates
    if engines is not None:
        changes["engines"] = common.split(engines)
    return asked.but(**changes) if changes else asked


def _estimate(ready: Ready, folder: Any, jobs: int) -> Iterator[str]:
    """What --dry-run says beside the numbers."""
    from rich.filesize import decimal

    from bridge.study.cost import free, lasting, measured, room
    from bridge.study.run import unfinished

    asked = ready.study
    left = unfinished(ready, folder)
    room(asked, ready.cells, left, folder.path)
    for name, values in [
        ("engines", asked.engines),
        ("methods", asked.methods),
        ("profiles", asked.profiles),
        ("baselines", asked.baselines),
    ]:
        yield f"  {name:<10} {len(values)}: {', '.join(values) or '-'}"
    yield f"  {'fits':<10} {asked.each} of each replicate (batch has one profile)"
    done = asked.chunks - len(left)
    yield f"  {'chunks':<10} of {asked.chunk:,} replicates; {done:,} finished in {folder.path}"
    if not left:
        return
    cost = measured(asked, ready.cells, left)
    yield f"  {'speed':<10} {cost.speed:,.3g} replicates a second in one process, measured here and now"
    yield f"  {'time':<10} about {lasting(cost.seconds / jobs)} in {jobs} process{'es' * (jobs > 1)}"
    yield f"  {'disk':<10} about {decimal(int(cost.size))}; {decimal(free(folder.path))} are free"
    memory = decimal(int(cost.memory), precision=0)
    yield f"  {'memory':<10} up to {memory} a process, and what engines take in theirs"


@contextmanager
def _naming(file: str) -> Iterator[None]:
    """Faults of a study's content with the name of its file."""
    try:
        yield
    except BridgeError as error:
        raise type(error)(f"{file}: {error}") from None


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
def _watching() -> Iterator[Progress]:
    """A progress bar on a terminal, elsewhere a line for every tenth."""
    from bridge.report.terminal import console

    err = console(stderr=True)
    if not err.is_terminal:
        yield common.tenths("replicates")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(30), MofNCompleteColumn(), "replicates", TimeElapsedColumn(), TimeRemainingColumn()
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
