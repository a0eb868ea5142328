"""A study's report: numbers with as many digits as they have, pictures of every grid, rates with errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bridge.study.cell import Cell
from bridge.study.figures import PANES, figures
from bridge.study.report import failing, page, write
from bridge.study.summary import Summary, Tally
from tests.test_study import TEXT, study, summed


def small(tmp_path: Path) -> str:
    """The study with an effect, and with residuals, a million times smaller."""
    return TEXT.replace("icc = 0.3\n", "icc = 0.3\ntotal_variance = 1e-12\n").replace(
        "effect = 1.0", "effect = 1e-6"
    )


def fields(chart: Any) -> set[str]:
    """Names of the data's fields that a chart draws."""
    return set(re.findall(r'"field": "([^"]+)"', json.dumps(chart.to_dict())))


def test_a_small_estimand_keeps_its_digits(tmp_path: Path) -> None:
    """Its bias, standard errors and their Monte Carlo errors would be 0.0000 ± 0.0000."""
    asked = study(tmp_path, small(tmp_path))
    summary = summed(asked, tmp_path / "out")
    said = page(asked, summary, [], [], [])
    (row,) = [line for line in said.splitlines() if line.startswith("| icc 0.1 | batch REML")]
    record = next(r for r in summary.records() if r["icc"] == 0.1 and r["engine"] == "batch")
    found = [float(part.split(" ± ")[0]) for part in row.split(" | ")[5:8]]
    right = [record[name] for name in ("empirical_se", "model_se", "rmse")]
    assert found == pytest.approx(right, rel=5e-3)  # three digits are printed


def test_a_dotted_place_on_the_grid_is_drawn(tmp_path: Path) -> None:
    """Vega takes a dot in a field's name for a field within another: the axis would be empty."""
    text = TEXT.replace("icc = [0.1, 0.5]", '"predictors.x.effect" = [0.0, 1.0]')
    drawn = figures(summed(study(tmp_path, text, replicates=20), tmp_path / "out"))
    assert "predictors.x.effect" in json.dumps(drawn["rmse"].to_dict())
    for chart in drawn.values():
        assert not any("." in name for name in fields(chart))


def test_a_large_grid_is_drawn_in_part(tmp_path: Path) -> None:
    """A page would hold hundreds of panes."""
    grid = {"icc": [0.1, 0.5], "intercept": [float(i) for i in range(20)]}
    summary = summed(study(tmp_path, grid=grid, replicates=2, baselines=()), tmp_path / "out")
    panes = {row["where"] for row in figures(summary)["rmse"].to_dict()["data"]["values"]}
    assert len(panes) == PANES


def judged(cell: Cell, verdicts: dict[str, int], silent: int) -> Summary:
    """A summary of one engine's judged fits."""
    tally = Tally(1.0, replicates=sum(verdicts.values()), silent=silent)
    tally.verdicts.update(verdicts)
    return Summary([cell], {(0, "lme4", "REML", "default", "x"): tally})


def test_rates_have_their_errors_and_intervals(tmp_path: Path) -> None:
    """A rate of 20 fits would look like one of 20,000; failures that were announced would not be counted."""
    asked = study(tmp_path, grid={})
    (cell,) = asked.cells()
    summary = judged(cell, {"AGREE": 40, "AGREE_SINGULAR": 5, "WORSE_OPTIMUM": 5, "UNSUPPORTED": 9}, silent=1)
    (row,) = failing(summary)
    assert (row["failed"], row["silent"]) == (5 / 50, 1 / 50)
    # Wilson's score interval of 5 of 50 and 1 of 50, by its formula, by hand
    assert (row["failed_low"], row["failed_high"]) == pytest.approx((0.043475, 0.213602), abs=1e-5)
    assert (row["silent_low"], row["silent_high"]) == pytest.approx((0.003539, 0.104954), abs=1e-5)
    said = page(asked, summary, [], [], [])
    assert "| lme4 REML | 50 | 0.8000 ± 0.0566 | 0.1000 ± 0.0424 |" in said  # sqrt(p (1 - p) / 50)
    shown = figures(summary)["failures"].to_dict()["data"]["values"]
    assert {(item["kind"], item["share"]) for item in shown} == {
        ("all failures", 0.1),
        ("silent failures", 0.02),
    }


def test_worst_of_each_verdict_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of one kind would crowd out the one candidate of another."""
    asked = study(tmp_path, grid={})
    (cell,) = asked.cells()
    summary = judged(cell, {"WORSE_OPTIMUM": 1}, 0)
    summary.worst = {
        ("lme4", "WRONG_COMPUTATION"): [((False, 2.0), 0, i, "wrong", "REML", "default") for i in range(5)],
        ("lme4", "WORSE_OPTIMUM"): [((True, 0.1), 0, 7, "stops | short", "REML", "default")],
    }
    said = write(asked, summary, tmp_path).read_text()
    assert (
        "lme4 WORSE_OPTIMUM, silent: stops \\| short: `lmmbridge add worst/lme4-REML-default-0-7.parquet"
        in said
    )
    assert len(list((tmp_path / "worst").glob("*.parquet"))) == 6
