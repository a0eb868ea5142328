"""Data: tables in, five kinds of columns out, and a hash of what they say.

The kinds are ``int`` (int64), ``float`` (float64), ``bool``, ``factor`` and ``ordered`` (pandas
Categorical of text labels). docs/cases.md defines them, and the hash byte by byte.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import stat
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.errors import DataError
from bridge.output import hint, write_bytes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Kind = Literal["int", "float", "bool", "factor", "ordered"]

SUFFIXES = (".csv", ".tsv", ".parquet", ".feather")
# Only what R and this package write: pandas' own list would turn the labels "None" and "n/a" into holes.
MISSING = ["", "NA", "NaN", "nan"]
_LETTER: dict[Kind, bytes] = {"int": b"i", "float": b"f", "bool": b"b", "factor": b"c", "ordered": b"o"}


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Table from a csv, tsv, parquet or feather file, as its suffix says; not yet normalised.

    Raises
    ------
    DataError
        Missing, unreadable, damaged or empty file, unknown suffix, duplicate column names.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise DataError(f"{path}: suffix {suffix!r} is not one of {known}; convert or rename the file")
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise DataError(f"{path}: is no regular file, reading it might never end; copy it to one")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {hint(error)}") from None
    except ValueError:  # a NUL in it
        raise DataError(f"{str(path)!r}: no file can have this name; check it") from None
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes); write it again")
    frame = _from_text(content, path) if suffix in (".csv", ".tsv") else _from_arrow(content, path)
    if not len(frame):
        raise DataError(f"{path}: the table has no rows; give it at least one")
    return frame


def normalise(frame: pd.DataFrame, name: str = "data", columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Copy with columns of the five kinds only and rows numbered from 0.

    Text becomes a factor with levels in code-point order, integers with holes become float,
    logicals with holes the factor FALSE, TRUE (R's coefficient name stays the same), labels of
    other types text.

    Parameters
    ----------
    frame : DataFrame
    name : str
        What to call the table in messages: its file, or "data".
    columns : iterable of str, optional
        Those in use: only they are kept, and they must hold usable values (not all missing, no Inf).
        By default all columns are kept.

    Raises
    ------
    DataError
        Naming the column: duplicate, absent, of a type that has no kind (dates, lists), all missing, Inf.
    """
    import pandas as pd

    labels = [str(column) for column in frame.columns]
    _distinct(labels, name)
    _unicode(labels, name)
    if not len(frame) or not labels:
        raise DataError(f"{name}: the table has no {'rows' if labels else 'columns'}; give it at least one")
    wanted = labels if columns is None else list(dict.fromkeys(columns))
    for column in wanted:
        if column not in labels:
            raise DataError(f"{name}: there is no column {column!r}; it has {', '.join(map(repr, labels))}")
    parts = {column: _series(frame.iloc[:, labels.index(column)], name, column) for column in wanted}
    if columns is not None:
        for column, values in parts.items():
            _usable(values, name, column)
    return pd.DataFrame(parts, columns=pd.Index(wanted, dtype=object))


def kind(values: pd.Series[Any]) -> Kind:
    """Kind of a normalised column.

    Raises
    ------
    DataError
        The column is not of a kind; `normalise` the frame first.
    """
    dtype = values.dtype
    categories = getattr(dtype, "categories", None)
    if categories is not None and all(isinstance(label, str) for label in categories):
        return "ordered" if dtype.ordered else "factor"
    kinds: dict[str, Kind] = {"int64": "int", "float64": "float", "bool": "bool"}
    if str(dtype) not in kinds:
        raise DataError(f"data: column {values.name!r} is of type {dtype}; use normalise() first")
    return kinds[str(dtype)]


