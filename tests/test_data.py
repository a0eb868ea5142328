"""Data: what goes in comes out, hashed as docs/cases.md says, or refused in one line."""

import errno
import hashlib
import os
import struct
from contextlib import contextmanager
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import data
from bridge.errors import BridgeError, DataError, StoreError
from bridge.model import build


def _every_kind() -> pd.DataFrame:
    return data.normalise(
        pd.DataFrame(
            {
                "n": [3, -1, 2**53 + 1],
                "x y": [0.1, np.nan, -2.5e-300],
                "yes": [True, False, True],
                "süß": ["b", None, "a"],
                "dose": pd.Categorical(["lo", "hi", None], categories=["lo", "mid", "hi"], ordered=True),
            }
        )
    )


def by_the_book(columns: list[tuple[str, str, list, list]]) -> str:
    """docs/cases.md, "The hash", read literally: columns of (name, letter, levels, values)."""

    def text(s: str) -> bytes:
        return len(s.encode("utf-8")).to_bytes(8, "little") + s.encode("utf-8")

    out = b"lmmbridge/1\n" + len(columns[0][3]).to_bytes(8, "little") + len(columns).to_bytes(8, "little")
    for name, letter, levels, values in columns:
        out += text(name) + letter.encode("ascii")
        if letter in "co":
            out += len(levels).to_bytes(8, "little") + b"".join(text(level) for level in levels)
        for value in values:
            if letter == "i":
                out += value.to_bytes(8, "little", signed=True)
            elif letter == "f":
                out += bytes.fromhex("000000000000f87f") if value is None else struct.pack("<d", value)
            elif letter == "b":
                out += b"\1" if value else b"\0"
            else:
                out += (-1 if value is None else levels.index(value)).to_bytes(4, "little", signed=True)
    return "sha256:" + hashlib.sha256(out).hexdigest()


BOOK = [
    ("n", "i", [], [3, -1, 2**53 + 1]),
    ("x y", "f", [], [0.1, None, -2.5e-300]),
    ("yes", "b", [], [True, False, True]),
    ("süß", "c", ["a", "b"], ["b", None, "a"]),
    ("dose", "o", ["lo", "mid", "hi"], ["lo", "hi", None]),
]


def test_hash_is_the_documented_one():
    """The documentation and the code would define two different hashes."""
    assert data.content_hash(_every_kind()) == by_the_book(BOOK)


def test_hash_is_pinned():
    """Every case.toml in the world would stop matching its data."""
    pinned = "sha256:c442866d2685172c399c84fab951682abb48088f8a43afaf20f13cba22543c1e"
    assert by_the_book(BOOK) == pinned
    assert data.content_hash(_every_kind()) == pinned


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f[f.columns[::-1]],
        lambda f: f.rename(columns={"n": "m"}),
        lambda f: f.assign(n=f["n"].astype(float)),
        lambda f: f.assign(dose=f["dose"].cat.as_unordered()),
        lambda f: f.assign(dose=f["dose"].cat.remove_unused_categories()),
        lambda f: f.assign(dose=f["dose"].cat.reorder_categories(["mid", "lo", "hi"])),
        lambda f: f.assign(n=f["n"] + 1),
        lambda f: f.fillna({"x y": 0.0}),
        lambda f: f.iloc[::-1],
    ],
    ids=["order", "name", "kind", "ordered", "unused", "levels", "value", "missing", "rows"],
)
def test_hash_sees(change):
    """A change of content would go unnoticed."""
    assert data.content_hash(change(_every_kind())) != data.content_hash(_every_kind())


def test_hash_ignores_which_nan():
    """The same missing value, stored with other bits, would be another content."""
    odd = np.frombuffer(struct.pack("<Q", 0xFFF8000000000123), "<f8")[0]
    hashes = {data.content_hash(pd.DataFrame({"x": [1.0, nan]})) for nan in (np.nan, odd)}
    assert len(hashes) == 1


