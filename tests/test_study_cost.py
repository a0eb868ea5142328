"""What a study costs: absurd sizes are refused by arithmetic, and what --dry-run says comes true."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bridge.errors import CaseError, StoreError
from bridge.study import chunk, cost
from bridge.study.chunk import Chunk
from bridge.study.cost import affordable, lasting, measured
from bridge.study.folder import Folder
from bridge.study.hand import Here
from bridge.study.run import check, run, unfinished
from tests.front import program
from tests.test_study import TEXT, study


def test_a_grid_that_explodes_asks_first(tmp_path: Path) -> None:
    """Millions of fits would begin by a slip of the pen, or their designs be made to count them."""
    asked = study(
        tmp_path, grid={"icc": [i / 1e4 for i in range(1, 3000)], "intercept": [float(i) for i in range(100)]}
    )
    with pytest.raises(CaseError, match=r"299,900 designs and 71,976,000 fits; say --yes"):
        check(asked)
    affordable(asked, yes=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"replicates": 10**18},
            r"chunk: 20 replicates a file makes .* files.* set chunk to 2,000,000,000,000",
        ),
        ({"grid": {"icc": [0.1] * 1000, "intercept": [0.0] * 1001}}, "grid: 1,001,000 designs .* shorten"),
    ],
    ids=["replicates", "grid"],
)
def test_what_no_folder_can_hold_is_refused_whatever_is_said(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """--yes would let a list of billions of chunks fill the memory."""
    with pytest.raises(CaseError, match=said):
        affordable(study(tmp_path, **changes), yes=True)


def test_the_chunk_that_is_asked_for_is_enough(tmp_path: Path) -> None:
    """Who follows the message would get it again."""
    asked = study(tmp_path, replicates=10**10 + 7)
    with pytest.raises(CaseError) as caught:
        affordable(asked, yes=True)
    found = re.search(r"set chunk to ([\d,]+)", str(caught.value))
    assert found
    least = int(found[1].replace(",", ""))
    affordable(asked.model_copy(update={"chunk": least}), yes=True)
    with pytest.raises(CaseError):
        affordable(asked.model_copy(update={"chunk": least - 1}), yes=True)


def test_a_disk_that_cannot_hold_it_is_told_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk would be full after hours."""
    asked = study(tmp_path)
    ready, folder = check(asked), Folder.of(tmp_path / "out", asked)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 6000))
    # 60 replicates, 2 designs, 1 estimand: a batch and two baselines, of 24 and 16 bytes
    with pytest.raises(
        StoreError, match=r"out: what is left needs 6\.7 kB at least, and 6\.0 kB are free; make room"
    ):
        run(ready, folder, Here())
    assert unfinished(ready, folder)


def test_what_is_finished_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that became full a finished study could not even be summed up."""
    asked = study(tmp_path)
    ready, folder = check(asked), Folder.of(tmp_path / "out", asked)
    run(ready, folder, Here())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 0))
    assert run(ready, folder, Here()) == 0


def test_the_estimate_of_disk_comes_true(tmp_path: Path) -> None:
    """--dry-run would promise another size than the folder gets."""
    asked = study(tmp_path, replicates=3000, chunk=1000)
    ready, folder = check(asked), Folder.of(tmp_path / "out", asked)
    left = unfinished(ready, folder)
    found = measured(asked, ready.cells, left)
    run(ready, folder, Here())
    files = list((folder.path / "chunks").glob("*.parquet"))
    size = sum(path.stat().st_size for path in files)
    assert found.size == pytest.approx(size, rel=0.2)
    rows = [row for path in files for row in pq.read_table(path, columns=["engine"]).to_pylist()]
    batched = sum(row["engine"] == "batch" for row in rows)
    assert size > cost.BATCHED * batched + cost.OTHER * (len(rows) - batched)
    assert found.speed > 0
    assert found.seconds == pytest.approx(6000 / found.speed)


def test_large_data_sets_are_drawn_in_smaller_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand data sets of a million rows would be in memory together."""
    assert [chunk.lane(rows) for rows in (10, 1000, 1001, 10**6, 10**8)] == [2000, 2000, 1998, 2, 1]
    (cell,) = study(tmp_path, grid={}).cells()
    drawn: list[int] = []
    real = type(cell).responses
    monkeypatch.setattr(type(cell), "responses", lambda c, seeds: drawn.append(len(seeds)) or real(c, seeds))
    monkeypatch.setattr(chunk, "CELLS", 7 * cell.rows)
    Chunk(0, 0, 20).made(study(tmp_path, grid={}), cell)
    assert drawn == [7, 7, 6]


def test_judging_few_at_a_time_changes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judged fit would depend on the others that are in memory with it."""
    asked = study(tmp_path, engines=("numpy",), baselines=(), grid={})
    (cell,) = asked.cells()
    parts = []
    for judged in (50, 2):
        monkeypatch.setattr(chunk, "JUDGED", judged)
        (tmp_path / "one.parquet").write_bytes(Chunk(0, 0, 5).made(asked, cell))
        parts.append(pq.read_table(tmp_path / "one.parquet").to_pylist())
    assert parts[0] == parts[1]
    assert [row["replicate"] for row in parts[0]] == [0, 1, 2, 3, 4]


def test_a_dry_run_says_what_it_takes(tmp_path: Path) -> None:
    """The size of a study would be seen only when it is too late."""
    (tmp_path / "study.toml").write_text(TEXT)
    command = "-m", "bridge.cli", "study", "study.toml", "--dry-run", "--jobs", "2"
    dry = program(*command, cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    for said in (
        r"study: 2 designs x 60 replicates, 480 fits in 6 chunks",
        r"engines +1: batch\n",
        r"methods +1: REML\n",
        r"profiles +1: default\n",
        r"baselines +3: lm, cluster means, no pooling\n",
        r"fits +4 of each replicate",
        r"chunks +of 20 replicates; 0 finished in study-study\n",
        r"speed +[\d,.e+]+ replicates a second in one process",
        r"time +about \d+ s in 2 processes",
        r"disk +about [\d.]+ kB; .* are free",
        r"memory +up to 35\d MB a process",
    ):
        assert re.search(said, dry.stdout), said
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]
    absurd = program(*command, "--replicates", str(10**18), cwd=tmp_path)
    assert absurd.returncode == 2
    assert "study.toml: chunk: 20 replicates a file makes" in absurd.stderr


def test_other_engines_by_option(tmp_path: Path) -> None:
    """A bundled study could not be run where one of its engines is not installed."""
    (tmp_path / "study.toml").write_text(TEXT.replace("[design]", "engines = ['lme4']\n[design]", 1))
    command = "-m", "bridge.cli", "study", "study.toml", "--dry-run", "--engines"
    found = program(*command, "batch,numpy", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "engines    2: batch, numpy" in found.stdout
    double = program(*command, "batch,batch", cwd=tmp_path)
    assert double.returncode == 2
    assert "engines: 'batch' is named twice" in double.stderr


def test_words_for_times() -> None:
    """An hour would be told in seconds."""
    assert [lasting(s) for s in (0.2, 90, 600, 9000, 864_000)] == ["1 s", "90 s", "10 min", "2 h", "10 days"]
