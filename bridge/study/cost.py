"""Cost: how much a study is, counted; and what it will take, measured on a few of its own replicates."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.filesize import decimal

from bridge.errors import CaseError, StoreError
from bridge.study.cell import Cell
from bridge.study.chunk import Chunk, lane
from bridge.study.spec import BATCH, Study

MOST_FITS = 5_000_000
"""Fits that a study makes without being asked twice."""
MOST_DESIGNS = 2_000
MOST_CHUNKS = 1_000_000
"""Files that one folder is asked to hold."""
BATCHED, OTHER = 24, 16
"""Bytes on disk of a row at least, of batches and of others: the doubles that no two replicates share."""
BASE, NUMBER = 350e6, 40
"""Peak memory of a process, in bytes: Python, libraries and figures; and a number of a lane's responses."""
ENOUGH = 0.5
"""Seconds that a sample must take to be a measurement."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is left of a study will take.

    Attributes
    ----------
    speed : float
        Replicates a second in one process on this machine, all engines and baselines together.
    seconds : float
        In one process.
    size : float
        Bytes on disk.
    memory : float
        Bytes of a process at most, engines' own processes apart.
    """

    speed: float
    seconds: float
    size: float
    memory: float


def affordable(study: Study, yes: bool = False) -> None:
    """Refuse a size that nobody can mean, by arithmetic alone.

    Parameters
    ----------
    yes : bool
        Many fits and many designs are meant.

    Raises
    ------
    CaseError
        Too many fits or designs without `yes`, or too many chunks.
    """
    if study.number > MOST_CHUNKS:
        raise CaseError(f"grid: {study.number:,} designs are more than {MOST_CHUNKS:,}; shorten the grid")
    if study.chunks > MOST_CHUNKS:
        least = -(-study.replicates // (MOST_CHUNKS // study.number))
        raise CaseError(
            f"chunk: {study.chunk:,} replicates a file makes {study.chunks:,} files, more than "
            f"{MOST_CHUNKS:,}; set chunk to {least:,} or more, or lower replicates"
        )
    if (study.fits > MOST_FITS or study.number > MOST_DESIGNS) and not yes:
        raise CaseError(
            f"the study has {study.number:,} designs and {study.fits:,} fits; say --yes if that is meant, "
            "or shorten the grid or lower replicates"
        )


def free(path: Path) -> int:
    """Bytes that are free where a folder is, or will be made."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def room(study: Study, cells: Sequence[Cell], left: Sequence[Chunk], path: Path) -> None:
    """StoreError if what is left of a study cannot fit where its folder is."""
    # No pooling leaves some estimands out.
    batched, rest = (
        len(study.methods) * (BATCH in study.engines),
        study.each - ("no pooling" in study.baselines),
    )
    row = BATCHED * batched + OTHER * (rest - batched)
    size = row * sum((chunk.stop - chunk.start) * len(cells[chunk.place].truths) for chunk in left)
    if size > (there := free(path)):
        raise StoreError(
            f"{path}: what is left needs {decimal(int(size))} at least, and {decimal(there)} are free; "
            "make room, name another folder with -o, or lower replicates"
        )


def measured(study: Study, cells: Sequence[Cell], left: Sequence[Chunk]) -> Cost:
    """Of these chunks, by a sample of the design whose number of rows is nearest to the average."""
    mean = sum(cell.rows for cell in cells) / len(cells)
    place = min(range(len(cells)), key=lambda i: abs(cells[i].rows - mean))
    seconds, first, more = _sample(study, cells[place], place)
    replicates = sum(chunk.stop - chunk.start for chunk in left)
    longest = max((chunk.stop - chunk.start for chunk in left), default=0)
    widest = max(cell.rows for cell in cells)
    return Cost(
        speed=1 / seconds,
        seconds=seconds * replicates,
        size=len(left) * first + replicates * more,
        memory=BASE + NUMBER * widest * min(lane(widest), longest) + 2 * more * longest,
    )


def _sample(study: Study, cell: Cell, place: int) -> tuple[float, float, float]:
    """Seconds of a replicate; bytes of a file's first, and of each further one."""
    from bridge.run import LocalWorkers

    with LocalWorkers(1) as workers:
        first, size = len(Chunk(place, 0, 1).made(study, cell, workers)), 1  # engines start
        while True:
            start = perf_counter()
            whole = len(Chunk(place, 0, size).made(study, cell, workers))
            spent = perf_counter() - start
            if spent > ENOUGH or size >= min(study.chunk, study.replicates):
                return spent / size, first, max(whole - first, 0) / max(size - 1, 1)
            size = min(4 * size, study.chunk, study.replicates)


def lasting(seconds: float) -> str:
    """Seconds in words."""
    for most, unit, each in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < most:
            return f"{max(seconds / each, 1):.0f} {unit}"
    return f"{seconds / 86400:,.0f} days"
