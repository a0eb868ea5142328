"""Drift: what is said to have changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bridge.drift import drift, numbers
from bridge.errors import StoreError
from bridge.report import drift as shown
from bridge.report.results import EngineResult, FitResult, Line, Results
from bridge.verdict import Verdict


def line(estimate: float, **changes: Any) -> Line:
    """A fixed effect where 1 is right, its SE 0.5 and a tolerance of a tenth SE."""
    far = abs(estimate - 1) / 0.5
    given = {"quantity": "beta", "term": "x", "scale": "SE", "tolerance": 0.1, "lre": 5.0}
    return Line(**given | changes, estimate=estimate, reference=1.0, difference=far, ok=far <= 0.1)


def fit(engine: str = "lme4", verdict: Verdict = Verdict.AGREE, **changes: Any) -> FitResult:
    """One that agrees unless changed."""
    given: dict[str, Any] = {
        "case": "a",
        "method": "REML",
        "engine": engine,
        "profile": "default",
        "verdict": verdict,
        "words": verdict.lower(),
        "symbol": "✓" if verdict.passes else "✗",
        "claim": "ok",
        "silent": False,
        "expected": verdict.passes,
        "surprise": "",
        "reason": "why",
        "cause": "none",
        "advice": "",
        "gap": 0.0,
        "loglik": -1.0,
        "seconds": 1.0,
    }
    return FitResult(**given | changes)


def run(*fits: FitResult, version: str = "1.0", date: str = "today") -> Results:
    """A run by lme4 of a version."""
    made = EngineResult(name="lme4", versions={"lme4": version, "R": "4.2"})
    return Results(sentence="", exit_code=0, facts=(("date", date),), engines=(made,), fits=fits)


def test_nothing_changed() -> None:
    """Two equal runs would be said to differ."""
    found = drift(run(fit(rows=(line(1.0),))), run(fit(rows=(line(1.0),))))
    assert (found.exit_code, found.sentence) == (0, "Nothing changed in 1 fit.")
    assert list(shown.tables(found)) == []


def test_runs_are_named_by_what_differs() -> None:
    """One could not tell which run had which software."""
    found = drift(run(fit(), version="1.0"), run(fit(), version="1.1"))
    assert (found.before, found.after, found.software) == ("lme4 1.0", "lme4 1.1", (("lme4", "1.0", "1.1"),))
    same = drift(run(fit(), date="Monday"), run(fit(), date="Friday"))
    assert (same.before, same.after) == ("Monday", "Friday")


def test_a_verdict_that_became_worse_fails() -> None:
    """A regression of an engine would pass, or a repair would fail."""
    good, bad = run(fit()), run(fit(verdict=Verdict.WORSE_OPTIMUM))
    assert (drift(good, bad).exit_code, drift(bad, good).exit_code) == (1, 0)
    assert [c.worse for c in drift(bad, good).verdicts] == [False]
    known = run(fit(verdict=Verdict.WORSE_OPTIMUM, expected=True))
    silent = run(fit(verdict=Verdict.WORSE_OPTIMUM, expected=True, silent=True))
    assert drift(known, silent).exit_code == 1


def test_numbers_move_in_units_of_their_tolerance() -> None:
    """A change within tolerance would be listed, or one beyond it be missed."""
    before = run(fit(rows=(line(1.01),)))
    (moved,) = drift(before, run(fit(rows=(line(1.11),)))).values
    assert abs(moved.times - 2.0) < 1e-9
    assert drift(before, run(fit(rows=(line(1.04),)))).values == ()
    assert drift(before, run(fit(rows=(line(float("nan")),)))).values[0].times == float("inf")


def test_digits_times_and_what_only_one_run_has() -> None:
    """Lost digits, slower engines, or fits that are missing would go unseen."""
    before = run(fit(digits={"beta": (9.0, 9.0)}), fit("nlme"))
    after = run(fit(digits={"beta": (4.0, 8.0)}, seconds=5.0), fit("glmmTMB"))
    found = drift(before, after)
    assert [(d.before, d.after) for d in found.digits] == [(9.0, 4.0)]
    assert [(p.engine, p.ratio) for p in found.paces] == [("lme4", 5.0)]
    assert [key[2] for key in found.gone + found.new] == ["nlme", "glmmTMB"]
    assert found.sentence == "Nothing changed in 1 fit but digits and times."


def test_markdown_escapes() -> None:
    """A reason in a report could write markup."""
    worse = fit(verdict=Verdict.WORSE_OPTIMUM, reason="<b>|`")
    assert "&lt;b&gt;" in shown.markdown(drift(run(fit()), run(worse)))


def table(*fits: FitResult, extra: float | None = None) -> pd.DataFrame:
    """results.parquet of a run; `extra` is a BLUP that its report does not keep."""
    more = () if extra is None else (line(extra, quantity="BLUP", group="g", level=("1",), term="x"),)
    return pd.DataFrame(
        [
            {name: getattr(fit, name) for name in ("case", "method", "engine", "profile")} | row.model_dump()
            for fit in fits
            for row in (*fit.rows, *more)
        ]
    )


def test_every_number_is_compared_where_both_tables_are_there() -> None:
    """A BLUP that moved but stayed within tolerance of the truth would go unseen: no report keeps it."""
    one = fit(rows=(line(1.0),))
    tables = table(one, extra=0.951), table(one, extra=1.049)
    found = drift(run(one), run(one), tables)
    (moved,) = found.values
    assert (moved.what, moved.before, moved.after) == ("BLUP g 1 x", 0.951, 1.049)
    assert abs(moved.times - 0.098 / 0.5 / 0.1) < 1e-9
    assert found.compared == "2 numbers compared: all that both results.parquet have."
    for part in ((None, None), (tables[0], None)):
        less = drift(run(one), run(one), part)
        assert (less.values, less.numbers, less.every) == ((), 1, False)
        assert "report.json" in less.compared


def test_the_table_is_read_and_one_of_another_run_is_not(tmp_path: Path) -> None:
    """Numbers of one run would be set beside verdicts of another, or a damaged file end in a traceback."""
    one = run(fit(rows=(line(1.0),), left_out=1))
    assert numbers(tmp_path, one) is None
    path = tmp_path / "results.parquet"
    table(*one.fits, extra=1.0).to_parquet(path)
    read = numbers(tmp_path / "report.json", one)
    assert read is not None
    assert read["level"].tolist() == [(), ("1",)]
    assert drift(one, one, (read, read)).numbers == 2
    assert numbers(tmp_path, run(fit(rows=(line(1.0),)))) is None
    path.write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"results.parquet: cannot be read"):
        numbers(tmp_path, one)
