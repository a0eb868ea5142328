"""The command line: exit codes, one-line errors, and real runs with Python's engines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from bridge.cli import app
from bridge.commands import common
from bridge.resources import find
from tests.front import FORMULA, clusters, environment, program

ENGINES = ("--engines", "numpy,ols")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with a table in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMMBRIDGE_STORE", raising=False)
    clusters().to_csv("trial.csv", index=False)
    return tmp_path


def call(*arguments: str) -> Result:
    """``lmmbridge`` with these arguments."""
    return CliRunner().invoke(app, list(arguments))


def test_add_run_and_run_again(here: Path) -> None:
    """What `add` writes would not run, or an unchanged second run would fit anew."""
    assert call("add", "trial.csv", FORMULA, "--name", "mine").exit_code == 0
    first = call("run", *ENGINES, "--report", "reports")
    assert first.exit_code == 0, first.output
    assert "All 4 fits as expected (4 right)" in first.stdout
    files = {path: path.stat().st_mtime_ns for path in (here / ".lmmbridge").rglob("*.*")}
    second = call("run", *ENGINES)
    assert second.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (here / ".lmmbridge").rglob("*.*")} == files
    assert call("run", *ENGINES, "--fresh").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in files} != files
    assert len(pd.read_parquet("reports/verdicts.parquet")) == 4
    assert "✓ agree" in Path("reports/report.md").read_text(encoding="utf-8")


def test_slow_cases_are_left_out_and_named(here: Path) -> None:
    """A run of all would take an hour, or leave cases out without a word."""
    for name in ("mine", "large"):
        assert call("add", "trial.csv", FORMULA, "--name", name).exit_code == 0
    path = here / "cases/large/case.toml"
    path.write_text('tags = ["slow"]\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    done = call("run", *ENGINES)
    assert "All 4 fits as expected" in done.stdout
    assert "tagged slow: large (name them" in done.stderr
    for words in (("run", "large"), ("run", "mine", "large")):
        named = call(*words, *ENGINES)
        assert f"All {4 * len(words) - 4} fits as expected" in named.stdout
        assert "slow" not in named.stderr
    shutil.rmtree(here / "cases/mine")
    assert "All 4 fits as expected" in call("run", *ENGINES).stdout


def test_compare_shows_the_agreement_table(here: Path) -> None:
    """The table would lack a quantity, an engine or a verdict."""
    done = call("compare", "trial.csv", FORMULA, *ENGINES)
    assert done.exit_code == 0, done.output
    for part in (
        "numpy",
        "ols (no groups)",
        "var g (Intercept)",
        "sigma",
        "✓ agree",
        "All 2 fits as expected",
    ):
        assert part in done.stdout


def test_unexpected_disagreement_is_1_and_named(here: Path) -> None:
    """A disagreement would pass, or not be named with its worst rows; or a report could not be made of it."""
    folder = shutil.copytree(find("cases") / "bimodal", here / "cases/mine")
    text = (folder / "case.toml").read_text(encoding="utf-8").split("[[known_difference]]")[0]
    (folder / "case.toml").write_text(text, encoding="utf-8")
    arguments = ("run", "mine", "--engines", "statsmodels", "--method", "REML")
    done = call(*arguments)
    assert done.exit_code == 1
    assert "mine-REML[statsmodels]: WORSE_OPTIMUM" in done.stdout
    assert "    gap: " in done.stdout
    assert call(*arguments, "--exit-zero").exit_code == 0
    known = '[[known_difference]]\nengine = "statsmodels"\nverdicts = ["WORSE_OPTIMUM"]\nreason = "so"\n'
    (folder / "case.toml").write_text(f"{text}\n{known}", encoding="utf-8")
    assert call(*arguments).exit_code == 0


def test_generate_from_options_and_from_a_table(here: Path) -> None:
    """A drawn case would not be the design asked for."""
    options = ("--sizes", "3,4,5", "--predictor", "arm:cluster:binary:1", "--icc", ".3", "--seed", "4")
    done = call("generate", "--name", "a", *options)
    assert done.exit_code == 0, done.output
    predictor = '[[predictors]]\nname = "arm"\nlevel = "cluster"\nkind = "binary"\neffect = 1.0\n'
    Path("d.toml").write_text(f"seed = 4\nicc = 0.3\n[clusters]\nsizes = [3, 4, 5]\n{predictor}")
    assert call("generate", "--name", "b", "--from", "d.toml").exit_code == 0
    assert Path("cases/a/data.parquet").read_bytes() == Path("cases/b/data.parquet").read_bytes()
    assert list(pd.read_parquet("cases/a/data.parquet").groupby("cluster", observed=True).size()) == [3, 4, 5]
    listed = call("list")
    assert "2 cases in cases" in listed.stdout


BAD = {
    "no file": (("compare", "none.csv", FORMULA), "none.csv"),
    "not Parquet": (("compare", "fake.parquet", FORMULA), "fake.parquet"),
    "truncated": (("compare", "half.parquet", FORMULA), "half.parquet"),
    "suffix": (("compare", "d.xyz", FORMULA), "d.xyz"),
    "empty": (("compare", "empty.csv", FORMULA), "empty.csv"),
    "twice": (("compare", "twice.csv", FORMULA), "twice.csv"),
    "column": (("compare", "trial.csv", "y ~ q + (1 | g)"), "'q'"),
    "bracket": (("compare", "trial.csv", "y ~ x + (1 | g"), "("),
    "text": (("compare", "text.csv", FORMULA), "y"),
    "NaN": (("compare", "nan.csv", FORMULA), "'x'"),
    "Inf": (("compare", "inf.csv", FORMULA), "'x'"),
    "one level": (("compare", "one.csv", FORMULA), "--expect"),
    "add one level": (("add", "one.csv", FORMULA, "--name", "m"), "--expect"),
    "path in id": (("add", "trial.csv", FORMULA, "--name", "../m"), "../m"),
    "engine": (("compare", "trial.csv", FORMULA, "--engines", "lme5"), "lme5"),
    "case": (("run", "sleepstudi"), "sleepstudy"),
    "hash": (("run", "changed", *ENGINES), "hash"),
    "unknown key": (("run", "keyed", *ENGINES), "titel"),
    "missing key": (("run", "keyless", *ENGINES), "licence"),
    "not TOML": (("run", "toml", *ENGINES), "TOML"),
    "read-only": (("add", "trial.csv", FORMULA, "--name", "m", "--into", "trial.csv/x"), "trial.csv"),
    "store": (("compare", "trial.csv", FORMULA, *ENGINES, "--store", "trial.csv/x"), "trial.csv"),
    "report": (("run", "mine", *ENGINES, "--report", "trial.csv/x"), "trial.csv"),
    "sizes": (("generate", "--name", "m", "--sizes", "a,b", "--icc", ".3", "--seed", "1"), "--sizes"),
    "no seed": (("generate", "--name", "m", "--sizes", "3,4", "--icc", ".3"), "seed"),
    "no table": (("generate", "--name", "m", "--from", "none.toml"), "none.toml"),
}


@pytest.fixture
def faulty(here: Path) -> Path:
    """Files with every fault there is."""
    frame = clusters()
    frame.to_parquet("whole.parquet")
    Path("half.parquet").write_bytes(Path("whole.parquet").read_bytes()[:500])
    Path("fake.parquet").write_text("not Parquet")
    Path("d.xyz").write_text("y,x\n")
    Path("empty.csv").write_text("")
    Path("twice.csv").write_text("y,x,x,g\n1,2,3,a\n2,3,4,b\n")
    frame.assign(y="a").to_csv("text.csv", index=False)
    frame.assign(x=None).to_csv("nan.csv", index=False)
    frame.assign(x=[float("inf"), *frame["x"][1:]]).to_csv("inf.csv", index=False)
    frame.assign(g="a").to_csv("one.csv", index=False)
    assert call("add", "trial.csv", FORMULA, "--name", "mine").exit_code == 0
    text = Path("cases/mine/case.toml").read_text()
    for name, content in {
        "changed": text.replace("sha256:", "sha256:" + "0" * 64)[: text.index("sha256:") + 71]
        + '"\nrows = 52\n',
        "keyed": f'titel = "t"\n{text}',
        "keyless": "\n".join(line for line in text.split("\n") if not line.startswith("licence")),
        "toml": text + "\n[[[\n",
    }.items():
        shutil.copytree("cases/mine", f"cases/{name}")
        Path(f"cases/{name}/case.toml").write_text(content)
    return here


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_2_in_one_line(faulty: Path, name: str) -> None:
    """Bad input would end in a traceback, without a name, or leave something half-written."""
    arguments, says = BAD[name]
    before = sorted(path for path in faulty.rglob("*") if ".lmmbridge" not in path.parts)
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("lmmbridge: ")
    assert says in done.stderr
    assert sorted(path for path in faulty.rglob("*") if ".lmmbridge" not in path.parts) == before


OWN = "from bridge.engines.numpy import Numpy\n\n\nclass Mine(Numpy):\n    name = 'mine'\n"


def test_an_engine_in_the_current_folder(here: Path) -> None:
    """One's own engine would be unavailable, or a module beside the data would hide pandas."""
    (here / "my_package").mkdir()
    (here / "my_package/engine.py").write_text(OWN)
    (here / "pandas.py").write_text("raise SystemExit('shadowed')")
    words = ("-P", "-m", "bridge.cli", "compare", "trial.csv", FORMULA, "--engines")
    done = program(*words, "numpy,my_package.engine:Mine", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "All 2 fits as expected (2 right)" in done.stdout
    for name in ("my_package.engin:Mine", "my_package.engine:Yours"):
        done = program(*words, f"numpy,{name}", cwd=here)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"lmmbridge: engine {name}: cannot be imported")


