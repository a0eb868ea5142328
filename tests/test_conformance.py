"""Conformance: outcomes, scores, and the command, with engines that are right, wrong and neither."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.agreement import Agreement
from bridge.cli import app
from bridge.comparison import Comparison
from bridge.conformance import Outcome, Score, outcome, scores
from bridge.fit import Fit
from bridge.spec import KnownDifference
from bridge.verdict import Judgement, Verdict
from tests.front import ROOT, environment

MINE = "my_package.engine:MyEngine"
STATUS = {
    Verdict.REFUSED: "refused",
    Verdict.UNSUPPORTED: "unsupported",
    Verdict.UNAVAILABLE: "unavailable",
    Verdict.CRASHED: "crashed",
    Verdict.TIMED_OUT: "timed_out",
}


def judged(
    verdict: Verdict,
    *,
    engine: str = "mine",
    case: str = "a",
    claim: str = "ok",
    expected: bool | None = None,
    known: str = "",
    lre: float = 5.0,
    seconds: float = 0.01,
) -> Judgement:
    """A judgement with one variance of `lre` digits; `known` is the verdict that is on record."""
    entry = KnownDifference(engine=engine, verdicts=(known,), reason="so") if known else None
    fit = Fit(engine, "REML", "default", status=STATUS.get(verdict, "ok"), seconds=seconds)
    rows = (
        (Comparison("var", "g", (), "var__x", 1.0, 1.0, 0.0, "G+F", 1e-3, lre),) if fit.status == "ok" else ()
    )
    good = verdict.passes or bool(known) if expected is None else expected
    return Judgement(case, fit, verdict, "why", 0.0, rows, claim, entry, good, "" if good else "why")


@pytest.mark.parametrize(
    ("judgement", "said"),
    [
        (judged(Verdict.AGREE), Outcome.AGREE),
        (judged(Verdict.AGREE_SINGULAR, claim="warned"), Outcome.AGREE),
        (judged(Verdict.FLAT), Outcome.AGREE),
        (judged(Verdict.WORSE_OPTIMUM), Outcome.SILENT),
        (judged(Verdict.WORSE_OPTIMUM, claim="none"), Outcome.SILENT),
        (judged(Verdict.WORSE_OPTIMUM, claim="warned"), Outcome.WARNED),
        (judged(Verdict.NOT_CONVERGED, claim="not converged"), Outcome.WARNED),
        (judged(Verdict.WRONG_COMPUTATION, known="WRONG_COMPUTATION"), Outcome.SILENT),
        (judged(Verdict.UNIDENTIFIED), Outcome.SILENT),
        (judged(Verdict.REFUSED), Outcome.REFUSED),
        (judged(Verdict.REFUSED, known="REFUSED"), Outcome.REFUSED),
        (judged(Verdict.REFUSED, expected=True), Outcome.RIGHTLY),
        (judged(Verdict.REFUSED, known="UNIDENTIFIED", expected=False), Outcome.RIGHTLY),
        (judged(Verdict.TIMED_OUT), Outcome.CRASHED),
        (judged(Verdict.UNSUPPORTED), Outcome.UNSUPPORTED),
        (judged(Verdict.UNAVAILABLE), Outcome.UNAVAILABLE),
        (judged(Verdict.REFERENCE_WRONG), Outcome.DISPUTED),
    ],
)
def test_outcome_is_the_truth_and_no_excuse(judgement: Judgement, said: Outcome) -> None:
    """A known difference would count as right, or a right refusal as wrong."""
    assert outcome(judgement) is said


def test_share_leaves_out_what_an_engine_rightly_does_not_do() -> None:
    """An engine would be ranked on models that it says it cannot express."""
    verdicts = [Verdict.AGREE, Verdict.AGREE, Verdict.AGREE, Verdict.WORSE_OPTIMUM, Verdict.UNSUPPORTED]
    score = Score("mine", "default", (*map(judged, verdicts), judged(Verdict.REFUSED, expected=True)))
    assert (score.ranked, score.share, score.exit_code) == (4, 0.75, 1)
    assert score.sentence == "1 silent wrong"
    right = Score("mine", "default", tuple(map(judged, [Verdict.AGREE, Verdict.UNSUPPORTED])))
    assert (right.sentence, right.exit_code) == ("1/1 agree", 0)
    warned = Score("mine", "default", (judged(Verdict.AGREE), judged(Verdict.WORSE_OPTIMUM, claim="warned")))
    assert (warned.sentence, warned.exit_code) == ("1/2 agree, none silently wrong", 1)
    none = Score("mine", "default", (judged(Verdict.UNSUPPORTED),))
    assert (none.sentence, none.exit_code) == ("nothing compared", 1)


def test_digits_of_a_missing_answer_are_none() -> None:
    """An engine would gain digits by refusing what is hard."""
    found = (judged(Verdict.AGREE, lre=7.0), judged(Verdict.REFUSED), judged(Verdict.UNSUPPORTED))
    assert Score("mine", "default", found).digits == (7.0, 0.0)


def test_pace_is_of_the_same_fit() -> None:
    """Times of different models would be divided by one another."""
    agreement = Agreement(
        (
            judged(Verdict.AGREE, case="small", seconds=0.02),
            judged(Verdict.AGREE, case="large", seconds=3.0),
            judged(Verdict.REFUSED, case="refused", seconds=9.0),
            judged(Verdict.AGREE, engine="numpy", case="small", seconds=0.01),
            judged(Verdict.AGREE, engine="numpy", case="large", seconds=1.0),
            judged(Verdict.AGREE, engine="numpy", case="refused", seconds=1.0),
        )
    )
    (score,) = scores(agreement, ["mine"])
    assert score.paces == (2.0, 3.0)
    assert score.milliseconds == pytest.approx(1510)


def test_a_case_counts_in_each_of_its_families() -> None:
    """A family would lack a failure, or a case without tags would be nowhere."""
    score = Score("mine", "default", (judged(Verdict.AGREE), judged(Verdict.WORSE_OPTIMUM, case="b")))
    found = score.by_family({"a": ("real", "slope"), "b": ()})
    assert found == {
        "real": {Outcome.AGREE: 1},
        "slope": {Outcome.AGREE: 1},
        "other": {Outcome.SILENT: 1},
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with the example engine on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMMBRIDGE_STORE", raising=False)
    monkeypatch.syspath_prepend(str(ROOT / "docs/example-engine"))
    return tmp_path


def call(*arguments: str) -> Result:
    """``lmmbridge conformance`` with these arguments."""
    return CliRunner().invoke(app, ["conformance", *arguments])


def test_a_right_engine_is_0_and_its_card_is_complete(here: Path) -> None:
    """CI would stop an engine that is right, or the card would lack a part."""
    done = call(MINE, "--cases", "dyestuff,sleepstudy", "--badge", "b.svg", "--json", "s.json")
    assert done.exit_code == 0, done.output
    assert f"{MINE}, profile default: 2/2 agree" in done.stdout
    assert "Unsupported, 2 fits: it fits one random effect" in done.stdout
    for part in ("one-way", "unsupported", "BLUP", "logLik", "times engine numpy's"):
        assert part in done.stdout, done.stdout
    assert "2/2 agree" in (here / "b.svg").read_text()
    (card,) = json.loads((here / "s.json").read_text())
    assert (card["ranked"], card["counts"]["agree"], card["counts"]["unsupported"]) == (2, 2, 2)
    assert card["digits"]["G"]["worst"] > 4
    assert card["versions"]["my-package"] == "0.1"


def test_known_differences_are_wrong_here(here: Path) -> None:
    """What a case has on record passes `run`; a scorecard that let it pass would be worthless."""
    done = call("statsmodels", "--cases", "bimodal", "--method", "REML")
    assert done.exit_code == 1, done.output
    assert "bimodal-REML[statsmodels]: " in done.stdout
    assert "WORSE_OPTIMUM: stops" in done.stdout
    assert "gap: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("lme5",), "lme5"),
        (("nowhere:Mine",), "nowhere"),
        ((MINE, "--cases", "sleepstudi"), "sleepstudy"),
        ((MINE, "numpy", "--badge", "b.svg"), "--badge"),
        ((MINE, "--profile", "both", "--badge", "b.svg"), "--badge"),
        ((MINE, "--json", "none/s.json"), "none/s.json"),
    ],
)
def test_bad_input_is_2_and_one_line(here: Path, arguments: tuple[str, ...], named: str) -> None:
    """A mistake would end in a traceback, look like a failure, or come to light after minutes of fits."""
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_keeps_finished_fits(here: Path, fakes: Path) -> None:
    """Minutes of fits would be made again."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", "conformance", "fakes:Returns", "--jobs", "1"],
        cwd=here,
        env=environment() | {"FAKES_SECONDS": "0.2"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and len(list((here / ".lmmbridge").glob("*.parquet"))) < 2:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, "finished fits are kept" in error) == (130, True), error
    assert len(list((here / ".lmmbridge").glob("*.parquet"))) >= 2


SOFTWARE = "statsmodels glmm mixedlm mixedlm_rs lme_python kamino interlace gpboost polars formulae"


def test_no_engine_runs_in_the_parent(tmp_path: Path) -> None:
    """A crash, a hang or a monkey patch of third-party software would reach the referee itself."""
    code = (
        "import os, sys\nfrom bridge import engines\nfrom bridge.cli import app\n"
        "engines.available()\n"
        "words = ['conformance', 'statsmodels', 'lme4', '--cases', 'dyestuff', '--method', 'ML']\n"
        "try: app(words)\nexcept SystemExit: pass\n"
        f"print('imported:', set({SOFTWARE!r}.split()) & set(sys.modules))\n"
        "print('R started:', 'R_SESSION_TMPDIR' in os.environ)"
    )
    clean = {key: value for key, value in environment().items() if key != "R_SESSION_TMPDIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    assert "imported: set()" in done.stdout, done.stdout + done.stderr
    assert "R started: False" in done.stdout
    assert "statsmodels, profile default: 1/1 agree" in done.stdout, done.stdout