def test_normalise_gives_five_kinds():
    """Two ways to hold the same column would reach engines as different types."""
    frame = pd.DataFrame(
        {
            "u8": np.array([1, 2, 3], "uint8"),
            "single": np.array([1, 2, 3], "float32"),
            "holes": pd.array([1, None, 3], "Int64"),
            "text": pd.array(["Z", "é", "a"], dtype=object),
            "logical": [True, None, False],
            "codes": pd.Categorical([10, 9, 10], categories=[10, 9], ordered=True),
            "halves": pd.Categorical([1.0, 2.5, 1.0]),
        },
        index=[7, 8, 9],
    )
    out = data.normalise(frame)
    kinds = {name: data.kind(out[name]) for name in out}
    assert kinds == {
        "u8": "int", "single": "float", "holes": "float", "text": "factor", "logical": "factor",
        "codes": "ordered", "halves": "factor",
    }  # fmt: skip
    levels = {name: list(out[name].cat.categories) for name in out if kinds[name] in ("factor", "ordered")}
    assert levels == {
        "text": ["Z", "a", "é"],
        "logical": ["FALSE", "TRUE"],
        "codes": ["10", "9"],
        "halves": ["1", "2.5"],
    }
    assert list(out.index) == [0, 1, 2]
    assert list(out["logical"].isna()) == [False, True, False]


def test_parquet_round_trip(tmp_path):
    """Types, unused levels or their order would be lost on disk."""
    data.write(_every_kind(), tmp_path / "a.parquet")
    back = data.normalise(data.read(tmp_path / "a.parquet"))
    pd.testing.assert_frame_equal(back, _every_kind())
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_level_order_survives_a_large_dictionary(tmp_path):
    """Parquet gives up its dictionary beyond a megabyte: the order of the levels must not go with it."""
    levels = [f"{number:0100d}" for number in range(15_000, 0, -1)]
    values = pd.Categorical(levels[1:] * 2, categories=levels, ordered=True)
    data.write(pd.DataFrame({"g": values}), tmp_path / "a.parquet")
    back = data.normalise(data.read(tmp_path / "a.parquet"))["g"]
    assert list(back.cat.categories) == levels
    assert list(back) == levels[1:] * 2


def test_write_replaces_at_once(tmp_path):
    """Whoever reads while another writes would see half a file."""
    path = tmp_path / "a.parquet"
    data.write(_every_kind(), path)
    before = path.read_bytes()
    with open(path, "rb") as reader:
        data.write(_every_kind().iloc[:1], path)
        assert reader.read() == before
    assert path.read_bytes() != before


@settings(max_examples=25, deadline=None)
@given(
    floats=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8),
    label=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)
def test_any_content_survives(tmp_path_factory, floats, label):
    """A float's last bit or an unusual label would change on its way through Parquet."""
    path = tmp_path_factory.mktemp("any") / "a.parquet"
    frame = data.normalise(pd.DataFrame({"x": floats, label + "x": [label] * len(floats)}))
    data.write(frame, path)
    assert data.content_hash(data.normalise(data.read(path))) == data.content_hash(frame)


def test_all_formats_agree(tmp_path):
    """The same table would be another content for being saved as csv."""
    frame = pd.DataFrame({"i": [1, 2], "x": [0.1 + 0.2, 1e-310], "g": ["None", "n/a"], "b": [True, False]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.TSV", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    pa.feather.write_feather(frame, tmp_path / "a.feather")
    expected = data.content_hash(data.normalise(frame))
    for name in ("a.csv", "a.TSV", "a.parquet", "a.feather"):
        assert data.content_hash(data.normalise(data.read(tmp_path / name))) == expected


def test_csv_missing_values(tmp_path):
    """R writes NA; a level called None would turn into a hole."""
    (tmp_path / "a.csv").write_text("x,g\n1.5,a\nNA,None\n,\n")
    frame = data.normalise(data.read(tmp_path / "a.csv"))
    assert list(frame["x"].isna()) == [False, True, True]
    assert list(frame["g"].cat.categories) == ["None", "a"]


def _parquet(tmp_path, keep: slice) -> bytes:
    data.write(_every_kind(), tmp_path / "whole.parquet")
    return (tmp_path / "whole.parquet").read_bytes()[keep]


def _twice(tmp_path) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), sink)
    return sink.getvalue().to_pybytes()


