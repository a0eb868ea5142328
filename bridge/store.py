"""Store: finished fits on disk, one Parquet each, named by the hash of all that the fit depends on."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bridge
from bridge import engines
from bridge.errors import StoreError
from bridge.fit import Fit, from_arrow, schema, to_arrow

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from bridge.engines.engine import Engine

FORMAT = 1  # of the stored files; a new one makes every stored fit out of date

# Of a Key, beside the Fit in its file.
_COLUMNS = ("data", "formula", "missing", "weights", "offset", "source")
# What turns a formula and data into the Model that every engine is given.
_MODELLING = ("bridge.model", "bridge.formula", "bridge.coding")


@dataclass(frozen=True, slots=True)
class Key:
    """All that a Fit depends on. Equal keys, equal fits.

    Attributes
    ----------
    data : str
        Content hash of the data.
    formula, missing, method, engine, profile : str
    weights, offset : str
        Their columns; empty for none.
    versions : str
        `Engine.version` as sorted JSON.
    source : str
        See `source`.
    """

    data: str
    formula: str
    missing: str
    method: str
    engine: str
    profile: str
    versions: str
    source: str
    weights: str = ""
    offset: str = ""
    format: int = FORMAT

    @property
    def name(self) -> str:
        """SHA-256 of the key, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class Store:
    """A folder of finished fits, safe to share by runs that go on at once.

    Parameters
    ----------
    folder : path, optional
        ``LMMBRIDGE_STORE`` if set, else ``.lmmbridge`` in the current folder. Made when first
        written to.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder or os.environ.get("LMMBRIDGE_STORE") or ".lmmbridge")

    def path(self, key: Key) -> Path:
        """File of one fit, whether it is there or not."""
        return self.folder / f"{key.name}.parquet"

    def get(self, key: Key, limit: float = 0.0) -> Fit | None:
        """The stored Fit; None if there is none, or its file cannot be read and is to be made anew.

        Parameters
        ----------
        key : Key
        limit : float
            Seconds a fit may take now: one that timed out under a smaller limit is not returned.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path(key), page_checksum_verification=True) as file:
                (fit,) = from_arrow(file.read(schema().names, use_threads=False))  # of one row
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            return None
        if fit.status == "unavailable" or (fit.status == "timed_out" and not fit.limit >= limit):
            return None
        return fit

    def put(self, key: Key, fit: Fit) -> None:
        """Write a Fit, at once and whole; `unavailable` ones are not kept.

        Raises
        ------
        StoreError
            The folder cannot be written to. Fits stored before stay.
        """
        if fit.status == "unavailable":
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = to_arrow([fit])
        for column in _COLUMNS:
            table = table.append_column(column, pa.array([getattr(key, column)]))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        self._write(self.path(key), sink.getvalue().to_pybytes())

    def dataset(self) -> ds.Dataset:
        """All stored fits as one Arrow dataset: `bridge.fit.schema`, and of the key what that lacks.

        Files that are no Parquet are left out.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        def readable(path: Path) -> bool:
            try:
                return bool(pq.read_metadata(path).num_rows)
            except (OSError, pa.ArrowException):
                return False

        columns = [pa.field(name, pa.string()) for name in _COLUMNS]
        whole = pa.schema([*schema(), *columns])
        files = sorted(str(path) for path in self.folder.glob("[!.]*.parquet") if readable(path))
        return ds.dataset(files, schema=whole, format="parquet")

    def _write(self, path: Path, content: bytes) -> None:
        half = path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / ".gitignore").write_text("*\n")
            try:
                half.write_bytes(content)
                os.replace(half, path)
            finally:
                half.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"store {self.folder}: cannot be written to ({error.strerror}); make room or name another "
                "folder in LMMBRIDGE_STORE. Fits already stored are kept"
            ) from error


def source(engine: Engine) -> str:
    """SHA-256 over the text of the engine's adapter: an edited adapter is a new engine.

    Its module, what that imports from `bridge`, its R file and those that R files share, and what
    makes the Model out of formula and data.
    """
    return _source(type(engine).__module__, engine.name if engine.language == "R" else None)


@cache
def _source(module: str, r: str | None) -> str:
    from bridge.resources import find

    files = {path for start in (module, *_MODELLING) for path in _closure(start)}
    if r is not None:
        others = set(engines.names()) - {r}
        files |= {path for path in find("r").glob("*.R") if path.stem not in others}
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: (path.name, path)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _closure(module: str) -> Iterator[Path]:
    """Files of a module and of the `bridge` modules that it imports, anywhere in its text."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name in seen or (path := _file(name)) is None:
            continue
        seen.add(name)
        yield path
        queue += _imports(path)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Modules of `bridge` that a file imports, anywhere in its text."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("bridge.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bridge":
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _file(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first != "bridge":
        path = Path(getattr(sys.modules.get(module), "__file__", None) or "")
        return path if path.suffix == ".py" else None
    place = Path(bridge.__file__).parent.joinpath(*rest)
    found = (path for path in (place.with_suffix(".py"), place / "__init__.py") if rest and path.is_file())
    return next(found, None)
