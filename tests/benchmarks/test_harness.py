"""What the harness adds to the engines' own time, over the bundled cases; printed with ``pytest -s``.

Share = (worker time between a task's start and end - the engine's seconds) / the engine's seconds.
Start-up of workers, with R and its packages, is apart.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

import pytest

from bridge.case import discover
from bridge.resources import find
from bridge.run import LocalWorkers, Task, execute
from bridge.store import Store

SHARE = 0.10


def tasks(*engines: str) -> list[Task]:
    """Every bundled case that is not slow, by both methods."""
    return [
        Task(c.id, c.folder / "data.parquet", c.spec.data.hash, c.spec.formula, method, engine)
        for c in discover(find("cases"))
        if "slow" not in c.spec.tags
        for method in c.spec.methods
        for engine in engines
    ]


@pytest.mark.needs_r
@pytest.mark.slow
def test_share_of_the_harness_in_a_full_run() -> None:
    """A referee that costs more than a tenth of what it judges would be left out."""
    engines = ("numpy", "statsmodels", "ols", "lme4", "nlme", "glmmTMB", "lm")
    with LocalWorkers(2) as workers:
        fits = [fit for _, fit in workers.run(tasks(*engines))]
        every = [worker for group in workers.workers.values() for worker in group]
        busy, own = sum(w.seconds for w in every), sum(w.engine_seconds for w in every)
        started = [round(w.start_up, 1) for w in every]
    share = (busy - own) / own
    print(f"{len(fits)} fits: engines {own:.1f} s, workers {busy:.1f} s, share {share:.3f}")
    print(f"start-up {started} s")
    assert {fit.status for fit in fits} <= {"ok", "refused"}
    assert share <= SHARE


@pytest.mark.slow
def test_an_unchanged_second_run_is_a_small_part_of_the_first(tmp_path) -> None:
    """What is in the store would be fitted or judged again."""
    command = [sys.executable, "-m", "bridge.cli", "run", "--engines", "numpy,statsmodels,ols", "--exit-zero"]
    command += ["--store", str(tmp_path)]
    times = []
    for _ in range(2):
        start = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(perf_counter() - start)
    print(f"first run {times[0]:.1f} s, second {times[1]:.2f} s")
    assert times[1] < 0.5 * times[0]
    assert execute(tasks("numpy"), Store(tmp_path))