def _rowless(tmp_path) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table({"x": pa.array([], pa.float64())}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.parquet", lambda p: _parquet(p, slice(None, -20)), "cut short"),
        ("a.parquet", lambda p: _parquet(p, slice(None, 40)), "cut short"),
        ("a.parquet", lambda p: b"x,y\n1,2\n", "not a Parquet file"),
        ("a.feather", lambda p: b"x,y\n1,2\n", "not a Feather file"),
        ("a.parquet", lambda p: b"", "empty"),
        ("a.csv", lambda p: b"", "empty"),
        ("a.csv", lambda p: b"x,y\n", "no rows"),
        ("a.parquet", _rowless, "no rows"),
        ("a.parquet", _twice, "'x' occurs 2 times"),
        ("a.csv", lambda p: b"x,y,x\n1,2,3\n", "'x' occurs 2 times"),
        ("a.csv", lambda p: b"x,y\n1,2\n1,2,3\n", "line 3"),
        ("a.csv", lambda p: b"x,y\n1,2,3\n4,5,6\n", "more fields"),
        ("a.csv", lambda p: b"x\n\xff\n", "UTF-8"),
        ("a.csv", lambda p: b"x,y\n1,2\n3,\xe9\n", "byte 10 is not UTF-8"),
        ("a.csv", lambda p: b"x,y,z\n1,2,3\n4", "1 of 3 fields"),
        ("a.csv", lambda p: b"x,y,z\r\n1,2,3\r\n4,5\r\n\r\n", "2 of 3 fields"),
        ("a.tsv", lambda p: b'x\ty\n1\t2\n"4"\n', "1 of 2 fields"),
        ("a.xlsx", lambda p: b"PK", "'.xlsx' is not one of .csv"),
    ],
    ids=[
        "truncated",
        "head",
        "not-parquet",
        "not-feather",
        "empty",
        "empty-csv",
        "header-only",
        "rowless",
        "duplicate",
        "duplicate-csv",
        "ragged",
        "shifted",
        "latin1",
        "latin1-late",
        "cut",
        "cut-crlf",
        "cut-tsv",
        "suffix",
    ],
)
def test_bad_files(tmp_path, name, content, words):
    """A damaged file would end in a traceback, or worse in numbers."""
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    with pytest.raises(DataError) as caught:
        data.read(path)
    _one_line(caught.value, str(path), words)


def _one_line(error: BridgeError, *parts: str) -> None:
    message = str(error)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_absent_file_and_folder(tmp_path):
    """A wrong name would end in a traceback."""
    with pytest.raises(DataError) as caught:
        data.read(tmp_path / "no.csv")
    _one_line(caught.value, "no.csv", "no such file", "check")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError) as caught:
        data.read(tmp_path / "folder.csv")
    _one_line(caught.value, "folder.csv", "is a folder")


@contextmanager
def unprivileged():
    """Root may read and write everything: be nobody for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_permissions(tmp_path):
    """A file of somebody else's, or a read-only folder, would end in a traceback."""
    path = tmp_path / "a.parquet"
    data.write(_every_kind(), path)
    path.chmod(0)
    tmp_path.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(DataError) as caught:
            data.read(path)
        _one_line(caught.value, str(path), "no permission to read")
        with unprivileged(), pytest.raises(StoreError) as refused:
            data.write(_every_kind(), tmp_path / "b.parquet")
        _one_line(refused.value, "b.parquet", "no permission to write")
    finally:
        tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_full_disk(tmp_path, monkeypatch):
    """A full disk would leave half a file in place of a whole one."""
    path = tmp_path / "a.parquet"
    data.write(_every_kind(), path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        data.write(_every_kind().iloc[:1], path)
    _one_line(caught.value, str(path), "disk is full")
    assert os.listdir(tmp_path) == ["a.parquet"]
    assert path.read_bytes() == before


def test_write_into_absent_folder(tmp_path):
    """A forgotten folder would end in a traceback."""
    with pytest.raises(StoreError) as caught:
        data.write(_every_kind(), tmp_path / "no" / "a.parquet")
    _one_line(caught.value, "no such folder")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([date(2026, 1, 1), date(2026, 1, 2)], "date"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"]), "Timestamp"),
        (["a", 1], "int and str"),
        ([True, 2], "bool and int"),
        ([1j, 2j], "complex"),
        ([[1], [2]], "list"),
        (pd.Categorical([1, 2], categories=[1, 2, "1"]), "read the same"),
    ],
    ids=["date", "timestamp", "mixed", "logical", "complex", "list", "labels"],
)
def test_columns_without_a_kind(values, words):
    """A column that no engine understands would reach one; unless nobody asked for it."""
    frame = pd.DataFrame({"odd": values, "x": [1.0, 2.0]})
    with pytest.raises(DataError) as caught:
        data.normalise(frame, "trial.csv")
    _one_line(caught.value, "trial.csv", "'odd'", words)
    assert list(data.normalise(frame, "trial.csv", columns=["x"])) == ["x"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([np.nan, np.nan], "all are missing"),
        ([None, None], "all are missing"),
        (pd.Categorical([None, None], categories=["a"]), "all are missing"),
        ([1.0, -np.inf], "infinite in row 2"),
    ],
    ids=["nan", "none", "factor", "inf"],
)
def test_unusable_columns(values, words):
    """All missing or infinite values would reach an engine; unless nobody asked for them."""
    frame = pd.DataFrame({"bad": values, "x": [1.0, 2.0]})
    with pytest.raises(DataError) as caught:
        data.normalise(frame, "trial.csv", columns=["bad", "x"])
    _one_line(caught.value, "trial.csv", "'bad'", words)
    assert list(data.normalise(frame, "trial.csv")) == ["bad", "x"]


