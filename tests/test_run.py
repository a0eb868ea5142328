"""A run: what is finished is kept, what is unchanged is not refitted, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from bridge import run
from bridge.errors import BridgeError, StoreError
from bridge.run import LocalWorkers, Task, execute
from bridge.store import Store

TESTS = Path(__file__).parent
FRAME = pd.DataFrame({"y": [1.0, 2.0, 3.0, 6.0], "x": [1, 2, 3, 4], "g": list("aabb")})

# What a user's own file looks like: no ``if __name__ == "__main__"``.
SCRIPT = """
import sys, pandas as pd
from bridge.run import Task, LocalWorkers, execute
from bridge.store import Store
frame = pd.DataFrame({"y": [1.0, 2.0, 3.0, 6.0], "x": [1, 2, 3, 4], "g": list("aabb")})
engine, count, folder = ENGINE, COUNT, FOLDER
tasks = [Task("t", frame, f"h{i}", "y ~ x + (1 | g)", "REML", engine) for i in range(count)]
with LocalWorkers(jobs=2) as workers:
    fits = execute(tasks, Store(folder), workers)
print(*(fit.status for _, fit in fits))
"""


def task(engine: str = "Returns", i: int = 0, **options) -> Task:
    """One of many fits of the small frame."""
    return Task("small", FRAME, f"h{i}", "y ~ x + (1 | g)", "REML", f"fakes:{engine}", **options)


def script(engine: str, count: int, folder: Path) -> str:
    """The unguarded script with its three settings."""
    values = {"ENGINE": f"fakes:{engine}", "COUNT": count, "FOLDER": str(folder)}
    text = SCRIPT
    for name, value in values.items():
        text = text.replace(name, repr(value), 1)
    return text


def environment(**more: str) -> dict[str, str]:
    """Where `bridge` and the fakes are found."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS / "engines")])
    return {**os.environ, "PYTHONPATH": path, **more}


def calls(tally: Path) -> list[int]:
    """Process of each call of an engine so far."""
    return [int(line) for line in tally.read_text().split()]


def until(what) -> None:
    """Wait for something that must come."""
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def workers():
    """Two at a time."""
    with LocalWorkers(jobs=2) as workers:
        yield workers


def test_unchanged_second_run_fits_nothing(fakes, store, workers):
    """Work would be done twice."""
    tasks = [task(i=i) for i in range(4)]
    first = execute(tasks, store, workers)
    assert len(calls(fakes)) == 4
    assert execute(tasks, store, workers) == first
    assert len(calls(fakes)) == 4
    assert [asked for asked, _ in first] == tasks


def test_new_version_is_fitted(fakes, store, workers, monkeypatch):
    """Numbers of an old release would be reported as the new one's."""
    ((_, old),) = execute([task()], store, workers)
    monkeypatch.setenv("FAKES_VERSION", "2")
    ((_, new),) = execute([task()], store, workers)
    assert (old.versions, new.versions) == ({"fake": "1"}, {"fake": "2"})
    assert len(calls(fakes)) == 2


def test_missing_engine_starts_no_worker(fakes, store, workers):
    """A machine without R would pay for, or trip over, what it does not have."""
    ((_, fit),) = execute([task("Missing")], store, workers)
    assert (fit.status, fit.reason) == ("unavailable", "fake: not installed; install it")
    assert workers.workers == {}
    assert not store.folder.exists()


def test_bad_engines_leave_the_others_alone(fakes, store, workers):
    """One engine's crash would lose another's fit."""
    wrong = {"Segfaults": "crashed", "Leaves": "crashed", "Raises": "refused", "Hangs": "timed_out"}
    tasks = [task(engine, i, limit=1.0) for i in range(2) for engine in ("Returns", *wrong)]
    fits = execute(tasks, store, workers)
    assert [fit.status for _, fit in fits] == ["ok", *wrong.values()] * 2
    assert [fit.status for _, fit in execute(tasks, store, workers)] == [fit.status for _, fit in fits]
    assert len(calls(fakes)) == len(tasks)


def test_longer_limit_tries_again(fakes, store, workers):
    """A fit that timed out once would have timed out for good."""
    for limit, expected in [(0.2, 1), (0.1, 1), (0.4, 2)]:
        ((_, fit),) = execute([task("Hangs", limit=limit)], store, workers)
        assert fit.status == "timed_out"
        assert len(calls(fakes)) == expected


