"""Drift: what is said to have changed between two runs."""

from __future__ import annotations

from typing import Any

from bridge.drift import drift
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