def test_semicolons(tmp_path):
    """What a spreadsheet saves where commas are decimal would be called damaged in line 322."""
    (tmp_path / "a.csv").write_text("y;x;g\n1,5;2;a\n2;3;b\n")
    with pytest.raises(DataError) as caught:
        data.read(tmp_path / "a.csv")
    _one_line(caught.value, "a.csv", "separated by ';'", "tsv")
    (tmp_path / "b.csv").write_text('y,"x;z"\n1,2\n')
    assert list(data.read(tmp_path / "b.csv")) == ["y", "x;z"]


def test_text_that_is_not_unicode():
    """A lone surrogate would end in a traceback when hashed or written."""
    for frame in (
        pd.DataFrame({"g": pd.Series(["\ud800"], dtype=object)}),
        pd.DataFrame([[1]], columns=pd.Index(["\udfff"], dtype=object)),
    ):
        with pytest.raises(DataError) as caught:
            data.normalise(frame, "t.csv")
        _one_line(caught.value, "t.csv", "Unicode")


def test_unknown_and_duplicate_columns():
    """A misspelt column would surface deep inside an engine."""
    with pytest.raises(DataError) as caught:
        data.normalise(pd.DataFrame({"x": [1]}), "t.csv", columns=["X"])
    _one_line(caught.value, "t.csv", "no column 'X'", "'x'")
    with pytest.raises(DataError) as caught:
        data.normalise(pd.DataFrame([[1, 2]], columns=["a", "a"]), "t.csv")
    _one_line(caught.value, "'a' occurs 2 times")
    with pytest.raises(DataError) as caught:
        data.normalise(pd.DataFrame({"x": []}), "t.csv")
    _one_line(caught.value, "no rows")


def test_a_last_row_over_several_lines_is_whole(tmp_path):
    """A text with a line break in the last row would be called cut short."""
    (tmp_path / "a.csv").write_text('x,g\n1,a\n2,"b\nc"\n')
    assert list(data.read(tmp_path / "a.csv")["g"]) == ["a", "b\nc"]


def test_any_flipped_byte_is_data_or_an_error(tmp_path):
    """A damaged Parquet file would end in a traceback of Arrow's or Python's."""
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"y": np.arange(50.0), "süß": [f"lé{i}" for i in range(50)]})
    pa.parquet.write_table(pa.Table.from_pandas(frame), path)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            data.normalise(data.read(path), str(path))
        except DataError as error:
            _one_line(error, str(path))


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_integers_beyond_any_double(tmp_path, value):
    """A number of four hundred digits would be a traceback."""
    (tmp_path / "a.csv").write_text(f"x,y\n{value},1\n2,3\n")
    frame = pd.DataFrame({"x": [value, 1], "y": [1, 2]}, dtype=object)
    read = data.read(tmp_path / "a.csv")  # pandas 2.2 reads text there
    for table in (frame,) if isinstance(read["x"].iloc[0], str) else (frame, read):
        with pytest.raises(DataError, match=r"column 'x' has an integer beyond 1\.8e308"):
            data.normalise(table, "trial.csv")
    with pytest.raises(DataError, match=r"integer beyond 1\.8e308"):
        build("y ~ x", frame)
    small = data.normalise(pd.DataFrame({"x": [-(10**30), 1]}, dtype=object))
    assert list(small["x"]) == [-1e30, 1.0]


def test_nul_is_refused(tmp_path):
    """R would cut a label off at a NUL, and a path with one is a traceback."""
    with pytest.raises(DataError, match="NUL"):
        data.normalise(pd.DataFrame({"g": ["a\0b", "c"]}))
    with pytest.raises(DataError, match="NUL"):
        data.normalise(pd.DataFrame({"a\0b": [1.0]}))
    with pytest.raises(DataError, match="no file can have this name"):
        data.read("a\0b.csv")


def test_a_pipe_is_refused(tmp_path):
    """Reading a named pipe that nobody writes to would never end."""
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no regular file"):
        data.read(tmp_path / "a.csv")
