"""A study on a real Dask cluster: a scheduler and two workers on the loopback, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.errors import BridgeError, UnavailableError
from bridge.study.folder import Folder, chunks
from bridge.study.hand import Here
from bridge.study.run import check, run
from bridge.study.spec import Study
from tests.front import environment
from tests.test_study import TEXT, digest, study

if TYPE_CHECKING:
    from bridge.study.cluster import Cluster

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


class Grid:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.children = folder, list[subprocess.Popen[bytes]]()
        self.address = f"tcp://127.0.0.1:{self.port}"

    def start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        """``dask scheduler`` or ``dask worker``."""
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *arguments]
        child = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def scheduler(self) -> subprocess.Popen[bytes]:
        """At the grid's address."""
        return self.start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def worker(self) -> subprocess.Popen[bytes]:
        """One thread, no nanny: when it is killed it is dead."""
        return self.start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """At once, with what it started."""
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    """Two workers and a scheduler."""
    made = Grid(tmp_path)
    made.scheduler()
    made.worker()
    made.worker()
    yield made
    for child in made.children:
        made.kill(child)


def finished(folder: Path) -> int:
    """Chunks on disk."""
    return len(list((folder / "chunks").glob("[!.]*.parquet")))


def run_broken(
    asked: Study, folder: Folder, cluster: Cluster, after: int, breaking: Callable[[], None]
) -> None:
    """Run all of it on a cluster; once `after` replicates are done, something breaks."""
    broken = False

    def progress(done: int, total: int) -> None:
        nonlocal broken
        if done >= after and not broken:
            broken = True
            breaking()

    try:
        run(check(asked), folder, cluster, progress)
    finally:
        cluster.close()
    assert broken


def test_a_cluster_that_loses_a_worker_finds_what_one_process_does(tmp_path: Path, grid: Grid) -> None:
    """A chunk would be lost, doubled or different when its worker dies; R's own processes apart."""
    from bridge.study.cluster import Cluster

    asked = study(
        tmp_path, TEXT.replace("chunk = 20", "chunk = 10"), engines=("batch", "numpy"), replicates=30
    )
    folder = Folder.of(tmp_path / "out", asked)
    cluster = Cluster(grid.address, patience=60)
    run_broken(asked, folder, cluster, 1, lambda: grid.kill(grid.children[1]))
    assert folder.digest(list(asked.cells()), list(chunks(asked, 2))) == digest(
        asked, tmp_path / "alone", Here()
    )


def test_a_killed_client_goes_on_under_a_new_scheduler(tmp_path: Path, grid: Grid) -> None:
    """What a client had got before it was killed would be lost, or be made again."""
    from bridge.study.cluster import Cluster

    text = TEXT.replace("chunk = 20", "chunk = 5").replace("= 60", "= 200")
    (tmp_path / "study.toml").write_text(text)
    command = [sys.executable, "-m", "bridge.cli", "study", "study.toml", "-o", "out", "--dask", grid.address]
    client = subprocess.Popen(command, cwd=tmp_path, env=environment(), start_new_session=True)
    until = time.monotonic() + 90
    while finished(tmp_path / "out") < 3 and time.monotonic() < until and client.poll() is None:
        time.sleep(0.02)
    grid.kill(client)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "chunks").glob("[!.]*.parquet")}
    assert len(kept) >= 3
    for child in list(grid.children):
        grid.kill(child)
    grid.scheduler()
    grid.worker()
    asked = Study.load(tmp_path / "study.toml")
    cluster = Cluster(grid.address, patience=60)
    try:
        found = digest(asked, tmp_path / "out", cluster)
    finally:
        cluster.close()
    assert found == digest(asked, tmp_path / "alone", Here())
    assert all((tmp_path / "out" / "chunks" / name).stat().st_mtime_ns == at for name, at in kept.items())


def test_a_scheduler_that_comes_back_gets_what_it_lost(tmp_path: Path, grid: Grid) -> None:
    """A study of days would end with the scheduler, though its client lives."""
    from bridge.study.cluster import Cluster

    asked = study(tmp_path, TEXT.replace("chunk = 20", "chunk = 5"), replicates=60)

    def restart() -> None:
        for child in list(grid.children):
            grid.kill(child)
        grid.scheduler()
        grid.worker()

    folder = Folder.of(tmp_path / "out", asked)
    run_broken(asked, folder, Cluster(grid.address, patience=60), 10, restart)
    assert folder.digest(list(asked.cells()), list(chunks(asked, 2))) == digest(
        asked, tmp_path / "alone", Here()
    )


def test_a_worker_with_other_software_is_refused(
    tmp_path: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of two versions of an engine would be summed as if they were of one."""
    from bridge.study import cluster
    from bridge.study.folder import ingredients

    asked = study(tmp_path, engines=("numpy",), replicates=4, chunk=2, baselines=())
    real = ingredients(asked)
    monkeypatch.setattr(cluster, "ingredients", lambda study: real | {"numpy": [{"numpy": "0.1"}, "f" * 64]})
    made = cluster.Cluster(grid.address, patience=60)
    folder = Folder.of(tmp_path / "out", asked)
    try:
        with pytest.raises(
            BridgeError, match=r"other software than this machine, numpy: numpy [\d.]+, adapter"
        ) as e:
            run(check(asked), folder, made)
    finally:
        made.close()
    assert "for numpy 0.1, adapter ffffffff; install the same on both; finished chunks are kept" in str(
        e.value
    )
    assert finished(tmp_path / "out") == 0


def test_workers_started_here(tmp_path: Path) -> None:
    """``--dask local:2`` would need a scheduler of the user's own."""
    from bridge.study.cluster import Cluster

    asked = study(tmp_path)
    cluster = Cluster("local:2", patience=60)
    try:
        assert digest(asked, tmp_path / "a", cluster) == digest(asked, tmp_path / "b", Here())
    finally:
        cluster.close()


def test_a_scheduler_that_does_not_answer_is_one_line() -> None:
    """The study would hang, or end in a traceback of another library's."""
    from bridge.study.cluster import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnavailableError, match="no scheduler with a worker answered within 2 s") as caught:
        Cluster(address, patience=2)
    assert "\n" not in str(caught.value)
    with pytest.raises(BridgeError, match="write local:2"):
        Cluster("local:two")