def test_without_r_everything_else_works(here: Path) -> None:
    """A machine without R would be a machine without lmmbridge."""
    (here / "bin").mkdir()
    assert call("add", "trial.csv", FORMULA, "--name", "mine").exit_code == 0
    for arguments in (("run",), ("compare", "trial.csv", FORMULA)):
        words = ("-m", "bridge.cli", *arguments, "--engines", "numpy,lme4,lm")
        done = program(*words, cwd=here, path=str(here / "bin"))
        assert done.returncode == 0, done.stderr
        assert "– unavailable" in done.stdout
        assert "Not available: lme4, lm" in done.stdout
        done = program(*words, "--require", "lme4", cwd=here, path=str(here / "bin"))
        assert done.returncode == 1
        assert "Required but not available: lme4" in done.stdout
    done = program("-m", "bridge.cli", "doctor", cwd=here, path=str(here / "bin"))
    assert "not on PATH" in done.stdout
    assert "r-base-core" in done.stdout


def test_ctrl_c_is_130_and_keeps_finished_fits(here: Path) -> None:
    """Ctrl-C would lose what is finished, or look like success."""
    command = [sys.executable, "-m", "bridge.cli", "run", "--engines", "numpy,statsmodels", "--jobs", "1"]
    env = environment() | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=here,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    while process.poll() is None and len(list((here / ".lmmbridge").glob("*.parquet"))) < 2:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    told = error.splitlines()[-1]  # progress before it, where this took more than 10 s
    assert told.startswith("lmmbridge: stopped; finished fits are kept")
    assert len(list((here / ".lmmbridge").glob("*.parquet"))) >= 2


