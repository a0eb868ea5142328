"""What studies cost: fits a second, two processes against one, what Dask adds, time against replicates.

``OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.study engines`` (``pairs``, ``dask``, ``replicates``)
prints the tables of docs/studies.md (``engines lme4,nlme``: of those); ``replicates`` draws
docs/figures/study-time.svg. CPU seconds, of this process and of those that it started, so that other work on
the machine weighs less; wall time is told beside.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time, sleep
from typing import Any

from bridge.study.chunk import Chunk
from bridge.study.folder import Folder, chunks
from bridge.study.hand import Hands, Here
from bridge.study.run import check as ready
from bridge.study.run import find, run
from bridge.study.spec import Study

FIGURE = Path(__file__).parents[2] / "docs" / "figures" / "study-time.svg"
ENGINES = (
    *("statsmodels", "ols", "glmm", "mixedlm", "mixedlm-rs", "lme-python", "kamino-lme", "interlace-lme"),
    *("numpy", "lme4", "lmerTest", "pbkrtest", "nlme", "glmmTMB"),
)


def founding(**changes: Any) -> Study:
    """One design of the founding question: 550 rows, ten clusters, a random intercept, ICC .3."""
    asked = Study.load(find("founding-question"))
    grid = {"icc": [0.3], "informative": [0.0]}
    return asked.model_copy(update={"grid": grid, "baselines": (), "audited": 0, **changes})


def children() -> float:
    """CPU seconds of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spent(work: Callable[..., object], *given: Any) -> tuple[float, float, float]:
    """CPU seconds here, CPU seconds of processes that it started and ended, wall seconds."""
    own, theirs, wall = process_time(), children(), perf_counter()
    work(*given)
    return process_time() - own, children() - theirs, perf_counter() - wall


def engines(names: Sequence[str] = ENGINES, more: int = 40) -> None:
    """Fits a CPU second of each engine, and with drawing and judging; start-up taken off by difference."""
    from bridge.batch import Plan, fit
    from bridge.engines import available

    asked = founding()
    (cell,) = asked.cells()
    plan, Y = Plan.of(cell.model, "REML"), cell.responses(cell.seeds(0, 4096))
    alone = min(spent(fit, plan, Y)[0] for _ in range(5))
    whole = min(spent(Chunk(0, 0, 4000).made, asked, cell)[0] for _ in range(5))
    print("| engine | fits a CPU second | with drawing, judging and files |\n|---|---|---|")
    print(f"| batch | {4096 / alone:,.0f} | {4000 / whole:,.0f} |", flush=True)
    here = available()
    for name in names:
        if not isinstance(here.get(name), dict):
            continue
        one = asked.model_copy(update={"engines": (name,)})
        few, many = (spent(Chunk(0, 0, n).made, one, cell) for n in (5, 5 + more))
        own, theirs = many[0] - few[0], many[1] - few[1]
        print(f"| {name} | {more / theirs:,.1f} | {more / (own + theirs):,.1f} |", flush=True)


def studied(asked: Study, maker: Any) -> None:
    """The whole of a study into a folder that is then gone."""
    with tempfile.TemporaryDirectory() as place:
        made = ready(asked)
        run(made, Folder.of(Path(place), asked), maker)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def through(maker: Any, asked: Study, work: list[Chunk]) -> None:
    """Make all chunks, and forget them."""
    for _ in maker.run(asked, work):
        pass


