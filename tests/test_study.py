"""Studies: the same bits anywhere, nothing lost or doubled, and the founding question's published figures."""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bridge.errors import CaseError, ModelError, StoreError
from bridge.model import build
from bridge.study.baseline import Baseline
from bridge.study.chunk import Chunk
from bridge.study.folder import Folder, chunks
from bridge.study.hand import Hands, Here
from bridge.study.report import write
from bridge.study.run import bundled, check, find, run
from bridge.study.spec import Study
from bridge.study.summary import Summary, Tally, wilson
from tests.front import program

TEXT = """
schema = "lmmbridge-study/1"
seed = 7
replicates = 60
chunk = 20
baselines = ["lm", "cluster means", "no pooling"]
[design]
icc = 0.3
clusters = { sizes = [3, 4, 5, 6, 8, 9] }
[[design.predictors]]
name = "x"
level = "cluster"
kind = "binary"
effect = 1.0
[grid]
icc = [0.1, 0.5]
"""


def study(tmp_path: Path, text: str = TEXT, **changes: object) -> Study:
    """A small study, some fields changed."""
    path = tmp_path / "study.toml"
    path.write_text(text)
    return Study.load(path).model_copy(update=changes)


def digest(asked: Study, folder: Path, maker: object) -> str:
    """Run it, and the digest of what it found."""
    ready = check(asked)
    kept = Folder.of(folder, asked)
    run(ready, kept, maker)
    return kept.digest(ready.cells, list(chunks(asked, len(ready.cells))))


def summed(asked: Study, folder: Path) -> Summary:
    """Its summary, run here."""
    ready, kept = check(asked), Folder.of(folder, asked)
    run(ready, kept, Here())
    return Summary.of(kept, ready.cells, chunks(asked, len(ready.cells)))


def test_a_replicate_can_be_drawn_again_alone(tmp_path: Path) -> None:
    """A candidate case would not be the data set that the study saw."""
    for text in (TEXT, TEXT.replace("icc = [0.1", "intercept = [3.0, 4.0]\nicc = [0.1")):
        cell = list(study(tmp_path, text).cells())[-1]
        seeds = cell.seeds(1020, 1030)
        assert seeds == [cell.seeds(i, i + 1)[0] for i in range(1020, 1030)]
        assert len(set(seeds)) == 10
        for y, seed in zip(cell.responses(seeds), seeds, strict=True):
            assert np.array_equal(y, cell.again(seed).draw().frame.y.to_numpy())


def test_slopes_are_drawn_as_the_design_draws_them(tmp_path: Path) -> None:
    """Batches would be fitted to other data than those of Design.draw."""
    text = TEXT.replace("icc = 0.3\n", "residual_sd = 0.7\n").replace("[grid]\nicc = [0.1, 0.5]", "")
    text = text.replace(" }\n", ', slopes = ["t"], covariance = [[0.4, 0.1], [0.1, 0.2]] }\n')
    text += '[[design.predictors]]\nname = "t"\nkind = "sequence"\neffect = 0.3\n'
    (cell,) = study(tmp_path, text).cells()
    seeds = cell.seeds(0, 5)
    for y, seed in zip(cell.responses(seeds), seeds, strict=True):
        assert np.array_equal(y, cell.again(seed).draw().frame.y.to_numpy())


def test_other_places_on_the_grid_change_no_seed(tmp_path: Path) -> None:
    """A longer grid would make every finished chunk worthless."""
    one = study(tmp_path, TEXT.replace("[0.1, 0.5]", "[0.5]"))
    assert next(iter(one.cells())).seeds(0, 9) == list(study(tmp_path).cells())[1].seeds(0, 9)


