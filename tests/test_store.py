"""The store: what is kept is what was made, and nothing else is taken for it."""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bridge import engines, resources, store
from bridge.errors import StoreError
from bridge.fit import Fit, Row, schema
from bridge.store import Key, Store

KEY = Key("d" * 64, "y ~ x + (1 | g)", "omit", "REML", "lme4", "default", '{"lme4": "1.1-31"}', "s" * 64)
FIT = Fit(
    "lme4", "REML", "default",
    rows=(
        Row("fixed", "(Intercept)", 251.4051048484854, std_error=6.824597),
        Row("ran_vals", "Days", 2.5, "b:a", ("é:/ 1", "")),
        Row("ran_pars", "var__Observation", math.inf, "Residual"),
    ),
    loglik=-871.8141359792454, sigma=25.59, n=180, converged=None,
    messages=("boundary (singular) fit",), seconds=0.01, versions={"R": "4.2.2"}, limit=60.0,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def test_what_is_put_is_got(folder):
    """A stored fit would differ from the one that was made."""
    assert folder.get(KEY) is None
    folder.put(KEY, FIT)
    assert folder.get(KEY) == FIT
    assert sorted(os.listdir(folder.folder)) == [".gitignore", f"{KEY.name}.parquet"]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Key)])
def test_each_dependency_makes_another_name(folder, field):
    """A fit would be taken for that of other data, another formula, another version."""
    folder.put(KEY, FIT)
    other = dataclasses.replace(KEY, **{field: 2 if field == "format" else "other"})
    assert folder.get(other) is None


def test_fields_do_not_run_into_each_other():
    """Two keys whose fields join to the same text would share a file."""
    assert (
        dataclasses.replace(KEY, data="ab", formula="c").name
        != dataclasses.replace(KEY, data="a", formula="bc").name
    )


def test_time_out_counts_up_to_its_limit(folder):
    """A fit given more time would not be tried again; or one given the same would."""
    folder.put(KEY, FIT.having(status="timed_out", rows=(), limit=60.0))
    assert folder.get(KEY, limit=60.0) is not None
    assert folder.get(KEY, limit=10.0) is not None
    assert folder.get(KEY, limit=61.0) is None


def test_unavailable_is_not_kept(folder):
    """An engine installed later would still be reported missing."""
    folder.put(KEY, FIT.having(status="unavailable", rows=()))
    assert not folder.folder.exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "foreign", "flipped", "folder"])
def test_damaged_file_is_as_good_as_none(folder, damage):
    """A half-written or foreign file would stop the run, or be believed."""
    folder.put(KEY, FIT)
    path = folder.path(KEY)
    content = path.read_bytes()
    if damage == "foreign":
        pq.write_table(pq.read_table(path).drop_columns(["rows"]), path)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        where = content.index(b"boundary")
        path.write_bytes(
            {
                "truncated": content[: len(content) // 2],
                "empty": b"",
                "text": b"not Parquet",
                "flipped": content[:where] + b"B" + content[where + 1 :],
            }[damage]
        )
    assert folder.get(KEY) is None
    if damage != "folder":
        folder.put(KEY, FIT)
        assert folder.get(KEY) == FIT


def test_disk_full_leaves_nothing_half_written(folder):
    """A full disk would leave a broken file, or take what was there before."""
    folder.put(KEY, FIT)
    before = sorted(os.listdir(folder.folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for method in ("ML", "REML"):
            with pytest.raises(StoreError, match=r"cannot be written to .*; make room or name another"):
                folder.put(dataclasses.replace(KEY, method=method), FIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(os.listdir(folder.folder)) == before
    assert folder.get(KEY) == FIT


@pytest.mark.parametrize("place", ["/proc/lmmbridge", "file/store"])
def test_folder_that_cannot_be_made(tmp_path, place):
    """A read-only place would be a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="LMMBRIDGE_STORE"):
        Store(tmp_path / place).put(KEY, FIT)


def test_folder_by_default(monkeypatch, tmp_path):
    """The variable would be ignored."""
    monkeypatch.setenv("LMMBRIDGE_STORE", str(tmp_path / "mine"))
    assert Store().folder == tmp_path / "mine"
    monkeypatch.delenv("LMMBRIDGE_STORE")
    assert Store().folder == Path(".lmmbridge")


def test_dataset_is_all_fits(folder):
    """A fit would be missing from the table, or a broken file would hide all."""
    keys = [dataclasses.replace(KEY, method=method) for method in ("REML", "ML")]
    for key in keys:
        folder.put(key, FIT.having(method=key.method))
    (folder.folder / "broken.parquet").write_bytes(b"PAR1")
    table = folder.dataset().to_table()
    assert set(schema().names) <= set(table.column_names)
    assert sorted(table["method"].to_pylist()) == ["ML", "REML"]
    assert set(table["data"].to_pylist()) == {KEY.data}
    assert Store(folder.folder / "none").dataset().to_table().num_rows == 0


def test_source_follows_the_adapter(monkeypatch, tmp_path):
    """An edited adapter's old fits would be taken for the new one's."""
    theirs = tmp_path / "theirs.py"
    shutil.copy(Path(__file__).parent / "engines" / "fakes.py", theirs)
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = engines.get("theirs:Returns")
    before = store.source(engine)
    theirs.write_text(theirs.read_text() + "\n")
    assert store.source(engine) == before, "within a process the text is read once"
    store._source.cache_clear()
    assert store.source(engine) != before


def test_source_covers_model_and_shared_code():
    """A change in what the adapter builds on would go unseen."""
    names = {path.name for path in store._closure("bridge.model")}
    assert {"model.py", "formula.py", "coding.py"} <= names
    assert "store.py" not in names


@pytest.mark.parametrize(("edited", "changes"), [("lme4.R", True), ("tidy.R", True), ("nlme.R", False)])
def test_source_covers_its_own_r_file(monkeypatch, tmp_path, edited, changes):
    """An edited R file would not refit, or would refit every R engine."""
    copy = shutil.copytree(resources.find("r"), tmp_path / "r")
    monkeypatch.setattr(resources, "find", lambda name: copy)
    store._source.cache_clear()
    before = store._source("bridge.fit", "lme4")
    (copy / edited).write_text((copy / edited).read_text() + "\n# edited\n")
    store._source.cache_clear()
    assert (store._source("bridge.fit", "lme4") != before) is changes
    store._source.cache_clear()
