"""Hunt: designs by seed, kinds, and finds shrunk to cases."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bridge.case import Case
from bridge.catalogue import session
from bridge.cli import app
from bridge.entry import Entry
from bridge.errors import BridgeError, CaseError, UnavailableError
from bridge.hunt import Tally, hunt, kind, roomy, save, shrunk
from bridge.hunt_designs import BUNDLED, designs


def test_ten_clusters_are_those_of_the_catalogue():
    """A grid whose stream differs from the published one finds other seeds than those reported."""
    (drawn,) = designs("ten-clusters", [89])
    rng = np.random.default_rng(89)
    sizes = (4, 150, 120, 8, 100, 5, 130, 140, 110, 6)
    g = np.repeat(np.arange(10), sizes)
    y = 1 + 0.5 * (g % 2) + rng.normal(0, 0.6, 10)[g] + rng.normal(0, 2, len(g))
    np.testing.assert_allclose(drawn.draw().frame["y"], y, rtol=1e-12)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_seed_draws_one_design(name):
    """A find that its own seed does not give again cannot be looked into."""
    again = [next(designs(name, [seed])) for seed in (3, 3, 4)]
    assert again[0] == again[1]
    assert again[0].draw().frame.equals(again[1].draw().frame)
    assert not again[0].draw().frame.equals(again[2].draw().frame)


def test_the_infinite_loglik_of_statsmodels_is_found_and_shrunk(tmp_path):
    """The best known silent failure goes unseen, or is lost on the way to a smaller data set."""
    with session(jobs=1) as referee:
        found = list(hunt(referee, list(designs("ten-clusters", [88, 89])), ["statsmodels", "numpy"]))
        (one,) = [f for f in found if f.design.seed == 89]
        assert one.kind[:4] == ("statsmodels", "REML", "default", "WRONG_COMPUTATION")
        small = shrunk(referee, one, most=12)
    assert small.judgement.verdict == "WRONG_COMPUTATION"
    assert small.judgement.silent == one.judgement.silent
    assert math.isinf(small.judgement.fit.loglik)
    assert len(small.entry.frame) < len(one.entry.frame)
    assert roomy(small.entry)


def test_numpy_is_right_wherever_it_looks():
    """A hunt that accuses an exact engine has a wrong reference."""
    drawn = [d for name in BUNDLED for d in designs(name, range(2))]
    with session(jobs=1) as referee:
        assert [kind(f.judgement) for f in hunt(referee, drawn, ["numpy"], methods=("REML", "ML"))] == []


def test_every_fit_of_a_hunt_is_counted():
    """A rate whose right fits are not counted, or a data set that was left out and not told."""
    drawn, tally = list(designs("ten-clusters", [88, 89])), Tally()
    with session(jobs=1) as referee:
        list(hunt(referee, drawn, ["numpy", "statsmodels"], tally=tally))
    assert tally.seeds["numpy", "REML", "default", "AGREE", False, ""] == [88, 89]
    assert sum(len(s) for (engine, *_), s in tally.seeds.items() if engine == "statsmodels") == 2
    assert {row[:4] for row in tally.rows() if row[7] == "89"} >= {
        ("statsmodels", "REML", "default", "WRONG_COMPUTATION")
    }
    assert tally.left_out == []
    right = [row[3] in ("AGREE", "NOT_UNIQUE") for row in tally.rows()]
    assert right == sorted(right), "disagreements stand among right verdicts"


def test_what_could_not_be_shrunk_is_not_called_so(tmp_path):
    """The source of a case says "shrunk from 25 rows to 25"."""
    with session(jobs=1) as referee:
        (found,) = hunt(referee, designs("ten-clusters", [89]), ["statsmodels"])
        case = save(found, tmp_path, "ten-clusters", referee, ["statsmodels"])
    assert case.spec.source.endswith(f"; {len(found.entry.frame)} rows, not shrunk")


def test_an_engine_that_is_not_here_is_no_clean_sheet(tmp_path, monkeypatch):
    """500 data sets and no find: because nothing was fitted."""
    monkeypatch.setenv("LMMBRIDGE_ENGINE_GLMM_PYTHON", str(tmp_path / "python"))
    with (
        session(jobs=1) as referee,
        pytest.raises(UnavailableError, match=r"engine glmm: .*leave it out"),
    ):
        list(hunt(referee, designs("intercepts", [0]), ["glmm"]))


def test_a_billion_seeds_are_drawn_one_by_one():
    """The memory is full before the first fit."""
    assert next(designs("slopes", range(10**9))) == next(designs("slopes", [0]))


def test_a_few_rows_are_no_case():
    """Five rows with random slopes would be saved: nobody fits that."""
    frame = pd.DataFrame({"y": [1.0, 3, 2, 5, 4], "x": [1.0, 2, 3, 4, 6], "g": list("aabbb")})
    assert not roomy(Entry.of_data(frame, "y ~ x + (x | g)"))


def test_command_keeps_a_case_that_loads(tmp_path):
    """What is kept must be a case as any other, certified, and judged as its draft says."""
    arguments = ["--design", "ten-clusters", "--seeds", "89:90", "--engines", "statsmodels", "--jobs", "1"]
    folders = ["--store", str(tmp_path / "store"), "-o", str(tmp_path / "found")]
    done = CliRunner().invoke(app, ["hunt", *arguments, *folders])
    assert done.exit_code == 0, done.output
    case = Case.load(tmp_path / "found" / "hunt-ten-clusters-89-statsmodels")
    assert {c.status for c in case.certificates().values()} <= {"ok", "singular"}
    assert {k.engine for k in case.spec.known_difference} == {"statsmodels"}
    assert "--seeds 89:90" in case.spec.source
    assert not {known.reason for known in case.spec.known_difference} & {case.spec.why}
    assert not any(known.reason in case.spec.why for known in case.spec.known_difference)
    with session(jobs=1) as referee:
        judged = referee.judge([Entry.of_case(case)], engines=["statsmodels"], profiles=("default", "tight"))
    assert judged.exit_code == 0
    again = CliRunner().invoke(app, ["hunt", *arguments, *folders])
    assert again.exit_code == 0, again.output
    assert "0 new kinds kept" in again.output
    assert "1 kept before" in again.output


def test_a_find_half_written_is_none(tmp_path, monkeypatch):
    """Stopped while a find is certified: the same hunt takes the half case for one that was kept."""

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.hunt.draft", stopped)
    with session(jobs=1) as referee:
        (found,) = hunt(referee, designs("ten-clusters", [89]), ["statsmodels"])
        with pytest.raises(KeyboardInterrupt):
            save(found, tmp_path, "ten-clusters", referee, ["statsmodels"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "5"], "write A:B"),
        (["--seeds", "5:5"], "B must be above A"),
        (["--design", "nonesuch"], "neither a file nor one of ten-clusters"),
        (["--engines", "lme5"], "none of that name"),
    ],
)
def test_bad_input_is_refused_in_a_line(tmp_path, arguments, said):
    """A traceback for a word mistyped."""
    done = CliRunner().invoke(app, ["hunt", *arguments, "--store", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.output


def test_a_file_of_no_design(tmp_path):
    """A traceback for a broken file."""
    path = tmp_path / "d.toml"
    path.write_text("seed = ")
    with pytest.raises(BridgeError, match="not valid TOML"):
        designs(str(path), [0])
    path.write_text("response = 'y'")
    with pytest.raises(CaseError, match="clusters: missing"):
        designs(str(path), [0])
