"""``report``, ``diff`` and ``compare --html`` as a user calls them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import app
from bridge.report import markdown
from tests.front import FORMULA, clusters
from tests.judged import HOSTILE, agreement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `lmmbridge run --report` writes."""
    found = tmp_path_factory.mktemp("run")
    markdown.write(agreement(), found, 1.0, markdown.Extras())
    return found


def call(*arguments: object) -> Result:
    """``lmmbridge`` with these arguments."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_report_draws_the_same_page_again(run: Path, tmp_path: Path) -> None:
    """An earlier run's page would change, or its data would be left behind."""
    out = tmp_path / "out"
    done = call("report", run, "-o", out)
    assert (done.exit_code, done.stdout) == (0, f"Written: {out / 'index.html'}\n")
    assert (out / "index.html").read_text() == (run / "index.html").read_text()
    assert (out / "report.json").read_text() == (run / "report.json").read_text()


def test_formal_report_has_requirements_and_signatures(run: Path, tmp_path: Path) -> None:
    """A validation file would lack what its reader must sign."""
    assert call("report", run, "--formal", "-o", tmp_path).exit_code == 0
    page = (tmp_path / "index.html").read_text()
    for words in ("LMM-02/statsmodels/tight", "✗ not met", "Approved by"):
        assert words in page
        assert words not in (run / "index.html").read_text()


@pytest.mark.parametrize("command", [("report", "nowhere"), ("diff", "nowhere", "nowhere")])
def test_a_folder_without_a_report_is_said(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped folder would end in a traceback."""
    monkeypatch.chdir(tmp_path)
    done = call(*command)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr


def test_diff_says_what_became_worse(run: Path, tmp_path: Path) -> None:
    """CI would let an upgrade pass that breaks an engine."""
    kept = json.loads((run / "report.json").read_text())
    for fit in kept["fits"]:
        if not fit["expected"]:
            fit |= {"verdict": "AGREE", "symbol": "✓", "words": "agree", "expected": True, "silent": False}
    before = tmp_path / "before.json"
    before.write_text(json.dumps(kept))
    for name in ("drift.html", "drift.md"):
        done = call("diff", before, run, "-o", tmp_path / name)
        assert done.exit_code == 1
        assert "1 of 24 verdicts became worse." in done.stdout
        assert "those that both report.json keep" in " ".join(done.stdout.split())
        written = (tmp_path / name).read_text()
        assert "became worse" in written
        assert HOSTILE not in written
    assert call("diff", before, run, "--exit-zero").exit_code == 0
    same = call("diff", run, run)
    assert same.exit_code == 0
    assert "all that both results.parquet have" in same.stdout


def test_compare_writes_a_page_of_ones_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would not show the data's own fits, or not say how to make them again."""
    monkeypatch.chdir(tmp_path)
    clusters().to_csv("trial.csv", index=False)
    done = call("compare", "trial.csv", FORMULA, "--engines", "numpy,ols", "--html", "out.html", "--formal")
    assert done.exit_code == 0
    assert done.stdout.endswith("Written: out.html\n")
    page = Path("out.html").read_text()
    assert "trial-REML-numpy-default" in page
    assert "Approved by" in page
    assert 'id="weights"' in page
    assert 'data-picture="figures/shrinkage.svg"' in page
    assert "results.parquet, beside this page" not in page
    refused = call("compare", "trial.csv", FORMULA, "--formal")
    assert (refused.exit_code, "--html" in refused.stderr) == (2, True)


def test_without_the_libraries_the_page_is_refused_in_a_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who installed the core alone would get an ImportError; a run's report must not need them."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("bridge.report.page.find_spec", lambda name: None)
    done = call("report", run)
    assert done.exit_code == 2
    assert "pip install 'lmmbridge[report]'" in done.stderr


def test_a_wrong_place_is_said_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of fits would end in "is a folder"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bridge.run.execute", lambda *_, **__: pytest.fail("fits were made"))
    monkeypatch.setattr("bridge.catalogue.session", lambda *_, **__: pytest.fail("fits were made"))
    clusters().to_csv("trial.csv", index=False)
    Path("taken").touch()
    model = ("trial.csv", FORMULA)
    for command, words in (
        (("compare", *model, "--html", "."), "--html .: is a folder; name a file in it"),
        (("compare", *model, "--html", "no/out.html"), "--html no/out.html: no such folder; make it first"),
        (("run", "sleepstudy", "--report", "taken"), "--report taken: is a file; name a folder"),
        (("explain", *model, "-o", "taken"), "-o taken: is a file; name a folder"),
        (("catalogue", "-o", "taken"), "-o taken: is a file; name a folder"),
    ):
        done = call(*command)
        assert (done.exit_code, done.stderr) == (2, f"lmmbridge: {words}\n"), command


def test_report_and_diff_say_where_they_cannot_write(run: Path, tmp_path: Path) -> None:
    """A user would read "File exists" and not what to do."""
    taken = tmp_path / "taken"
    taken.touch()
    assert call("report", run, "-o", taken).stderr == f"lmmbridge: -o {taken}: is a file; name a folder\n"
    assert "is a folder; name a file in it" in call("diff", run, run, "-o", tmp_path).stderr
