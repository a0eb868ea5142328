"""Reports: what untrusted text, known weights and two engines look like in them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from bridge.agreement import Agreement
from bridge.catalogue import session
from bridge.comparison import Comparison
from bridge.entry import Entry
from bridge.fit import Fit
from bridge.report import markdown, tables, text
from bridge.report.grid import Grid
from bridge.report.terminal import console
from bridge.verdict import Judgement, Verdict
from tests.front import FORMULA, clusters

NASTY = "<b>|`*_[x](y)\x1b[31m\n$"


def judgement(engine: str, beta: float, verdict: Verdict = Verdict.AGREE, reason: str = "why") -> Judgement:
    """A fit whose fixed effect is `beta` where 1 is right and the SE is 0.5."""
    rows = (
        Comparison("beta", "", (), "x", beta, 1.0, abs(beta - 1) / 0.5, "SE", 1e-4, 5.0),
        Comparison("G", "g", (), "(Intercept)", np.nan, np.nan, 0.0, "G+F", 1e-3, np.nan),
    )
    return Judgement(
        "case", Fit(engine, "REML", "default"), verdict, reason, 0.0, rows, "ok", None, verdict.passes, reason
    )  # fmt: skip


def test_untrusted_text_is_shown_and_never_obeyed() -> None:
    """A title, level or engine message could write markup into a report or a terminal."""
    agreement = Agreement((judgement("numpy", 2.0, Verdict.WORSE_OPTIMUM, NASTY),))
    for output in (
        markdown.document(agreement, 1.0, markdown.Extras()),
        repr(agreement),
        agreement._repr_html_(),
    ):
        assert "\x1b" not in output
    assert "<b>" not in markdown.document(agreement, 1.0, markdown.Extras())
    assert "<b>" not in agreement._repr_html_()
    assert Grid(("a",), ((NASTY,),)).markdown().split("\n")[-1] == r"| &lt;b&gt;\|\`\*\_\[x\](y) \[31m \$ |"


def test_junit_counts_failures() -> None:
    """CI would show a disagreement as a pass."""
    agreement = Agreement((judgement("numpy", 1.0), judgement("lme4", 2.0, Verdict.WORSE_OPTIMUM)))
    suite = ElementTree.parse(io.BytesIO(markdown.junit(agreement))).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["case-REML[lme4]"]


def test_python_against_r_is_the_distance_of_the_two() -> None:
    """The table would show a distance from the reference instead of from each other."""
    grid = tables.languages(Agreement((judgement("numpy", 1.1), judgement("lme4", 0.9))))
    assert grid is not None
    assert grid.rows == (("numpy and lme4", "1 of 1", "0.4", "", ""),)
    for verdict in (Verdict.WORSE_OPTIMUM, Verdict.FLAT):
        other = judgement("lme4", 0.9, verdict)
        assert tables.languages(Agreement((judgement("numpy", 1.1), other))).rows[0][1:3] == ("0 of 1", "")


def test_a_lower_optimum_found_later_replaces_the_reference(tmp_path) -> None:
    """A fit below the stored reference would be judged by the worse one for ever."""
    entry = Entry.of_data(clusters(), FORMULA)
    with session(tmp_path / "store") as referee:
        referee.judge([entry], engines=["numpy"])
        (path,) = (tmp_path / "store/reference").glob("*.json")
        right = json.loads(path.read_text())
        worse = json.loads(path.read_text())
        best = worse["optima"][0]
        tau2, sigma2 = 4 * float.fromhex(best["psi"][0][0][0]), float.fromhex(best["sigma2"])
        criterion = referee.reference(entry, "REML").criterion
        best["psi"], best["value"] = (
            [[[tau2.hex()]]],
            criterion.unprofiled((np.array([[tau2]]),), sigma2)[0].hex(),
        )
        worse |= {"kind": "polished", "certificate": None}
        path.write_text(json.dumps(worse))
    with session(tmp_path / "store") as referee:
        agreement = referee.judge([entry], engines=["numpy"])
    assert agreement.judgements[0].verdict is Verdict.AGREE
    assert "lower optimum" in agreement.notes[0]
    found = json.loads(path.read_text())["optima"][0]
    assert float.fromhex(found["value"]) == pytest.approx(
        float.fromhex(right["optima"][0]["value"]), abs=1e-8
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(float("nan"), ""), (1.23456789e-9, "1.234568e-09"), (12.0, "12")]
)
def test_numbers(value: float, shown: str) -> None:
    """A table would show NaN, or too many digits."""
    assert text.number(value) == shown


def test_a_wide_grid_is_split_and_never_squeezed():
    """With sixteen engines the column `right` itself was cut to `9.2…`."""
    names = tuple(f"engine{i:02d}" for i in range(16))
    grid = Grid(("", "right", *names), (("slope", "1.23456", *("1.23456",) * 16),), numeric=True)
    parts = grid.split(80, kept=2)
    assert tuple(name for part in parts for name in part.head[2:]) == names
    assert all(part.head[:2] == ("", "right") for part in parts)
    assert max(len(line) for part in parts for line in part.text().splitlines()) <= 80
    assert grid.split(10, kept=2)[0].head == ("", "right", "engine00")  # never without an engine


def test_a_part_of_a_grid_has_no_empty_rows():
    """Engines without df would be shown with three rows of nothing about df."""
    rows = (("slope", "1.2", "1.2", "1.2"), ("df", "", "4.5", ""))
    with_df, without = Grid(("", "right", "lmerTest", "lme4engine"), rows, numeric=True).split(32, kept=2)
    assert [row[0] for row in with_df.rows] == ["slope", "df"]
    assert [row[0] for row in without.rows] == ["slope"]


@pytest.mark.parametrize(("columns", "width"), [("100", 100), ("", 200), ("0", 200), ("x", 200), ("7", 40)])
def test_a_pipe_is_as_wide_as_it_is_told(columns: str, width: int, monkeypatch) -> None:
    """COLUMNS=100 would be heeded by --help alone."""
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width


def test_a_wrong_loglik_alone_is_told_from_wrong_estimates():
    """An engine whose slopes are right would look as bad as one whose slopes are not."""

    def row(quantity: str, off: float) -> Comparison:
        return Comparison(quantity, "", (), "x", 1.0, 1.0, off, "absolute", 1e-3, 5.0)

    def said(*rows: Comparison) -> str:
        j = judgement("numpy", 1.0, Verdict.WRONG_COMPUTATION)
        return text.short(replace(j, rows=rows))

    assert said(row("beta", 0.0), row("logLik", 9.0), row("self: logLik", 9.0)) == "wrong logLik"
    assert said(row("beta", 0.0), row("self: logLik", np.nan)) == "wrong logLik"
    assert said(row("self: SE", 9.0), row("self: logLik", 9.0)) == "wrong numbers"
    assert said(row("beta", 0.0)) == "wrong numbers"  # of labels that do not join, say
    j = replace(judgement("numpy", 1.0, Verdict.WORSE_OPTIMUM), rows=(row("logLik", 9.0),))
    assert text.short(j) == "worse optimum"
    assert Agreement((j,)).exit_code == 1