def test_ctrl_c_says_what_is_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`compare` would promise to go on from fits that it never kept."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.catalogue.execute", stop)
    done = call("compare", "trial.csv", FORMULA, *ENGINES)
    assert (done.exit_code, done.stderr) == (
        130,
        "lmmbridge: stopped; nothing is kept, as there is no store\n",
    )
    done = call("compare", "trial.csv", FORMULA, *ENGINES, "--store", "kept")
    assert "stopped; finished fits are kept" in done.stderr
    assert ".lmmbridge" not in call("compare", "--help").stdout


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """`lmmbridge --help` would wait for pandas."""
    code = (
        "import sys\nfrom bridge.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        "print({'pandas', 'pyarrow', 'scipy', 'statsmodels', 'rpy2', 'pydantic'} & set(sys.modules))"
    )
    done = program("-c", code, cwd=tmp_path)
    assert done.stdout.strip().endswith("set()"), done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engines", ""), "name one or more of numpy"),
        (("--engines", ","), "name one or more of numpy"),
        (("--limit", "inf"), "at most 1e+07"),
        (("--limit", "1e18"), "at most 1e+07"),
        (("--limit", "0"), "above 0"),
    ],
)
@pytest.mark.parametrize("command", [("compare", "trial.csv", FORMULA), ("run", "dyestuff")])
def test_options_that_mean_nothing(
    here: Path, command: tuple[str, ...], options: tuple[str, ...], words: str
) -> None:
    """A variable that is empty in a script would run all engines, and a limit without end overflow."""
    done = call(*command, *options)
    assert done.exit_code == 2, done.output
    assert words in done.stderr


