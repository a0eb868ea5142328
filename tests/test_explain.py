"""Explain: what the command, the notebook and the page say, and what bad input gets."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bridge
from bridge.cli import app
from bridge.errors import BridgeError
from bridge.explanation import Explanation, explain
from bridge.report import pictures
from bridge.report.explain import tables
from bridge.report.reasons import percent
from tests.front import ROOT
from tests.test_pooling import two_arms

SIZES = [3, 5, 8, 10, 20, 30]
FORMULA = "y ~ x + (1 | g)"


def said(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``lmmbridge explain``."""
    result = CliRunner().invoke(app, ["explain", *arguments])
    return result.exit_code, result.stdout, result.stderr


def script():
    """docs/weights.py as a module."""
    spec = importlib.util.spec_from_file_location("weights_page", ROOT / "docs" / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_words_are_the_numbers() -> None:
    """A sentence would say of a cluster what its row of the table does not."""
    found = explain("small-clusters-lowest")
    culprit = next(s for s in found.sentences if "due to" in s)
    label, n, lm, mixed = re.search(
        r"due to cluster (c\d): it has (\d+) of 565 rows and carries ([\d.]+) % of x's weight in lm, "
        r"([\d.]+) % in the mixed model",
        culprit,
    ).groups()
    row = found.table.set_index("level").loc[label]
    assert row.rows == int(n)
    assert f"{100 * row.share_lm:.2g}" == lm
    assert f"{100 * row.share_mixed:.2g}" == mixed
    assert label == found.table.set_index("level").lean.abs().idxmax()
    p = found.pooling
    assert f"{p.beta_lm[1]:.4g}" in found.sentences[0]
    assert f"prints {p.printed[1]:.3g}" in " ".join(found.sentences)


def test_the_command_says_it_in_words_and_a_table() -> None:
    """A user would get no answer."""
    code, out, _ = said("small-clusters-nine", "--method", "ML")
    assert code == 0
    assert "x is 0.8" in out
    assert "cluster" in out
    assert "shift in lm" in out
    assert "(ML, at the exact optimum)" in " ".join(out.split())


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_number_is_cut_however_narrow_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells would end in an ellipsis, and the column of rows be gone, at 100 columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = said("small-clusters-lowest")
    assert code == 0
    assert "…" not in out
    assert max(map(len, out.splitlines()[2:])) <= width
    ((_, grid),) = tables(explain("small-clusters-lowest"))
    cells = {cell for line in out.splitlines() for cell in re.split(r"\s{2,}", line.strip())}
    assert {cell for row in (grid.head, *grid.rows) for cell in row} <= cells


def test_few_or_even_clusters_are_not_cleared_of_informative_size() -> None:
    """A small z from eight clusters, or from sizes of 9 and 10, would be taken for a finding."""
    assert "this screen cannot tell" in explain("small-clusters-lowest").sentences[-1]
    words = " ".join(explain(two_arms(1, [9, 10] * 5), FORMULA).sentences)
    assert "factor of e" not in words


def test_an_engine_is_explained_by_its_own_variances_and_compared() -> None:
    """The weights of statsmodels would be shown as those of the optimum."""
    found = explain("small-clusters-nine", engine=["statsmodels", "numpy"])
    assert found.engine == "statsmodels"
    assert 0 < found.difference("numpy") < 2e-5  # worst measured 5e-06
    assert any("numpy no shift weight differs by more than" in s for s in found.sentences)


def test_an_agreement_explains_itself() -> None:
    """compare(...).explain() would need the data again."""
    agreement = bridge.compare(two_arms(1, SIZES), FORMULA, engines=["numpy", "ols"])
    found = agreement.explain()
    assert found.coefficient == "x"
    np.testing.assert_allclose(agreement.explain(engine="numpy").pooling.beta, found.pooling.beta, atol=1e-6)
    assert "<p>" in found._repr_html_()
    assert repr(found).startswith("data: x in")
    with pytest.raises(BridgeError, match="case 'other': name one of data"):
        agreement.explain("other")


def test_weights_and_offset_are_heeded() -> None:
    """Precision weights would be left out of lm or of the mixed model."""
    frame = two_arms(6, SIZES)
    found = explain(frame, FORMULA, weights="w", offset="o")
    assert found.pooling.model.weights is not None
    assert np.max(np.abs(found.pooling.beta - explain(frame, FORMULA).pooling.beta)) > 1e-3
    np.testing.assert_allclose(found.table.lean.sum(), (found.pooling.beta_lm - found.pooling.beta)[1])


BAD = {
    "one cluster": (lambda d: d.assign(g="only"), FORMULA, [], "g has one level (only)"),
    "no random term": (lambda d: d, "y ~ x", [], "has no random term"),
    "empty arm": (lambda d: d.assign(y=d.y.where(d.x == 0)), FORMULA, [], "x is zero in every row"),
    "unknown coefficient": (lambda d: d, FORMULA, ["--coef", "z"], "use one of (Intercept), x"),
    "not identified": (lambda d: d, "y ~ x + g + (1 | g)", [], "not identified: "),
    "engine without groups": (lambda d: d, FORMULA, ["--engine", "ols"], "has no random effects"),
    "unknown engine": (lambda d: d, FORMULA, ["--engine", "nope"], 'engine "nope": there is none'),
    "empty engine": (lambda d: d, FORMULA, ["--engine", ""], '--engine "": names no engine'),
    "no column": (lambda d: d, FORMULA, ["--weights", "nope"], "nope"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name: str, tmp_path: Path) -> None:
    """A user would get a traceback, or numbers that mean nothing."""
    change, formula, options, words = BAD[name]
    change(two_arms(3, SIZES)).to_csv(tmp_path / "d.csv", index=False)
    code, out, err = said(str(tmp_path / "d.csv"), formula, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-case"], "lmmbridge list shows"),
        (["sleepstudi"], "did you mean 'sleepstudy'?"),
        (["sleepstudy", "y ~ x + (1 | g)"], "leave the formula out"),
        (["sleepstudy", "--weights", "w"], "are the case's own"),
    ],
)
def test_a_case_that_is_none_is_one_clear_line(arguments: list[str], words: str) -> None:
    """A mistyped case would be taken for a file, or the other way round."""
    code, _, err = said(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


def test_what_is_odd_about_the_data_is_said() -> None:
    """A cluster that is missing, an arm of one cluster or a variance of 0 would pass without a word."""
    frame = two_arms(3, SIZES)
    gone = explain(frame.assign(y=frame.y.where(frame.g != "g0")), FORMULA)
    assert "3 of 76 rows are left out" in " ".join(gone.sentences)
    assert "g without a complete row, so not in the fit: g0." in gone.sentences
    alone = explain(frame.assign(x=(frame.g == "g3").astype(int)), FORMULA)
    assert re.search(r"g3 alone makes \d+ % of its variance", " ".join(alone.sentences))
    flat = explain(frame.assign(y=frame.y - frame.groupby("g").y.transform("mean")), FORMULA)
    assert flat.pooling.singular
    assert "every weight is lm's" in " ".join(flat.sentences)


@pytest.mark.parametrize("case", ["sleepstudy", "penicillin", "pastes", "machines", "dyestuff2", "orthodont"])
def test_every_structure_is_explained(case: str) -> None:
    """Slopes, factors as slopes, crossed, nested, balanced or singular models would end in a traceback."""
    found = explain(case)
    assert len(found.table) == sum(len(levels.rows) for levels in found.pooling.levels)
    crossed = any("crossed" in s for s in found.sentences)
    assert crossed == (case == "penicillin") == (found.pooling.clusters is None)
    assert "nan" not in repr(found)


def draws(found: Explanation) -> dict[str, str]:
    """Its pictures as SVG, if they can be drawn."""
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return {name: pictures.svg(chart) for name, chart in pictures.charts(found).items()}


def test_pictures_are_those_that_the_model_has() -> None:
    """A picture would be missing, or be drawn of something that the model does not have."""
    scenario = draws(explain("small-clusters-nine"))
    assert set(scenario) == {"means", "points", "weights", "shrinkage"}
    assert "x: 0.468 in lm, 0.841 in the mixed model" in scenario["means"]
    assert "1/tau²" in scenario["weights"]
    assert set(draws(explain("sleepstudy"))) == {"shrinkage", "lines"}
    assert set(draws(explain("penicillin"))) == {"shrinkage"}


def test_labels_are_drawn_and_never_obeyed(tmp_path: Path) -> None:
    """A cluster's or column's name could write markup into a page, a picture or an axis expression."""
    frame = two_arms(2, SIZES)
    frame["g"] = frame.g + "<script>'\\ |*"
    frame["arm"] = np.where(frame.x == 1, "it's\\<script>", "control")
    found = explain(frame, "y ~ arm + (1 | g)")
    assert "armits<script> = 1".replace("<", "&lt;").replace(">", "&gt;") in draws(found)["means"]
    for output in (*draws(found).values(), found._repr_html_()):
        assert "<script>" not in output
    found.write(tmp_path)
    assert "<script>" not in (tmp_path / "explain.md").read_text()
    assert len(pd.read_csv(tmp_path / "weights.csv")) == len(SIZES)


def test_the_folder_has_words_table_and_pictures(tmp_path: Path) -> None:
    """-o would leave a picture out, or name one that is not there."""
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    code, out, err = said("small-clusters-highest", "-o", str(tmp_path / "out"))
    assert code == 0, err
    assert "Written: " in out
    page = (tmp_path / "out" / "explain.md").read_text()
    named = re.findall(r"\]\((.*?)\)", page)
    assert named == ["means.svg", "points.svg", "weights.svg", "shrinkage.svg"]
    for name in named:
        assert (tmp_path / "out" / name).stat().st_size > 1000
        assert (tmp_path / "out" / name.replace("svg", "png")).read_bytes()[:4] == b"\x89PNG"


def test_pictures_that_cannot_be_drawn_are_said_before_any_work(monkeypatch, tmp_path: Path) -> None:
    """A user without altair would get a traceback after the fit."""
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    code, out, err = said("small-clusters-nine", "-o", str(tmp_path / "out"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'lmmbridge[report]'" in err
    assert said("small-clusters-nine")[0] == 0


def test_the_page_says_what_the_cases_give() -> None:
    """docs/weights.md would quote numbers that no case gives: run ``python docs/weights.py``."""
    page = script()
    assert page.page() == page.PAGE.read_text(encoding="utf-8")


def test_a_share_between_two_whole_percents_is_the_same_everywhere() -> None:
    """An eighth would be 12 % with one BLAS and 13 % with another, whose last digit differs."""
    eighth = 0.125
    assert {percent(np.nextafter(eighth, side)) for side in (0.0, 1.0)} == {"12 %"}
    assert (percent(0.075), percent(0.99999), percent(1.0)) == ("7.5 %", "100 %", "100 %")
    assert (percent(0.9949), percent(0.995), percent(1.234)) == ("99 %", "100 %", "123 %")


def test_the_page_s_figures_are_of_these_cases() -> None:
    """A figure would be stale or missing: run ``python docs/weights.py``."""
    page = script()
    assert len(page.drawn()) == 5
    for name, picture in page.drawn():
        file = page.PAGE.parent / "figures" / f"{name}-{picture}.svg"
        drawn = draws(explain(name))[picture]
        assert re.findall(r">([^<>]+)</text>", file.read_text()) == re.findall(r">([^<>]+)</text>", drawn)


def test_the_readme_s_shares_are_the_case_s() -> None:
    """The README would quote weights that no case gives."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = explain("small-clusters-icc30")
    for rows in (5, 200):
        row = found.table.loc[found.table["rows"] == rows].iloc[0]
        for share in (row.share_lm, row.share_mixed):
            assert percent(share) in readme
    icc = found.pooling.icc
    assert f"ICC {icc:.3g}." in " ".join(found.sentences)
    assert f"an ICC of {icc:.3g}" in readme


def test_a_model_without_fixed_effects_is_refused_in_words(tmp_path: Path) -> None:
    """``y ~ 0 + (1 | g)`` would be a traceback: there is no coefficient to take."""
    two_arms(1, SIZES).to_csv(tmp_path / "a.csv", index=False)
    code, out, err = said(str(tmp_path / "a.csv"), "y ~ 0 + (1 | g)")
    assert (code, out) == (2, "")
    assert "has no fixed effect to explain" in err
