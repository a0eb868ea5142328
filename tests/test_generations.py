"""The page on generations of R: which verdicts it says changed, and that it is of what is recorded."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.recording import FILE, read
from bridge.report.results import Difference, FitResult, Line, Results
from bridge.resources import find
from bridge.verdict import Verdict

ROOT = Path(__file__).resolve().parents[1]
RIGHT, WRONG = Verdict.AGREE, Verdict.WRONG_COMPUTATION


@pytest.fixture(scope="module")
def script() -> Any:
    """docker/generations.py."""
    return runpy.run_path(str(ROOT / "docker/generations.py"))


def fit(
    verdict: Verdict = RIGHT, estimate: float = 1.0, engine: str = "lme4", method: str = "REML", **more: Any
) -> FitResult:
    """A fit of a case whose true slope is 1."""
    off = abs(estimate - 1.0)
    row = Line(quantity="beta", term="x", estimate=estimate, reference=1.0, difference=off, scale="absolute",
               tolerance=1e-3, lre=3.0, ok=off < 1e-3)  # fmt: skip
    words = {RIGHT: "agree", WRONG: "wrong numbers", Verdict.UNSUPPORTED: "unsupported"}[verdict]
    facts: dict[str, Any] = {
        "case": "c", "profile": "default", "claim": "ok", "silent": False, "expected": True, "surprise": "",
        "reason": "it says", "cause": "", "advice": "", "symbol": "✓",
        "gap": 0.0, "loglik": -1.0, "seconds": 0.0,
    }  # fmt: skip
    return FitResult(
        verdict=verdict, words=words, engine=engine, method=method, rows=(row,), **{**facts, **more}
    )


def runs(*fits: Sequence[FitResult]) -> list[Results]:
    """A run per argument, under R 4.2, 4.3, ..."""
    return [
        Results(sentence="", exit_code=0,
                fits=tuple(f.model_copy(update={"versions": {"R": f"4.{2 + i}"}}) for f in group))
        for i, group in enumerate(fits)
    ]  # fmt: skip


def test_a_verdict_that_changed_is_told_with_its_reason(script: Any) -> None:
    """A user who upgrades would not learn which answers become wrong, nor why."""
    why = Difference(reason="the new one stops early", verdicts=(WRONG,))
    worse = {"verdict": WRONG, "known": why, "silent": True, "symbol": "≈"}
    found = runs([fit(), fit(method="ML")], [fit(**worse), fit(**worse, method="ML")])
    assert script["verdicts"](found).rows == (
        ("c", "lme4", "ML, REML", "✓ agree", "≈ wrong numbers, silent", "the new one stops early"),
    )
    flat = fit().model_copy(update={"verdict": Verdict.FLAT, "words": "flat"})
    assert script["verdicts"](runs([fit(), fit(method="ML")], [fit(), flat])).rows == ()


def test_what_changed_is_counted_by_engine_and_step(script: Any) -> None:
    """A moved number would be counted as a verdict, or a model that an engine does not support as wrong."""
    unsupported = fit(Verdict.UNSUPPORTED, engine="nlme")
    found = runs([fit(), unsupported], [fit(estimate=1.1), unsupported], [fit(WRONG, 1.1), unsupported])
    rows = {row[0]: row[1:] for row in script["counts"](found, [None] * 3).rows}
    assert rows["lme4"] == ("1 of 1", "1 of 1", "0 of 1", "0; 1", "1; 0")
    assert rows["nlme"] == ("0 of 0", "0 of 0", "0 of 0", "0; 0", "0; 0")


def test_the_page_is_of_what_is_recorded() -> None:
    """A generation would be recorded, and the page go on about older ones."""
    page = (ROOT / "docs/generations.md").read_text(encoding="utf-8")
    wanted = [dict(r.fit.versions) for r in read(find("cases") / "sleepstudy" / FILE)]
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    told = {row[0].removeprefix("| "): {cell.strip(" |") for cell in row[1:]} for row in rows[:13]}
    for name in ("R", "lme4", "nlme", "glmmTMB"):
        assert told[name] == {v[name] for v in wanted if name in v}, name


def test_engines_of_python_are_left_out(script: Any) -> None:
    """Another Python's rounding would be told as R's."""
    found = runs([fit(engine="numpy"), fit()], [fit(WRONG, engine="numpy"), fit()])
    assert "numpy" not in script["page"](found, [None] * 2)


def test_folders_that_share_an_r_are_one_clear_error(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two columns of one name: nobody could say which of them is meant, nor which folder was named twice."""
    old, new = runs([fit()], [fit()])
    python = Results(sentence="", exit_code=0, fits=(fit(engine="numpy"),))
    folders = [tmp_path / name for name in ("old", "again", "new", "python")]
    for folder, run in zip(folders, (old, old, new, python), strict=True):
        folder.mkdir()
        (folder / "report.json").write_text(run.model_dump_json(by_alias=True), encoding="utf-8")
    first, again, newer, other = folders
    assert script["main"]([first, newer]) == 0
    assert "| software | R 4.2 | R 4.3 |" in capsys.readouterr().out
    assert script["main"]([first, newer, again]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (f"generations: {first} and {again} are both of R 4.2: name one folder for each R\n")
    assert script["main"]([first, other]) == 2
    assert capsys.readouterr().err.startswith(f"generations: {other}: no fit of R's engines")