def test_a_fault_of_the_model_names_the_file(here: Path) -> None:
    """Of several tables, one would not know which is meant."""
    clusters().assign(y="high").to_csv("text.csv", index=False)
    done = call("compare", "text.csv", FORMULA)
    assert done.exit_code == 2
    assert done.stderr.startswith("lmmbridge: text.csv: the response y is text")


def shell(line: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command line of the shell, ``$B`` being lmmbridge."""
    program = f"{sys.executable} -m bridge.cli"
    return subprocess.run(
        ["bash", "-c", line], env=environment() | {"B": program} | changes, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"$B compare trial.csv '{FORMULA}' --engines numpy,ols >&-", 0),
        (f"$B compare trial.csv '{FORMULA}' --engines numpy,ols <&- >&- 2>&-", 0),
        ("$B list >/dev/full", 2),
        ("{ $B list; echo $? >code; } | true; exit $(cat code)", 141),
        ("$B compare nix.csv 'y ~ x' 2>&-", 2),
        ("$B compare nix.csv 'y ~ x' 2>/dev/full", 2),
    ],
)
def test_an_output_that_takes_nothing(here: Path, line: str, code: int) -> None:
    """A closed, full or broken output would be a traceback, or the exit code of a disagreement."""
    done = shell(line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("command", [f"compare trial.csv '{FORMULA}' --engines numpy,ols", "doctor", "list"])
def test_an_output_without_our_letters(here: Path, command: str) -> None:
    """A terminal in ASCII would get a traceback instead of the answer."""
    done = shell(
        f"$B {command}", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    if command != "list":
        assert "+ " in done.stdout


def test_an_option_has_one_name_in_all_commands() -> None:
    """What is learnt from one command, --engines or -o, is refused by the next."""
    commands = typer.main.get_command(app).commands
    for alike in ({"--engine", "--engines"}, {"-o", "--out", "--output"}):
        names = {
            name: set(option.opts)
            for name, one in commands.items()
            for option in one.params
            if alike & {*option.opts}
        }
        assert len(names) > 6
        assert all(given == alike for given in names.values()), names


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A run of an hour in a log file would be silent, or a run of seconds would be loud."""
    long, short = common.tenths("fits"), common.tenths("fits", after=3600)
    for done in range(1, 2001):
        long(done, 2000)
        short(done, 2000)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "1 of 2,000 fits"
    assert said[1:] == [f"{n:,} of 2,000 fits" for n in range(200, 2001, 200)]


def test_a_run_says_how_far_it_is_in_a_log(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` in CI would say nothing until its end; or judgements would be counted as fits."""
    assert call("add", "trial.csv", FORMULA, "--name", "mine").exit_code == 0
    assert "fits" not in call("run", *ENGINES).stderr
    monkeypatch.setattr("bridge.commands.run.SOON", 0.0)
    said = call("run", *ENGINES, "--fresh").stderr.splitlines()
    assert said == [f"{n} of 4 fits" for n in range(1, 5)]
