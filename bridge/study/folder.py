"""Folder: a study's finished chunks on disk, one Parquet file each; finished is what is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.output import make_folder, write_bytes
from bridge.study.cell import Cell
from bridge.study.chunk import Chunk
from bridge.study.spec import BATCH, Study


@dataclass(frozen=True)
class Folder:
    """Where a study's chunks are kept.

    Attributes
    ----------
    path : Path
    recipe : str
        Hash of all that a chunk's numbers depend on beside its design: engines with their versions,
        methods, seed. Files of another recipe are left alone, and not counted.
    """

    path: Path
    recipe: str

    @classmethod
    def of(cls, path: Path, study: Study) -> Folder:
        """Of a study; StoreError if the folder cannot be written to."""
        make_folder(path / "chunks", f"-o {path}")
        write_bytes(study.to_json().encode(), path / "study.json")
        return cls.at(path, study)

    @classmethod
    def at(cls, path: Path, study: Study) -> Folder:
        """The same, nothing made or written."""
        return cls(path, recipe(study))

    def file(self, cell: Cell, chunk: Chunk) -> Path:
        """Name of a chunk's file, whether it is there or not."""
        return (
            self.path
            / "chunks"
            / f"{cell.key[:16]}-{self.recipe[:16]}-{chunk.start:012d}-{chunk.stop:012d}.parquet"
        )

    def done(self, cell: Cell, chunk: Chunk) -> bool:
        """Whether a chunk is finished. A file is whole or not there: it is renamed when written."""
        return self.file(cell, chunk).is_file()

    def files(self) -> int:
        """Chunks in the folder, of this study or of others."""
        return sum(1 for _ in (self.path / "chunks").glob("[!.]*.parquet"))

    def keep(self, cell: Cell, chunk: Chunk, content: bytes) -> None:
        """Write a finished chunk; StoreError on a full disk, and finished ones stay."""
        write_bytes(content, self.file(cell, chunk))

    def digest(self, cells: Sequence[Cell], chunks: Sequence[Chunk]) -> str:
        """SHA-256 over what all chunks say, in order: equal for equal studies, however they were run."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        out = hashlib.sha256()
        for chunk in chunks:
            table = pq.read_table(self.file(cells[chunk.place], chunk)).combine_chunks()
            sink = pa.BufferOutputStream()
            plain = pa.table({name: pa.array(table[name].to_pylist()) for name in table.column_names})
            with pa.ipc.new_stream(sink, plain.schema) as writer:
                writer.write_table(plain)
            out.update(sink.getvalue())
        return out.hexdigest()


def chunks(study: Study, number: int) -> Iterator[Chunk]:
    """All tasks of a study with so many designs; design by design in turn, so that all grow together."""
    for start in range(0, study.replicates, study.chunk):
        for place in range(number):
            yield Chunk(place, start, min(start + study.chunk, study.replicates))


def ingredients(study: Study) -> dict[str, Any]:
    """Software that a study's numbers depend on: lmmbridge's version; engines' versions and adapters."""
    from bridge import __version__, engines
    from bridge.store import source

    found: dict[str, Any] = {"lmmbridge": __version__}
    return found | {
        name: [engines.versions(name), source(engines.get(name))] for name in study.engines if name != BATCH
    }


def recipe(study: Study) -> str:
    """What is in `Folder.recipe`."""
    used = ingredients(study)
    said = [
        used.pop("lmmbridge"),
        used,
        study.seed,
        study.methods,
        study.profiles,
        study.engines,
        study.baselines,
    ]
    return hashlib.sha256(
        json.dumps([*said, study.estimands, study.limit], sort_keys=True).encode()
    ).hexdigest()
