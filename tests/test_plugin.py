"""The pytest plug-in, in folders that hold nothing but cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.case import Case
from bridge.court import failure
from bridge.fit import Fit
from bridge.verdict import Judgement, Verdict
from tests.front import FORMULA, clusters, program, pytest_in

ENGINES = "numpy,ols"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A case that all engines agree on."""
    fields = {"title": "t", "formula": FORMULA, "methods": ["REML"], "source": "s", "licence": "l"}
    return Case.create(tmp_path / "cases", "mine", fields, clusters())


def add_known(case: Case, engine: str) -> None:
    """Say that `engine` is known to be wrong here."""
    with open(case.folder / "case.toml", "a", encoding="utf-8") as file:
        file.write(
            f'\n[[known_difference]]\nengine = "{engine}"\nverdicts = ["WORSE_OPTIMUM"]\nreason = "so"\n'
        )


def test_an_item_per_method_engine_and_profile(case: Case, tmp_path: Path) -> None:
    """Ids would not be those of the report, or a fit would have no test."""
    done = pytest_in(tmp_path, "-v", "--lmm-engines", ENGINES, "--lmm-profile", "both")
    for name in ("mine-REML[numpy]", "mine-REML[numpy-tight]", "mine-REML[ols]", "mine-REML[ols-tight]"):
        assert f"{name} PASSED" in done.stdout, done.stdout
    assert done.returncode == 0


def test_a_slow_case_can_be_left_out(case: Case, tmp_path: Path) -> None:
    """Ten thousand groups would be fitted all the same, or --strict-markers would refuse the tag."""
    case.save(tags=["slow"])
    done = pytest_in(tmp_path, "--strict-markers", "-m", "not slow", "--lmm-engines", ENGINES)
    assert "2 deselected" in done.stdout, done.stdout


def test_a_known_difference_that_is_gone_fails(case: Case, tmp_path: Path) -> None:
    """A known difference would stay in the file for ever."""
    add_known(case, "numpy")
    done = pytest_in(tmp_path, "--lmm-engines", ENGINES)
    assert done.returncode == 1
    assert "a known difference is gone" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_a_known_difference_passes_and_says_so(tmp_path: Path) -> None:
    """What is known would fail, or pass unseen."""
    from bridge.resources import find

    target = tmp_path / "bimodal"
    target.mkdir()
    for name in ("case.toml", "data.parquet"):
        (target / name).write_bytes((find("cases") / "bimodal" / name).read_bytes())
    text = (target / "case.toml").read_text(encoding="utf-8").split("[[known_difference]]")[0]
    known = '[[known_difference]]\nengine = "statsmodels"\nverdicts = ["WORSE_OPTIMUM"]\nreason = "so"\n'
    (target / "case.toml").write_text(f"{text}\n{known}", encoding="utf-8")
    done = pytest_in(tmp_path, "-v", "--lmm-engines", "statsmodels")
    assert "bimodal-REML[statsmodels] KNOWN WORSE_OPTIMUM" in done.stdout, done.stdout
    assert done.returncode == 0
    (target / "case.toml").write_text(text, encoding="utf-8")
    done = pytest_in(tmp_path, "--lmm-engines", "statsmodels,numpy")
    assert "deviance units above the optimum, allowed" in done.stdout
    assert "where numpy arrived" in done.stdout
    assert done.returncode == 1


def test_only_others_of_the_same_pooling_are_pointed_at(case: Case) -> None:
    """A failure would send the user to a model without groups, to itself, or to one that is wrong."""
    judged = [
        Judgement("mine", Fit(engine, "REML", "default"), verdict, "why", 0.0, (), "ok", None, False, "why")
        for engine, verdict in [
            ("numpy", Verdict.AGREE),
            ("ols", Verdict.AGREE),
            ("statsmodels", Verdict.AGREE),
            ("lme4", Verdict.WORSE_OPTIMUM),
        ]
    ]
    wrong = failure(judged[3], judged, case.folder)
    assert "where numpy, statsmodels arrived" in wrong
    assert "where statsmodels arrived" in failure(judged[0], judged, case.folder)


def test_a_case_that_cannot_be_used_is_tried_and_explained_once(case: Case, tmp_path: Path) -> None:
    """Each of its tests would start anew and say the same at length."""
    text = (case.folder / "case.toml").read_text(encoding="utf-8")
    (case.folder / "case.toml").write_text(text.replace("y ~ x", "y ~ q"), encoding="utf-8")
    done = pytest_in(tmp_path, "--lmm-engines", "numpy,ols,statsmodels", "-rN")
    assert "3 failed" in done.stdout
    assert done.stdout.count('no column "q"') == 1, done.stdout
    assert done.stdout.count("mine, REML: cannot be judged; its first test here says why") == 2


def test_a_foreign_case_is_ignored_and_a_broken_one_is_an_error(case: Case, tmp_path: Path) -> None:
    """Another program's case.toml would break the run, or a broken one of ours would pass."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/case.toml").write_text("name = 1\n")
    assert pytest_in(tmp_path, "--lmm-engines", "ols").returncode == 0
    (tmp_path / "broken").mkdir()
    text = (case.folder / "case.toml").read_text(encoding="utf-8")
    (tmp_path / "broken/case.toml").write_text(f'titel = "t"\n{text}', encoding="utf-8")
    done = pytest_in(tmp_path, "--lmm-engines", "ols")
    assert done.returncode == 2
    assert "case.toml: titel: unknown key" in done.stdout
    assert "Traceback" not in done.stdout


def test_without_r_its_engines_are_skipped_unless_required(case: Case, tmp_path: Path) -> None:
    """An engine that is not there would pass, or would stop the others."""
    (tmp_path / "bin").mkdir()
    done = pytest_in(tmp_path, "-rs", "--lmm-engines", "numpy,lme4", path=str(tmp_path / "bin"))
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    done = pytest_in(tmp_path, "--lmm-engines", "numpy", "--lmm-require", "lme4", path=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert "mine-REML[lme4]: required, but not available" in done.stdout


def test_unknown_engine_is_a_usage_error(case: Case, tmp_path: Path) -> None:
    """A misspelt engine would be a run without it."""
    for name in ("lme5", "nowhere:Mine"):
        done = pytest_in(tmp_path, "--lmm-engines", name)
        assert done.returncode == 4
        assert name in done.stderr


def test_under_xdist_each_fit_is_made_once(case: Case, tmp_path: Path, fakes: Path) -> None:
    """Processes would each make all fits of a case."""
    pytest.importorskip("xdist")
    engines = ",".join(f"fakes:{name}" for name in ("Returns", "Second", "Tells", "Prints"))
    done = pytest_in(tmp_path, "-n", "2", "--lmm-engines", engines, "--lmm-store", str(tmp_path / "store"))
    assert "4 failed" in done.stdout, done.stdout
    assert len(fakes.read_text().splitlines()) == 4


def test_start_up_imports_nothing_heavy(tmp_path: Path) -> None:
    """Every pytest run of every user would pay for pandas or pydantic."""
    heavy = "{'numpy', 'pandas', 'pyarrow', 'pydantic', 'scipy', 'statsmodels', 'rpy2'}"
    done = program("-c", f"import sys, bridge.plugin; print({heavy} & set(sys.modules))", cwd=tmp_path)
    assert done.stdout.strip() == "set()"
