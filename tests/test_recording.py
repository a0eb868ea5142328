"""Recorded fits: what is kept, when it stands in for an engine, and that nobody takes it for one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.case import Case, discover
from bridge.data import normalise
from bridge.errors import BridgeError, StoreError
from bridge.fit import Fit, Row
from bridge.recording import CHOICE, FILE, About, Recording, read, stand_in, write
from bridge.resources import find
from bridge.run import Task
from bridge.verdict import Verdict
from tests.front import FORMULA, clusters, program, pytest_in

ROWS = (
    Row("fixed", "(Intercept)", 1.5, std_error=0.1, df=7.25),
    Row("ran_vals", "(Intercept)", -0.3, "a:b", ("é ü", "p:q")),
)
FIT = Fit(
    *("lme4", "REML", "default", "ok", ROWS, -12.5, math.nan, 30, None, ("it said so",)),
    seconds=0.02,
    versions={"BLAS": "libblas.so.3", "Matrix": "1.7-3", "R": "4.5.0", "lme4": "1.1.37"},
    limit=60.0,
)
ABOUT = About("sha256:0", FORMULA)
TASK = Task("mine", Path("data.parquet"), "sha256:0", FORMULA, "REML", "lme4")
WHY = "R is not installed"


def recording(fit: Fit = FIT, about: About = ABOUT, **versions: str) -> Recording:
    """One, of these versions."""
    return Recording(fit.having(versions={**fit.versions, **versions}), about, "Linux", "2026-11-23")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a case keeps its recording."""
    return tmp_path / FILE


def test_what_is_recorded_comes_back(file: Path) -> None:
    """A recorded fit would not be what R gave."""
    assert write(file, [recording()])
    (found,) = read(file)
    assert repr(found) == repr(recording())  # NaN is no number, but the same text
    stood = stand_in(TASK, WHY, file)
    assert repr(stood.having(recorded=None)) == repr(FIT)
    assert str(stood.recorded) == "recorded, R 4.5.0, lme4 1.1.37"
    assert stood.recorded is not None
    assert (stood.recorded.platform, stood.recorded.date) == ("Linux", "2026-11-23")
    assert stood.recorded.why == WHY


def test_recording_again_replaces_its_own_environment_only(file: Path) -> None:
    """One generation of R would wipe out the others, or every recording be added to the last."""
    old = recording(R="4.2.2", lme4="1.1.31")
    write(file, [old])
    write(file, [recording()])
    again = recording(FIT.having(loglik=-13.0))
    write(file, [again])
    assert {(r.fit.versions["R"], r.fit.loglik) for r in read(file)} == {("4.2.2", -12.5), ("4.5.0", -13.0)}


def test_nothing_new_leaves_the_file_alone(file: Path) -> None:
    """Every `lmmbridge record` would be a change to commit, for its date, its times and its patience."""
    write(file, [recording()])
    before = file.read_bytes()
    later = Recording(FIT.having(seconds=9.0, limit=600.0), ABOUT, "Linux", "2027-01-01")
    assert not write(file, [later])
    assert file.read_bytes() == before


def test_what_was_recorded_of_other_data_goes(file: Path) -> None:
    """Fits that can never be used again would stay in the file."""
    write(file, [recording(about=About("sha256:1", FORMULA), R="4.2.2")])
    write(file, [recording()])
    assert [r.about for r in read(file)] == [ABOUT]


@pytest.mark.parametrize(
    ("about", "word"),
    [
        (About("sha256:1", FORMULA), "data"),
        (About("sha256:0", "y ~ 1 + (1 | g)"), "formula"),
        (About("sha256:0", FORMULA, "pass"), "missing"),
        (About("sha256:0", FORMULA, weights="w"), "weights"),
        (About("sha256:0", FORMULA, offset="o"), "offset"),
    ],
)
def test_a_recording_of_something_else_is_refused(about: About, word: str, file: Path) -> None:
    """Old numbers would be held against the optimum of new data."""
    write(file, [recording(about=about)])
    fit = stand_in(TASK, WHY, file)
    assert fit.status == "unavailable"
    assert fit.reason == f"{WHY}; {file} is not used: it is of another {word}; record it again"