def content_hash(frame: pd.DataFrame) -> str:
    """``sha256:`` and 64 hexadecimal digits, over what a normalised frame says (docs/cases.md).

    It depends on column order, names, kinds, levels, values and missingness; not on how, or by what
    version of what, the table is stored.
    """
    digest = hashlib.sha256(b"lmmbridge/1\n" + struct.pack("<QQ", *frame.shape))
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position]
        which = kind(values)
        digest.update(_text(name) + _LETTER[which])
        if which in ("factor", "ordered"):
            levels = values.cat.categories
            digest.update(struct.pack("<Q", len(levels)) + b"".join(map(_text, levels)))
            digest.update(values.cat.codes.to_numpy().astype("<i4").tobytes())
        elif which == "float":
            numbers = values.to_numpy().astype("<f8")
            digest.update(np.where(np.isnan(numbers), np.nan, numbers).astype("<f8").tobytes())
        else:
            digest.update(values.to_numpy().astype("<i8" if which == "int" else "u1").tobytes())
    return "sha256:" + digest.hexdigest()


def write(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Normalised frame as Parquet, atomically; `read` and `normalise` give it back unchanged.

    Raises
    ------
    StoreError
        Read-only folder, full disk; nothing is left behind.
    """
    import pyarrow as pa

    arrays: list[pa.Array] = []
    for name in frame.columns:
        values = frame[name]
        which = kind(values)
        if which in ("factor", "ordered"):
            levels = list(values.cat.categories)
            codes = values.cat.codes.to_numpy().astype(np.int32)
            indices = pa.array(codes, mask=codes < 0)
            ordered = which == "ordered"
            labels = pa.array(levels, pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(indices, labels, ordered=ordered))
        else:
            arrays.append(pa.array(values.to_numpy()))
    write_table(pa.Table.from_arrays(arrays, names=list(frame.columns)), path)


def write_table(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Arrow table as Parquet, atomically; raises StoreError."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(buffer.getvalue(), path)


def _distinct(names: list[str], where: object) -> None:
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        times = names.count(double)
        raise DataError(f"{where}: column {double!r} occurs {times} times; give each its own name")


def _from_text(content: bytes, path: Path) -> pd.DataFrame:
    import pandas as pd
    from packaging.version import Version

    top = content.partition(b"\n")[0]
    if path.suffix.lower() == ".csv" and b";" in top and b"," not in top:
        raise DataError(
            f"{path}: columns seem to be separated by ';'; save it with ',' between them, or as tsv"
        )
    options: dict[str, Any] = {
        "sep": "," if path.suffix.lower() == ".csv" else "\t",
        "keep_default_na": False,
        "na_values": MISSING,
        "low_memory": False,
        # Else a surplus first field is silently taken for row names, and every column shifted.
        "index_col": False,
    }
    # Newer ones read every digit by default, and warn when asked to.
    if Version(pd.__version__) < Version("3.1"):
        options["float_precision"] = "round_trip"
    try:
        header = pd.read_csv(io.BytesIO(content), header=None, nrows=1, dtype=str, **options)
        _distinct([str(value) for value in header.iloc[0].fillna("")], path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(io.BytesIO(content), **options)
        _whole(content, options["sep"], header.shape[1], path)
        return frame
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {_first_odd(content, error)} is not UTF-8; save it as UTF-8") from None
    except pd.errors.ParserWarning:
        raise DataError(
            f"{path}: rows have more fields than the header has names; name every column"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path}: not a {path.suffix[1:]} table ({reason}); mend that line") from None


def _whole(content: bytes, sep: str, fields: int, path: Path) -> None:
    """Refuse a last row with too few fields: pandas would fill it with missing values.

    A line with an odd number of quotes is the end of a text over several lines, and left alone.
    """
    last = content.rstrip(b"\r\n").replace(b"\r", b"\n").rpartition(b"\n")[2]
    if last.count(b'"') % 2:
        return
    with contextlib.suppress(csv.Error):  # a field beyond its limit
        found = len(next(csv.reader([last.decode()], delimiter=sep)))
        if found < fields:
            raise DataError(
                f"{path}: the last row has {found} of {fields} fields, the file may be cut short; "
                "write it again, or complete the row"
            )


def _first_odd(content: bytes, error: UnicodeDecodeError) -> int:
    """Position of the first byte that is not UTF-8: pandas counts from the start of a field."""
    try:
        content.decode()
    except UnicodeDecodeError as whole:
        return whole.start
    return error.start


def _from_arrow(content: bytes, path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.feather as feather
    import pyarrow.parquet as pq

    what = "Parquet" if path.suffix.lower() == ".parquet" else "Feather"
    try:
        buffer = pa.BufferReader(content)
        table = pq.ParquetFile(buffer).read() if what == "Parquet" else feather.read_table(buffer)
        table.validate(full=True)
        _distinct(table.column_names, path)
        frame = table.to_pandas(ignore_metadata=True)
    except DataError:
        raise
    except Exception:  # a flipped byte may be anything: UnicodeDecodeError, OverflowError, Arrow's own
        raise DataError(f"{path}: not a {what} file, or cut short or damaged; write it again") from None
    return frame[[name for name in frame.columns if not name.startswith("__index_level_")]]


def _series(values: pd.Series[Any], where: str, column: str) -> pd.Series[Any]:
    """One column in its kind."""
    import pandas as pd

    values = values.reset_index(drop=True)
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = [_label(label) for label in values.cat.categories]
        return _factor(values.cat.codes.to_numpy(), levels, bool(values.cat.ordered), where, column)
    holes = values.isna().to_numpy()
    found = pd.api.types.infer_dtype(values, skipna=True)
    if found == "boolean":
        if not holes.any():
            return values.astype("bool")
        codes = np.array([-1 if hole else int(value) for value, hole in zip(values, holes, strict=True)])
        return _factor(codes, ["FALSE", "TRUE"], False, where, column)
    most = np.iinfo(np.int64)
    if found == "integer" and not holes.any() and most.min <= values.min() and values.max() <= most.max:
        return values.astype("int64")
    if found in ("integer", "integer-na", "floating", "mixed-integer-float", "decimal", "empty"):
        try:
            return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), dtype="float64")
        except OverflowError:
            raise DataError(
                f"{where}: column {column!r} has an integer beyond 1.8e308, which no double can hold; "
                "mend or remove the row"
            ) from None
    if found == "string":
        levels = sorted({str(label) for label in values[~holes]})
        position = {label: code for code, label in enumerate(levels)}
        codes = np.array([position.get(label, -1) for label in values])
        return _factor(codes, levels, False, where, column)
    what = " and ".join(sorted({type(value).__name__ for value in values[~holes]}))
    raise DataError(
        f"{where}: column {column!r} holds {what}, which no kind of column can; "
        "make it numbers or text, or leave the column out"
    )


def _label(value: object) -> str:
    """Level label of any type as R would print it."""
    if isinstance(value, bool | np.bool_):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def _factor(codes: Any, levels: list[str], ordered: bool, where: str, column: str) -> pd.Series[Any]:
    import pandas as pd

    if len(set(levels)) < len(levels):
        raise DataError(f"{where}: column {column!r} has levels that read the same as text; rename them")
    _unicode(levels, where)
    categories = pd.Index(levels, dtype="str")
    return pd.Series(pd.Categorical.from_codes(codes, categories=categories, ordered=ordered))


def _unicode(texts: Iterable[str], where: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: {text!r} is not valid Unicode; rename it") from None
        if "\0" in text:
            raise DataError(f"{where}: {text!r} has a NUL character, which R cannot hold; rename it")


def _usable(values: pd.Series[Any], where: str, column: str) -> None:
    if values.isna().all():
        raise DataError(f"{where}: column {column!r} has no values, all are missing; fill it or leave it out")
    if values.dtype.kind == "f" and np.isinf(values.to_numpy()).any():
        row = int(np.flatnonzero(np.isinf(values.to_numpy()))[0])
        raise DataError(f"{where}: column {column!r} is infinite in row {row + 1}; mend or remove the row")


def _text(value: str) -> bytes:
    content = value.encode()
    return struct.pack("<Q", len(content)) + content