def test_a_stopped_study_goes_on(tmp_path: Path) -> None:
    """What is finished would be lost, or counted twice."""
    asked = study(tmp_path)
    whole = digest(asked, tmp_path / "whole", Here())
    ready, folder = check(asked), Folder.of(tmp_path / "half", asked)
    wanted = list(chunks(asked, 2))

    class Stopped(Here):
        def run(self, study: Study, chunks: Sequence[Chunk]) -> Generator[tuple[Chunk, bytes], None, None]:
            yield from list(super().run(study, chunks[:2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        run(ready, folder, Stopped())
    assert sum(folder.done(ready.cells[c.place], c) for c in wanted) == 2
    (folder.path / "chunks" / ".half-written").write_bytes(b"PAR1")
    assert run(ready, folder, Here()) == len(wanted) - 2
    assert run(ready, folder, Here()) == 0
    assert folder.digest(ready.cells, wanted) == whole
    tallies = Summary.of(folder, ready.cells, wanted).tallies
    assert {t.replicates for t in tallies.values()} == {asked.replicates}


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    """Results would depend on who made them."""
    asked = study(tmp_path)
    assert digest(asked, tmp_path / "a", Hands(2)) == digest(asked, tmp_path / "b", Here())


def test_chunk_size_changes_no_row(tmp_path: Path) -> None:
    """A replicate would depend on its neighbours."""
    cell = next(iter(study(tmp_path).cells()))
    asked = study(tmp_path)
    whole = pq.read_table(_file(tmp_path, Chunk(0, 0, 30).made(asked, cell))).to_pandas()
    parts = [
        pq.read_table(_file(tmp_path, Chunk(0, a, a + 10).made(asked, cell))).to_pandas() for a in (0, 10, 20)
    ]
    both = [
        np.sort(frame[frame.engine == "batch"].estimate.to_numpy()) for frame in (whole, pd.concat(parts))
    ]
    assert np.array_equal(*both)


def _file(folder: Path, content: bytes) -> Path:
    (folder / "one.parquet").write_bytes(content)
    return folder / "one.parquet"


def test_measures_are_morris_whites(tmp_path: Path) -> None:
    """A measure or its Monte Carlo error would not be that of Morris, White & Crowther's table 6."""
    rng = np.random.default_rng(3)
    e, se = rng.normal(1.2, 0.5, 400), rng.uniform(0.3, 0.6, 400)
    tally = Tally(1.0)
    for part in (slice(0, 150), slice(150, 400)):
        n = len(e[part])
        blank = np.full(n, math.nan)
        rows = {"estimate": e[part], "std_error": se[part], "df": blank, "between_df": np.full(n, 8.0)}
        flags = dict.fromkeys(("converged", "singular", "silent"), np.zeros(n, bool))
        tally.add({**rows, **flags, "adjusted_error": blank, "adjusted_df": blank, "verdict": [None] * n})
    found = tally.measures()
    sd = e.std(ddof=1)
    assert found["bias"] == pytest.approx(e.mean() - 1)
    assert found["bias_mcse"] == pytest.approx(sd / 20)
    assert found["empirical_se"] == pytest.approx(sd)
    assert found["empirical_se_mcse"] == pytest.approx(sd / math.sqrt(2 * 399))
    assert found["model_se"] == pytest.approx(math.sqrt((se**2).mean()))
    right = math.sqrt((se**2).var(ddof=1) / (4 * 400 * (se**2).mean()))
    assert found["model_se_mcse"] == pytest.approx(right)
    mse = ((e - 1) ** 2).mean()
    spread = math.sqrt((((e - 1) ** 2 - mse) ** 2).sum() / (400 * 399))
    assert found["rmse"] == pytest.approx(math.sqrt(mse))
    assert found["rmse_mcse"] == pytest.approx(spread / (2 * math.sqrt(mse)))
    covered = (np.abs(e - 1) <= 2.306004135 * se).mean()  # t(8), tabulated
    assert found["coverage_t"] == covered
    assert found["coverage_t_mcse"] == pytest.approx(math.sqrt(covered * (1 - covered) / 400))
    assert wilson(2, 50) == pytest.approx((0.011045, 0.134608), abs=1e-5)  # by Wilson's formula, by hand


def test_baselines_are_least_squares(tmp_path: Path) -> None:
    """Coefficients or standard errors of what is done instead would be wrong (statsmodels as the judge)."""
    import statsmodels.formula.api as smf

    text = TEXT + '[[design.predictors]]\nname = "t"\nkind = "sequence"\neffect = 0.3\n'
    text = text.replace("[grid]\nicc = [0.1, 0.5]\n", "")
    (cell,) = study(tmp_path, text).cells()
    frame = cell.again(5).draw().frame
    model = build(cell.formula, frame)
    y = frame.y.to_numpy()[None]
    means = frame.groupby("cluster", observed=True).mean()
    for name, right, terms in [
        ("lm", smf.ols("y ~ x + t", frame).fit(), ["Intercept", "x", "t"]),
        ("cluster means", smf.ols("y ~ x + t", means).fit(), ["Intercept", "x", "t"]),
        ("no pooling", smf.ols("y ~ t + C(cluster)", frame).fit(), [None, None, "t"]),
    ]:
        baseline = Baseline.of(name, model)
        beta, error = baseline.estimates(y)
        assert baseline.df == right.df_resid
        for j, term in enumerate(terms):
            if term is None:
                assert math.isnan(beta[0, j])
            else:
                assert beta[0, j] == pytest.approx(right.params[term], rel=1e-9)
                assert error[0, j] == pytest.approx(right.bse[term], rel=1e-9)


PUBLISHED = {  # RMSE and coverage, 20,000 replicates; Satterthwaite of 2,000 (in R, lme4)
    0.05: ((0.250, 0.485), (0.197, 0.878, 0.918, 0.993, 0.945)),
    0.30: ((0.579, 0.202), (0.372, 0.909, 0.945, 0.954, 0.953)),
    0.60: ((0.814, 0.130), (0.504, 0.913, 0.948, 0.949, 0.953)),
}


def test_the_founding_question_has_its_published_figures(tmp_path: Path) -> None:
    """The study would not say what an independent simulation in R said, within Monte Carlo error."""
    asked = Study.load(find("founding-question"))
    asked = asked.model_copy(
        update={"replicates": 2000, "grid": {"icc": list(PUBLISHED), "informative": [0.0]}, "audited": 0}
    )
    records = {(r["icc"], r["engine"]): r for r in summed(asked, tmp_path).records()}

    def near(record: dict[str, float], name: str, right: float, n: int) -> None:
        # Both are simulations; published to three digits.
        error = math.hypot(record[f"{name}_mcse"], record[f"{name}_mcse"] * math.sqrt(2000 / n)) + 0.0005
        assert abs(record[name] - right) < 4.5 * error, (name, record[name], right)

    for icc, (lm, lmm) in PUBLISHED.items():
        near(records[icc, "lm"], "rmse", lm[0], 20000)
        near(records[icc, "lm"], "coverage_t", lm[1], 20000)
        mine = records[icc, "batch"]
        near(mine, "rmse", lmm[0], 20000)
        kinds = ("wald_z", "t", "kenward_roger", "satterthwaite")
        for kind, right, n in zip(kinds, lmm[1:], (20000, 20000, 20000, 2000), strict=True):
            near(mine, f"coverage_{kind}", right, n)
        for engine in ("lm", "batch", "cluster means"):
            assert abs(records[icc, engine]["bias"]) < 4.5 * records[icc, engine]["bias_mcse"]


def test_informative_size_pulls_estimators_apart(tmp_path: Path) -> None:
    """Lm would not estimate the participants' average, or cluster means the clusters' (Kahan et al. 2023)."""
    asked = Study.load(find("founding-question"))
    asked = asked.model_copy(
        update={"replicates": 2000, "grid": {"icc": [0.1], "informative": [0.3]}, "audited": 0}
    )
    records = {(r["engine"], r["estimand"]): r for r in summed(asked, tmp_path).records()}
    z = np.log([5, 10, 20, 40, 200])
    z = (z - z.mean()) / z.std()
    truth = 1 + 0.3 * float(np.average(z, weights=[5, 10, 20, 40, 200]))
    whole = records["lm", "x, participant average"]
    assert whole["truth"] == pytest.approx(truth, rel=1e-12)
    assert abs(whole["bias"]) < 4.5 * whole["bias_mcse"]
    parts = records["cluster means", "x, cluster average"]
    assert abs(parts["bias"]) < 4.5 * parts["bias_mcse"]
    assert 0.02 < records["batch", "x, cluster average"]["bias"] < truth - 1.02


def test_engines_are_judged(tmp_path: Path) -> None:
    """An engine's fits in a study would have no verdict, or another estimate than the batch's."""
    asked = study(tmp_path, engines=("batch", "numpy"), replicates=4, chunk=4, baselines=())
    summary = summed(asked, tmp_path)
    records = {(r["design"], r["engine"]): r for r in summary.records()}
    for design in (0, 1):
        mine = records[design, "numpy"]
        assert mine["judged"] == 4
        assert mine["silent"] == 0
        assert mine["bias"] == pytest.approx(records[design, "batch"]["bias"], abs=1e-9)
    report = write(asked, summary, tmp_path).read_text()
    assert "## Agreement" in report


def test_a_silent_failure_is_counted_and_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong engine that claims to have converged would pass, or its data sets would be lost."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "engines"))
    asked = study(tmp_path, engines=("wrong:Shifted",), replicates=3, chunk=3, baselines=())
    summary = summed(asked, tmp_path)
    rows = summary.records()
    assert [(r["silent"], r["verdict_WRONG_COMPUTATION"], r["judged"]) for r in rows] == [(1.0, 3, 3)] * 2
    write(asked, summary, tmp_path)
    found = sorted((tmp_path / "worst").glob("*.toml"))
    assert len(found) == 5
    cell, (_, place, replicate) = list(asked.cells())[1], found[-1].stem.rsplit("-", 2)
    assert place == "1"
    (seed,) = cell.seeds(int(replicate), int(replicate) + 1)
    right = cell.again(seed).draw().frame.y.to_numpy()
    lines = (tmp_path / "report.md").read_text().splitlines()
    (line,) = [line for line in lines if f"worst/{found[-1].stem}.parquet" in line]
    assert "wrong:Shifted WRONG_COMPUTATION, silent" in line
    told, *words = shlex.split(line.split("`")[-2])
    assert told == "lmmbridge"
    drawn = "generate", "--name", "bad", "--from", str(found[-1])
    for command, name in ((words, found[-1].stem), (drawn, "bad")):
        made = program("-m", "bridge.cli", *command, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        kept = pq.read_table(tmp_path / "cases" / name / "data.parquet")["y"].to_numpy()
        assert np.array_equal(kept, right)


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished chunks would be lost with the one that does not fit."""
    asked = study(tmp_path)
    ready, folder = check(asked), Folder.of(tmp_path / "out", asked)
    real, left = os.replace, [2]

    def full(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="chunks"):
        run(ready, folder, Here())
    monkeypatch.undo()
    assert sum(folder.done(ready.cells[c.place], c) for c in chunks(asked, 2)) == 2
    assert run(ready, folder, Here()) == 4


def test_bundled_studies_are_valid() -> None:
    """A study that comes with the package would not start."""
    for path in bundled().values():
        cells = list(Study.load(path).cells())
        assert cells[0].shared


def test_the_command_reports(tmp_path: Path) -> None:
    """``lmmbridge study`` would not write its report, or --dry-run would begin work."""
    (tmp_path / "study.toml").write_text('title = "<script>alert(1)</script>"\n' + TEXT)
    dry = program("-m", "bridge.cli", "study", "study.toml", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0
    assert "2 designs x 60 replicates" in dry.stdout
    assert not (tmp_path / "study-study").exists()
    done = program("-m", "bridge.cli", "study", "study.toml", "-o", "out", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.md", "summary.parquet", "chunks"} <= made
    said = (tmp_path / "out" / "report.md").read_text()
    assert "coverage Kenward-Roger" in said
    assert "<script>" not in said
    (tmp_path / "study.toml").write_text(TEXT.replace("effect = 1.0", "effect = 2.0"))
    other = program("-m", "bridge.cli", "study", "study.toml", "-o", "out", cwd=tmp_path)
    assert "6 other chunks in out" in other.stdout
    assert "finished already" not in other.stdout
    again = program("-m", "bridge.cli", "study", "study.toml", "-o", "out", cwd=tmp_path)
    assert "6 of 6 chunks are finished already in out" in again.stdout
    small = ("--dry-run", "--replicates", "1", "--yes")
    (tmp_path / "one.toml").write_text(TEXT.replace("icc = [0.1, 0.5]", "icc = [0.1]"))
    one = program("-m", "bridge.cli", "study", "one.toml", *small, cwd=tmp_path)
    assert "one: 1 design x 1 replicate, 4 fits in 1 chunk\n" in one.stdout
    absent = program("-m", "bridge.cli", "study", "one.toml", *small, "--engines", "nope", cwd=tmp_path)
    assert absent.returncode == 2
    assert absent.stdout == ""
    lost = program("-m", "bridge.cli", "study", "nowhere", cwd=tmp_path)
    assert lost.returncode == 2
    assert "founding-question" in lost.stderr


def test_memory_does_not_grow_with_replicates(tmp_path: Path) -> None:
    """The summary of eight times the chunks would take eight times the memory."""
    import tracemalloc

    asked = study(tmp_path, replicates=1600, chunk=200, grid={})
    ready, folder = check(asked), Folder.of(tmp_path / "out", asked)
    run(ready, folder, Here())
    wanted = list(chunks(asked, 1))

    def peak(number: int) -> float:
        tracemalloc.start()
        Summary.of(folder, ready.cells, wanted[:number])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(8) < 1.5 * peak(2)


def test_a_killed_study_goes_on(tmp_path: Path) -> None:
    """Kill -9 of the command would leave half a chunk, or processes behind."""
    asked = study(tmp_path, TEXT.replace("chunk = 20", "chunk = 5").replace("= 60", "= 4000"))
    command = [sys.executable, "-m", "bridge.cli", "study", "study.toml", "-o", "out", "--jobs", "2"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    place = tmp_path / "out" / "chunks"
    until = time.monotonic() + 60
    while time.monotonic() < until and len(list(place.glob("[!.]*.parquet"))) < 3:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    asked = asked.model_copy(update={"replicates": 40})
    (tmp_path / "study.toml").write_text(TEXT.replace("chunk = 20", "chunk = 5").replace("= 60", "= 40"))
    kept = {path.name: path.stat().st_mtime_ns for path in place.glob("[!.]*.parquet")}
    assert len(kept) >= 3
    assert digest(asked, tmp_path / "out", Here()) == digest(asked, tmp_path / "again", Here())
    assert all((place / name).stat().st_mtime_ns == at for name, at in kept.items())


def test_designs_that_cannot_be_batched_say_so(tmp_path: Path) -> None:
    """A crossed design would be fitted as if it were not."""
    text = (
        TEXT.replace("[grid]\nicc = [0.1, 0.5]\n", "")
        + '[[design.factors]]\nname="rater"\nlevels=3\nsd=0.2\n'
    )
    with pytest.raises((CaseError, ModelError), match="batch"):
        check(study(tmp_path, text))