def test_the_spelling_of_a_formula_is_no_difference(file: Path) -> None:
    """A blank in case.toml would throw recordings away."""
    write(file, [recording(about=About("sha256:0", "y~x+(1|g)"))])
    assert stand_in(TASK, WHY, file).status == "ok"


def test_what_was_not_recorded_is_unavailable(file: Path) -> None:
    """Another profile's numbers would be shown, or an absent file be an error."""
    assert stand_in(TASK, WHY, file).reason == WHY
    write(file, [recording(FIT.having(profile="tight"))])
    assert stand_in(TASK, WHY, file).reason == WHY


def test_the_newest_stands_in_unless_another_is_chosen(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old R would be shown for R as it is, 4.10 as older than 4.9, or a choice be passed over."""
    monkeypatch.delenv(CHOICE, raising=False)
    write(file, [recording(R="4.9.0"), recording(R="4.10.0"), recording(R="4.2.2", lme4="1.1.31")])
    assert stand_in(TASK, WHY, file).versions["R"] == "4.10.0"
    monkeypatch.setenv(CHOICE, "lme4 < 1.1-35")
    assert stand_in(TASK, WHY, file).versions["R"] == "4.2.2"
    monkeypatch.setenv(CHOICE, "R > 5")
    told = stand_in(TASK, WHY, file).reason
    assert told.endswith(f"nothing that {CHOICE}='R > 5' allows: it is of R 4.2.2, R 4.9.0, R 4.10.0")
    monkeypatch.setenv(CHOICE, "R is old")
    with pytest.raises(BridgeError, match=r"LMMBRIDGE_RECORDED='R is old': 'R is old' is not like"):
        stand_in(TASK, WHY, file)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_a_file_that_is_no_recording_is_said(content: bytes | None, file: Path) -> None:
    """A torn file would end the run, or the engine be missing with no word of it."""
    if content is None:
        write(file, [recording()])
        content = file.read_bytes()[:-200]
    file.write_bytes(content)
    assert "is no recording" in stand_in(TASK, WHY, file).reason
    with pytest.raises(StoreError, match="is no recording"):
        read(file)


ENGINES = "numpy,lme4,lm"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A case whose recording has the optimum as lme4's; R is hidden by `path`, an empty folder."""
    (tmp_path / "bin").mkdir()
    fields = {"title": "t", "formula": FORMULA, "methods": ["REML"], "source": "s", "licence": "l"}
    case = Case.create(tmp_path / "cases", "mine", fields, clusters())
    keep(case)
    return case


def keep(case: Case, scale: float = 1.0) -> None:
    """Record engine numpy's fit as lme4's, its residual variance `scale` times what it is."""
    from bridge.engines.numpy import Numpy

    fit = Numpy().fit(case.model(), "REML", "default")
    rows = tuple(
        Row(r.effect, r.term, r.estimate * (scale if r.term == "var__Observation" else 1.0), r.group, r.level,
            r.std_error)
        for r in fit.rows
    )  # fmt: skip
    fit = fit.having(engine="lme4", rows=rows, sigma=fit.sigma * scale**0.5, versions=FIT.versions)
    write(case.folder / FILE, [recording(fit, About(case.data_hash, FORMULA))])


def lmmbridge(case: Case, *arguments: str) -> str:
    """What the command says on a machine without R, and its exit code."""
    root = case.folder.parents[1]
    done = program("-m", "bridge.cli", *arguments, cwd=root, path=str(root / "bin"))
    assert "Traceback" not in done.stderr
    return f"{done.stdout}{done.stderr}exit {done.returncode}"


def test_run_without_r_shows_recorded_fits_as_such(case: Case) -> None:
    """A machine without R would show nothing of R, or show it as if it had been there."""
    said = lmmbridge(case, "run", "--engines", ENGINES, "--report", "reports")
    assert "lme4 (recorded)" in said
    assert "Not fitted here: lme4 (recorded, R 4.5.0, lme4 1.1.37)" in said
    assert "Not available: lm" in said
    assert said.endswith("exit 0")
    reports = case.folder.parents[1] / "reports"
    report = (reports / "report.md").read_text(encoding="utf-8")
    assert "numpy and lme4 (recorded)" in report
    assert "R 4.5.0, lme4 1.1.37 on Linux, 2026-11-23" in report
    assert 'name="recorded" value="R 4.5.0, lme4 1.1.37"' in (reports / "junit.xml").read_text()
    said = lmmbridge(case, "run", "--engines", ENGINES, "--require", "lme4")
    assert "Required but not available: lme4 (a recorded fit is no engine)" in said
    assert said.endswith("exit 1")


def test_compare_finds_the_case_by_its_data(case: Case) -> None:
    """A user who compares a case's data would see nothing of R, or other data be shown its numbers."""
    clusters().to_csv(case.folder.parents[1] / "same.csv", index=False)
    clusters(2).to_csv(case.folder.parents[1] / "other.csv", index=False)
    said = lmmbridge(case, "compare", "same.csv", "y~x+(1|g)", "--engines", ENGINES)
    assert "agrees (recorded, R 4.5.0, lme4 1.1.37)" in said
    said = lmmbridge(case, "compare", "other.csv", FORMULA, "--engines", ENGINES)
    assert "recorded" not in said


def test_explain_takes_a_recorded_fit_and_says_so(case: Case) -> None:
    """Without R nobody could see lme4's weights, or they would be taken for this machine's."""
    said = " ".join(lmmbridge(case, "explain", "mine", "--engine", "lme4").split())
    assert "by lme4)" in said
    assert "lme4 is not on this machine: its fit is a recorded one, by R 4.5.0, lme4 1.1.37." in said
    assert said.endswith("exit 0")
    assert "engine nlme: unavailable" in lmmbridge(case, "explain", "mine", "--engine", "nlme")


def test_compare_finds_r_s_own_table_of_a_case(tmp_path: Path) -> None:
    """The table as R writes it, whole numbers and all, would be other data than the case's."""
    frame = Case.load(find("cases") / "sleepstudy").frame()
    plain = frame.astype({"Days": int, "Subject": "str"}).astype({"Subject": int})
    formula = "Reaction ~ Days + (Days | Subject)"
    cases = {"same": plain, "labels": plain.assign(Subject=plain.Subject + 1000),
             "rows": plain.iloc[::-1], "day": plain.assign(Days=plain.Days.replace(9, 10)),
             "factor": plain.assign(Days=plain.Days.astype(str)), "fewer": plain.iloc[:-1]}  # fmt: skip
    found = {
        name: stand_in(Task("", normalise(table), "sha256:1", formula, "REML", "lme4"), WHY, None)
        for name, table in cases.items()
    }
    assert {name for name, fit in found.items() if fit.status == "ok"} == {"same"}
    assert found["same"].recorded is not None


def test_another_machines_times_are_no_times() -> None:
    """Milliseconds of two machines would be compared, and their ratio be printed."""
    from bridge.conformance import Score
    from bridge.fit import Origin
    from tests.test_conformance import judged

    mine = judged(Verdict.AGREE, engine="lme4", seconds=0.5)
    origin = Origin("R 4.5.0, lme4 1.1.37", "Linux", "2026-11-23", WHY)
    kept = replace(mine, fit=mine.fit.having(recorded=origin))
    assert Score("lme4", "default", (mine,)).milliseconds == 500
    assert Score("lme4", "default", (kept,)).milliseconds is None


def test_a_recorded_fit_is_no_conformance(case: Case) -> None:
    """An engine that is not there would conform."""
    said = lmmbridge(case, "conformance", "lme4", "--cases", "sleepstudy", "--method", "REML")
    assert "unavailable" in said
    assert said.endswith("exit 1")


def test_known_differences_ask_the_recorded_versions(case: Case) -> None:
    """A difference of old versions would excuse newer ones that are recorded, or never be known."""
    keep(case, scale=2.0)
    known = '\n[[known_difference]]\nengine = "lme4"\nverdicts = ["*"]\nsilent = true\nreason = "so"\n'
    known += 'versions = "{}"\n'
    path = case.folder / "case.toml"
    text = path.read_text(encoding="utf-8")
    said = lmmbridge(case, "run", "--engines", ENGINES)
    assert said.endswith("exit 1")
    verdict = "WRONG_COMPUTATION"
    assert f"mine-REML[lme4]: {verdict}" in said
    for versions, code in (("lme4 < 1.1-35", 1), ("lme4 >= 1.1-35", 0)):
        path.write_text(text + known.format(versions).replace("*", verdict), encoding="utf-8")
        assert lmmbridge(case, "run", "--engines", ENGINES).endswith(f"exit {code}")


def test_pytest_uses_recorded_fits_and_says_so(case: Case, tmp_path: Path) -> None:
    """A suite without R would skip what R gave, or pass as if R had been there."""
    path = str(tmp_path / "bin")
    done = pytest_in(tmp_path, "-vv", "--lmm-engines", ENGINES, path=path)
    assert "mine-REML[lme4] PASSED (recorded, R 4.5.0, lme4 1.1.37)" in done.stdout, done.stdout
    assert "lmmbridge: recorded fits, not made here: 1 of R 4.5.0, lme4 1.1.37" in done.stdout
    assert "2 passed, 1 skipped" in done.stdout
    done = pytest_in(tmp_path, "--lmm-engines", ENGINES, "--lmm-require", "lme4", path=path)
    assert done.returncode == 1
    assert "required, but not available: R is not installed" in done.stdout
    assert "its fit is recorded, R 4.5.0, lme4 1.1.37, which is no engine" in done.stdout


def test_record_without_r_says_why(case: Case) -> None:
    """It would write an empty recording over a good one, or end in a traceback."""
    before = (case.folder / FILE).read_bytes()
    assert "lmmbridge: nothing to record: R is not installed" in lmmbridge(case, "record")
    assert "engine numpy: only R's are recorded" in lmmbridge(case, "record", "--engines", "numpy")
    assert (case.folder / FILE).read_bytes() == before


@pytest.mark.needs_r
def test_record_keeps_what_r_gives_beside_other_environments(case: Case, tmp_path: Path) -> None:
    """What is recorded would not be R's live fit, or this machine would use it instead of R."""
    words = ("-m", "bridge.cli", "record", "mine", "--engines", "lme4,lm")
    done = program(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mine: 4 ok; written" in done.stdout
    assert "mine: 4 ok; as it was" in program(*words, cwd=tmp_path).stdout
    assert len(read(case.folder / FILE)) == 5
    said = program("-m", "bridge.cli", "run", "--engines", ENGINES, cwd=tmp_path).stdout
    assert "recorded" not in said
    told = pytest_in(tmp_path, "--lmm-engines", ENGINES, "--lmm-require", "lme4,lm")
    assert told.returncode == 0, told.stdout


@pytest.mark.needs_r
def test_a_fit_that_ran_out_of_time_is_not_recorded(case: Case, tmp_path: Path) -> None:
    """A busy machine would be shown everywhere as an engine that hangs."""
    before = (case.folder / FILE).read_bytes()
    done = program("-m", "bridge.cli", "record", "mine", "--engines", "lme4", "--limit", "1e-6", cwd=tmp_path)
    assert "mine: nothing recorded: no answer within 1e-06 s" in done.stdout, done
    assert (case.folder / FILE).read_bytes() == before


@pytest.mark.parametrize("found", [c for c in discover(find("cases")) if (c.folder / FILE).is_file()],
                         ids=lambda c: c.id)  # fmt: skip
def test_bundled_recordings_are_of_the_cases_as_they_are(found: Case) -> None:
    """A case would be edited, and what R gave of it be refused on every machine without R."""
    spec = found.spec
    about = About(found.data_hash, spec.formula, spec.missing, spec.weights, spec.offset)
    kept = read(found.folder / FILE)
    assert {about.fault(r.about) for r in kept} == {""}
    assert {r.fit.method for r in kept} == set(spec.methods)
    assert {r.fit.profile for r in kept} == {"default", "tight"}


def test_bundled_recordings_have_the_published_numbers() -> None:
    """Fits would be recorded under another case, engine or method, or their rows be mixed up."""
    found = [r.fit for r in read(find("cases") / "sleepstudy" / FILE) if r.fit.method == "REML"]
    assert {"lme4", "nlme", "glmmTMB", "lmerTest", "pbkrtest", "lm"} == {fit.engine for fit in found}
    for fit in found:
        beta = {row.term: row.estimate for row in fit.select("fixed")}
        # Bates et al. (2015), section 5.2; equal to ordinary least squares, as the design is balanced.
        assert beta == pytest.approx({"(Intercept)": 251.405, "Days": 10.467}, abs=6e-4)
        # lm's residuals hold the subjects, too: 47.71.
        assert fit.sigma == pytest.approx(47.71 if fit.engine == "lm" else 25.592, abs=6e-3)
