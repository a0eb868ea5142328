"""Run: a study's chunks on an executor, those that are not finished; checks before work starts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from bridge import engines
from bridge.errors import BridgeError, CaseError, ModelError, UnavailableError
from bridge.study.cell import Cell, spell
from bridge.study.chunk import Chunk
from bridge.study.cost import affordable, room
from bridge.study.folder import Folder, chunks
from bridge.study.spec import BATCH, Study

Progress = Callable[[int, int], None]
"""Called with replicates done and replicates in all."""


class Maker(Protocol):
    """Where chunks are made."""

    def run(self, study: Study, chunks: Sequence[Chunk]) -> Generator[tuple[Chunk, bytes], None, None]:
        """Each chunk with its Parquet, in any order."""
        ...


@dataclass(frozen=True)
class Ready:
    """A study that can be run: its designs are valid and identified, and its engines are here."""

    study: Study
    cells: tuple[Cell, ...]


def check(study: Study, yes: bool = False) -> Ready:
    """Everything that can be wrong, before work starts.

    Parameters
    ----------
    yes : bool
        The size is meant.

    Raises
    ------
    BridgeError
        Too many fits, an unknown or missing engine, a design that is not valid or not identified.
    """
    affordable(study, yes)
    for name in study.engines:
        if name == BATCH:
            continue
        try:
            engines.check(name)
        except BridgeError as error:
            raise BridgeError(f"engines: {error}, or {BATCH}") from None
        try:
            engines.versions(name)
        except UnavailableError as error:
            raise UnavailableError(
                f"engines: {name}: {error}; take it out (--engines names those to use), or install it"
            ) from None
    cells = tuple(study.cells())
    if len({cell.key for cell in cells}) < len(cells):
        raise CaseError("grid: two places have the same design; remove one of the values")
    for cell in cells:
        _identified(study, cell)
    _expressible(study, cells)
    return Ready(study, cells)


def _identified(study: Study, cell: Cell) -> None:
    from bridge.batch import Plan
    from bridge.identification import problems

    where = f"design at {spell(cell.at)}"
    if reasons := problems(cell.model):
        raise ModelError(f"{where}: not identified: {reasons[0]}")
    if absent := [term for term, _ in cell.truths.values() if term not in cell.model.names]:
        raise CaseError(
            f"{where}: formula {cell.formula}: has no {absent[0]}; add it, or name other estimands"
        )
    if BATCH in study.engines or study.baselines:
        if not cell.shared:
            raise CaseError(
                f"{where}: batch and baselines need predictors that are not drawn (binary, sequence, cycle) "
                "and no further factors, weights or offset; use the engine numpy"
            )
        Plan.of(cell.model, "REML")


def _expressible(study: Study, cells: Sequence[Cell]) -> None:
    """CaseError if an engine cannot express any design by any method: all its fits would be refused."""
    for name in study.engines:
        if name == BATCH:
            continue
        engine = engines.get(name)
        refusals = (engine.supports(cell.model, method) for cell in cells for method in study.methods)
        reasons = list(takewhile(lambda reason: reason is not None, refusals))
        if len(reasons) == len(cells) * len(study.methods):
            raise CaseError(f"engines: {name}: {reasons[0]}; take it out, or change the design or methods")


def run(ready: Ready, folder: Folder, maker: Maker, progress: Progress | None = None) -> int:
    """Make what is not finished, and keep each chunk at once; how many chunks were made.

    Raises
    ------
    StoreError
        The folder cannot be written to; finished chunks stay.
    KeyboardInterrupt
        Ctrl-C; finished chunks stay, the same again goes on from there.
    """
    study, cells = ready.study, ready.cells
    left = unfinished(ready, folder)
    room(study, cells, left, folder.path)
    total = study.replicates * len(cells)
    done = total - sum(chunk.stop - chunk.start for chunk in left)
    if progress is not None:
        progress(done, total)
    if not left:
        return 0
    try:
        with closing(maker.run(study, left)) as finished:
            for chunk, content in finished:
                folder.keep(cells[chunk.place], chunk, content)
                done += chunk.stop - chunk.start
                if progress is not None:
                    progress(done, total)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished chunks are kept, the same again goes on from there") from None
    return len(left)


def unfinished(ready: Ready, folder: Folder) -> list[Chunk]:
    """Chunks that are not in the folder yet."""
    wanted = chunks(ready.study, len(ready.cells))
    return [chunk for chunk in wanted if not folder.done(ready.cells[chunk.place], chunk)]


def bundled() -> dict[str, Path]:
    """Studies that come with the package, by name."""
    home = Path(__file__).parent / "designs"
    return {path.stem: path for path in sorted(home.glob("*.toml"))}


def find(name: str) -> Path:
    """A study's file: one that exists, else a bundled one by name; CaseError."""
    if Path(name).is_file():
        return Path(name)
    if name in bundled():
        return bundled()[name]
    raise CaseError(f"{name}: no such file, and no bundled study; those are {', '.join(bundled())}")