def adopting() -> None:
    """Orphans of processes started here become this one's, so that their CPU time is counted."""
    from ctypes import CDLL

    CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def pairs(rounds: int = 5) -> None:
    """Two processes against one, in turns; the same chunks for both."""
    adopting()
    for label, asked in [
        ("batch, chunk 2,000", founding(replicates=400_000, chunk=2000)),
        ("statsmodels, judged, chunk 5", founding(engines=("statsmodels",), replicates=100, chunk=5)),
    ]:
        start = {
            jobs: spent(studied, asked.model_copy(update={"replicates": jobs, "chunk": 1}), Hands(jobs))
            for jobs in (1, 2)
        }
        cpu, wall, parent = list[float](), list[float](), list[float]()
        for _ in range(rounds):
            one, two = (spent(studied, asked, Hands(jobs)) for jobs in (1, 2))
            a, b = (sum(x[:2]) - sum(start[j][:2]) for j, x in ((1, one), (2, two)))
            cpu.append(a / b)
            wall.append((one[2] - start[1][2]) / (two[2] - start[2][2]) / 2)
            parent.append(two[0] / sum(two[:2]))
        print(
            f"{label}: CPU of one / CPU of two {told(cpu)}; wall {told(wall)} of twice one; "
            f"share of the process that writes {told(parent)}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def told(values: list[float]) -> str:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.3f} ({low:.3f} to {high:.3f})"


def dask(number: int = 30, seconds: float = 4.0) -> None:
    """What a chunk costs beside its fits, by chunks of one replicate, and what Dask takes while it waits.

    CPU of client, scheduler and worker together. A share of whole chunks would hold as much of the waiting as
    the machine is busy otherwise.
    """
    from bridge.study.cluster import Cluster

    asked = founding(replicates=number, chunk=1)
    work = list(chunks(asked, 1))
    cluster: Any = Cluster("local:1", patience=120)

    def total(of: Callable[..., object], *given: Any) -> tuple[float, float]:
        before = sum(cluster.client.run(busy).values())
        own, _, wall = spent(of, *given)
        return own + sum(cluster.client.run(busy).values()) - before, wall

    try:
        through(cluster, asked, work[:4])  # starts things
        waiting = [total(sleep, seconds) for _ in range(3)]
        idle = min(cpu / wall for cpu, wall in waiting)
        costs = []
        for _ in range(5):
            cpu, wall = total(through, cluster, asked, work)
            alone = spent(through, Here(), asked, work)[0]
            costs.append(1000 * (cpu - idle * wall - alone) / number)
    finally:
        cluster.close()
    print(
        f"{told(costs)} CPU ms a chunk beside its fits; waiting takes {idle:.3f} of a CPU; "
        f"load {os.getloadavg()[0]:.1f}"
    )


def busy() -> float:
    """CPU seconds of this process and of all that it started, still there or not."""
    mine = os.times()
    total = mine.user + mine.system + mine.children_user + mine.children_system
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def replicates() -> None:
    """The whole command, from its start to its figures, for ten to a million replicates of a design."""
    text = find("founding-question").read_text()
    text = re.sub(r"\[grid\].*", "", text, flags=re.S).replace('baselines = ["lm", "cluster means"]', "")
    text = text.replace('leaning = "x"', "").replace("audited = 1", "")
    rows = []
    print("| replicates | CPU s | wall s | peak memory MB | files MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "study.toml").write_text(text)
        for number in (10, 1000, 10_000, 100_000, 1_000_000):
            command = [sys.executable, "-m", "bridge.cli", "study", "study.toml", "-o", str(number)]
            command += ["--replicates", str(number)]
            start = perf_counter()
            child = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, _, used = os.wait4(child.pid, 0)
            wall, cpu, peak = perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
            size = sum(path.stat().st_size for path in (Path(place) / str(number)).rglob("*.parquet")) / 1e6
            print(f"| {number:,} | {cpu:.1f} | {wall:.0f} | {peak:.0f} | {size:.1f} |", flush=True)
            rows += [{"replicates": number, "value": cpu, "what": "CPU seconds"}]
            rows += [{"replicates": number, "value": peak, "what": "peak memory, MB"}]
    draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    """Time and memory against replicates, on logarithmic axes."""
    import altair as alt

    from bridge.report.pictures import svg

    data: Any = alt.Data
    chart = (
        alt.Chart(data(values=rows))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "replicates:Q",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~s", tickCount=6, grid=False),
            ),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(type="log", domain=[1, 1000])),
            color=alt.Color("what:N", title=None, scale=alt.Scale(range=["#0072b2", "#d55e00"])),
            strokeDash=alt.StrokeDash("what:N", title=None),
        )
        .properties(width=380, height=240)
    )
    FIGURE.write_text(svg(chart))


if __name__ == "__main__":
    {"engines": engines, "pairs": pairs, "dask": dask, "replicates": replicates}[sys.argv[1]](
        *(names.split(",") for names in sys.argv[2:])
    )