def test_same_fit_for_two_cases_is_made_once(fakes, store, workers):
    """Cases that share data would be fitted twice, or one would be left out."""
    twins = [Task(name, FRAME, "h", "y ~ x + (1 | g)", "REML", "fakes:Returns") for name in ("a", "b")]
    fits = execute(twins, store, workers)
    assert [fit.status for _, fit in fits] == ["ok", "ok"]
    assert len(calls(fakes)) == 1


def test_progress_counts_every_task(fakes, store, workers):
    """The bar would stop short, or run over."""
    execute([task(i=0)], store, workers)
    seen = []
    tasks = [task(i=0), task(i=1), task("Missing"), task("Leaves")]
    execute(tasks, store, workers, lambda done, total, task, fit: seen.append((done, total, fit.status)))
    assert [(done, total) for done, total, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(status for *_, status in seen) == ["crashed", "ok", "ok", "unavailable"]


def test_languages_do_not_share_a_process(fakes, workers):
    """R would start in every worker, or a crash of Python's take R down."""
    tasks = [task(engine, i) for i in range(6) for engine in ("Returns", "Second")]
    execute(tasks, None, workers)
    assert len(set(calls(fakes))) == 2


def test_more_workers_start_when_one_cannot_keep_up(fakes, monkeypatch):
    """Many slow fits would go through one worker."""
    monkeypatch.setattr(run, "PATIENCE", 0.0)
    monkeypatch.setenv("FAKES_SECONDS", "0.4")
    with LocalWorkers(jobs=2) as workers:
        execute([task(i=i) for i in range(8)], None, workers)
    assert len(set(calls(fakes))) == 2


def test_workers_are_reused_and_then_stopped(fakes):
    """Each run would pay R's start-up, or processes would be left behind."""
    with LocalWorkers(jobs=1) as workers:
        for i in range(3):
            execute([task(i=i)], None, workers)
        (pid,) = set(calls(fakes))
        assert alive(pid)
    assert not alive(pid)


def test_bad_formula_stops_the_run_and_keeps_the_rest(fakes, store, workers):
    """The user's mistake would be an engine's verdict, or cost finished work."""
    bad = Task("small", FRAME, "h9", "y ~ nix + (1 | g)", "REML", "fakes:Returns")
    with LocalWorkers(jobs=1) as one, pytest.raises(BridgeError, match="nix"):
        execute([task(i=0), task(i=1), bad], store, one)
    assert store.dataset().count_rows() == 2


def test_workers_of_a_run_that_failed_start_clean(fakes, workers, monkeypatch):
    """A later run would be given the answer to what an earlier one, cut short, had asked."""
    monkeypatch.setenv("FAKES_SECONDS", "2")
    slow = [Task("small", FRAME.assign(y=9.0), "nines", "y ~ (1 | g)", "ML", "fakes:Returns")]
    bad = [Task("small", FRAME, "h9", "y ~ nix + (1 | g)", "REML", "fakes:Second")]
    with pytest.raises(BridgeError, match="nix"):
        execute(slow + bad, None, workers)
    ((_, fit),) = execute([task()], None, workers)
    assert (fit.method, fit.rows[0].estimate) == ("REML", 3.0)


def test_unknown_engine_is_an_error(store):
    """A typing error would count as an engine that is not installed."""
    with pytest.raises(BridgeError, match="lme5"):
        execute([Task("small", FRAME, "h", "y ~ x + (1 | g)", "REML", "lme5")], store)


def test_full_store_keeps_what_is_finished(fakes, store):
    """A full disk would cost all that was done before."""

    class Full(Store):
        def put(self, key, fit):
            if self.folder.exists() and len(list(self.folder.glob("*.parquet"))) == 2:
                raise StoreError("full")
            super().put(key, fit)

    tasks = [task(i=i) for i in range(4)]
    with LocalWorkers(jobs=1) as workers:
        with pytest.raises(StoreError, match="full"):
            execute(tasks, Full(store.folder), workers)
        made = len(calls(fakes))
        execute(tasks, store, workers)
    assert len(calls(fakes)) == made + 2


@pytest.mark.parametrize("way", ["file", "stdin", "command"])
def test_unguarded_script(fakes, store, tmp_path, way):
    """A script without a __main__ guard, or one read from stdin, would start itself over and over."""
    text = script("Returns", 4, store.folder)
    (tmp_path / "mine.py").write_text(text)
    command = {"file": [str(tmp_path / "mine.py")], "stdin": ["-"], "command": ["-c", text]}[way]
    done = subprocess.run(
        [sys.executable, *command], input=text if way == "stdin" else None,
        env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("ok ok ok ok\n", "", 0)
    assert len(calls(fakes)) == 4


def test_modules_in_the_current_folder_do_not_shadow(fakes, store, tmp_path):
    """A user's own ``numpy.py`` next to her data would break every worker."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "numpy.py").write_text("raise SystemExit('shadowed')")
    text = script("Returns", 1, store.folder)
    (tmp_path / "mine.py").write_text(text)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "mine.py")],
        env=environment(), cwd=work, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_under_xdist(fakes, store, tmp_path):
    """Workers could not be started from pytest's own."""
    body = script("Returns", 2, store.folder).replace("\n", "\n    ").rstrip()
    test = f"def test_it(which):{body}\n    assert [f.status for _, f in fits] == ['ok', 'ok']\n"
    head = "import pytest\n\n@pytest.mark.parametrize('which', range(2))\n"
    (tmp_path / "test_mine.py").write_text(head + test)
    pytest_n2 = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_mine.py", "--rootdir"]
    done = subprocess.run(
        [sys.executable, *pytest_n2, str(tmp_path)],
        env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout


def test_killed_run_resumes(fakes, store, tmp_path):
    """A run killed midway would begin anew, or leave its workers behind."""
    count = 10
    command = [sys.executable, "-c", script("Returns", count, store.folder)]
    first = subprocess.Popen(command, env=environment(FAKES_SECONDS="0.3"))
    until(lambda: len(list(store.folder.glob("*.parquet"))) >= 3)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not any(alive(pid) for pid in set(calls(fakes))))
    before, kept = len(calls(fakes)), len(list(store.folder.glob("*.parquet")))
    assert 3 <= kept < count
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ok"] * count
    assert len(calls(fakes)) == before + count - kept


def test_killed_run_takes_a_hung_worker_along(fakes, store):
    """A worker that hangs in compiled code would outlive the run for ever."""
    run = subprocess.Popen([sys.executable, "-c", script("Hangs", 1, store.folder)], env=environment())
    until(lambda: calls(fakes))
    (pid,) = calls(fakes)
    assert alive(pid)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    until(lambda: not alive(pid))


def test_ctrl_c_stops_workers_and_keeps_fits(fakes, store):
    """Ctrl-C would leave workers at work, or lose finished fits."""
    text = script("Returns", 10, store.folder)
    run = subprocess.Popen(
        [sys.executable, "-c", text],
        env=environment(FAKES_SECONDS="0.3"),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    until(lambda: len(list(store.folder.glob("*.parquet"))) >= 2)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=30)
    assert "KeyboardInterrupt" in stderr
    assert not any(alive(pid) for pid in set(calls(fakes)))
    assert store.dataset().count_rows() == len(list(store.folder.glob("*.parquet"))) >= 2


def test_two_runs_at_once(fakes, store):
    """Two runs on one store would break each other's files."""
    command = [sys.executable, "-c", script("Returns", 12, store.folder)]
    both = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        assert one.communicate(timeout=120)[0].split() == ["ok"] * 12
    assert sorted({"ok"} | set(store.dataset().to_table()["status"].to_pylist())) == ["ok"]
    assert len(os.listdir(store.folder)) == 12 + 1  # and .gitignore: no half-written file


def test_truncated_store_file_is_refitted(fakes, store, workers):
    """A file cut short by a power failure would stop every later run."""
    execute([task(i=i) for i in range(3)], store, workers)
    broken = next(store.folder.glob("*.parquet"))
    broken.write_bytes(broken.read_bytes()[:-20])
    assert [fit.status for _, fit in execute([task(i=i) for i in range(3)], store, workers)] == ["ok"] * 3
    assert len(calls(fakes)) == 4
