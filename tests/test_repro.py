"""Repro: scripts that stand alone, run as a stranger would, without this package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bridge import engines as declared
from bridge.catalogue import session
from bridge.cli import app
from bridge.entry import Entry
from bridge.errors import BridgeError
from bridge.repro import DENSE, R, repro
from bridge.repro_calls import CALLS

RICH = "y ~ x * f + (1 + x | g)"
MODULE = {"kamino-lme": "kamino", "interlace-lme": "interlace", "ols": "statsmodels"}
LABELS = ["plain", 'quo"te', "back\\slash", "two  words", "ünï", "日本", "😀", "it's", "a:b", "10"]


def table() -> pd.DataFrame:
    """Ten groups with labels that need escaping, five levels crossed with them, weights and an offset."""
    rng = np.random.default_rng(5)
    g, h = np.repeat(np.arange(10), 7), np.arange(70) % 5
    x = rng.normal(size=70)
    f = np.array(["a", "b"])[rng.integers(2, size=70)]
    b = rng.normal(size=(10, 2)) @ np.array([[1.5, 0.4], [0.0, 1.0]])
    y = 1 + x + (f == "a") * x + b[g, 0] + b[g, 1] * x + rng.normal(0, 1, 5)[h] + rng.normal(size=70)
    known = {"w": rng.choice([0.5, 1.0, 2.0], 70), "o": np.round(x, 1)}
    return pd.DataFrame(
        {"y": y, "x": x, "f": f, "g": np.array(LABELS)[g], "h": [f"h{i}" for i in h], **known}
    )


RUNS = [
    *((engine, RICH, "REML", "default", {}) for engine in CALLS if engine != "gpboost"),
    ("gpboost", "y ~ x + (x || g)", "ML", "default", {}),
    *((e, RICH, "ML", "default", {}) for e in ("lme4", "lm", "ols", "kamino-lme")),
    *((e, RICH, "REML", "tight", {}) for e in ("lme4", "nlme", "glmmTMB", "statsmodels", "mixedlm-rs")),
    *(
        (e, RICH, "ML", "tight", {})
        for e in ("lmerTest", "mixedlm", "lme-python", "kamino-lme", "interlace-lme")
    ),
    *((e, "y ~ x + (1 | g) + (1 | h)", "REML", "default", {}) for e in ("nlme", "statsmodels", "mixedlm")),
    ("gpboost", "y ~ x + (1 | g) + (0 + x | h)", "ML", "tight", {"weights": "w", "offset": "o"}),
    ("nlme", "y ~ x + (x || g)", "REML", "tight", {"weights": "w"}),
    ("nlme", "y ~ x + (1 | g / h)", "ML", "default", {}),
    ("ols", RICH, "ML", "default", {"weights": "w"}),
    ("glmmTMB", RICH, "REML", "tight", {"offset": "o"}),
    *(
        (e, "y ~ x + (1 | g)", "REML", "default", {"weights": "w", "offset": "o"})
        for e in ("lme4", "lm", "glmm", "mixedlm", "lme-python", "kamino-lme", "interlace-lme")
    ),
    ("lme4", "y ~ x + (1 | g)", "REML", "tight", {"weights": "w", "offset": "o"}),
]


@pytest.fixture(scope="module")
def referee():
    """One, with workers, for all."""
    with session(jobs=1) as found:
        yield found


def here(engine: str) -> None:
    """Skip what is not installed."""
    if declared.get(engine).language == "R":
        if not (shutil.which("Rscript") and find_spec("rpy2")):
            pytest.skip("R is not here")
    else:
        pytest.importorskip(MODULE.get(engine, engine.replace("-", "_")))


def run(script: str, engine: str, folder) -> tuple[str, int]:
    """What it prints, without this package on any path, and its exit code."""
    path = folder / ("script.R" if declared.get(engine).language == "R" else "script.py")
    path.write_text(script, encoding="utf-8")
    command = ["Rscript", "--vanilla"] if path.suffix == ".R" else [sys.executable, "-I"]
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([*command, path], cwd=folder, env=kept, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.stdout, done.returncode


def printed(text: str, who: str) -> tuple[float, dict[str, tuple[float, float]]]:
    """The logLik that somebody got, and each coefficient with its standard error."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"{who}: logLik "))
    found = {}
    for line in lines[at + 1 :]:
        if (match := re.fullmatch(r"  (.+): (\S+) \(SE (\S+)\)", line)) is None:
            break
        found[match[1]] = float(match[2]), float(match[3])
    return float(lines[at].split()[-1].replace("NA", "nan")), found


@pytest.mark.parametrize(
    ("engine", "formula", "method", "profile", "known"),
    RUNS,
    ids=[f"{r[0]}-{r[2]}-{r[3]}-{r[1].split('(', 1)[1]}{'-'.join(r[4])}" for r in RUNS],
)
def test_prints_the_adapters_numbers_and_the_right_ones(
    referee, tmp_path, engine, formula, method, profile, known
):
    """A script that calls the engine otherwise, or mixes columns up, would accuse it falsely."""
    here(engine)
    entry = Entry.of_data(table(), formula, methods=(method,), **known)
    fit = referee.fits([(entry, method)], engines=[engine], profiles=[profile])[entry.name, method][0]
    if fit.status == "unavailable":  # Py-BOBYQA, which interlace needs for this alone
        pytest.skip(fit.reason)
    assert fit.status == "ok", fit.reason
    text, code = run(repro(referee, entry, engine, method, profile), engine, tmp_path)

    loglik, found = printed(text, engine)
    assert loglik == pytest.approx(fit.loglik, rel=1e-10, nan_ok=True)
    for row in fit.select("fixed"):
        assert found[row.term] == pytest.approx((row.estimate, row.std_error), rel=1e-7, abs=1e-9)

    reference = referee.reference(entry, method, declared.get(engine).pooling)
    loglik, found = printed(text, "by its definition")
    assert loglik == pytest.approx(reference.loglik, rel=1e-10)
    names = entry.model.names
    expected = dict(zip(names, zip(reference.beta, reference.std_error, strict=True), strict=True))
    for name in names:
        assert found[name] == pytest.approx(expected[name], rel=1e-7, abs=1e-9)
    assert code == int("DISAGREES" in text)


def reproduced(case, engine, folder):
    """Output and exit code of the script that ``lmmbridge repro`` writes."""
    out = folder / "issue.R"
    done = CliRunner().invoke(app, ["repro", case, "--engine", engine, "-o", str(out)])
    assert done.exit_code == 0, done.output
    return run(out.read_text(), engine, folder)


@pytest.mark.needs_r
def test_a_number_that_is_missing_is_a_disagreement(tmp_path):
    """No log-likelihood at all (glmmTMB, of each generation), and the script says AGREES and exits with 0."""
    text, code = reproduced("sleepstudy-reaction-times-1e6", "glmmTMB", tmp_path)
    assert "DISAGREES: glmmTMB is off by NA in logLik" in text
    assert code == 1


@pytest.mark.needs_r
def test_shows_a_known_failure(tmp_path):
    """A script that exits with 0 where lme4 is 21 off in logLik shows nobody anything."""
    text, code = reproduced("sleepstudy-days2000", "lme4", tmp_path)
    assert code == 1
    assert "DISAGREES: lme4 is off by 21.4 in logLik" in text
    # from the certificate, which does not know of the shift: Days + 2000 leaves the REML logLik as it is
    assert printed(text, "by its definition")[0] == pytest.approx(-871.8141359792454, abs=1e-8)


def test_large_data_say_what_is_left_out(referee):
    """A dense V of 10,000 rows would not fit; silence would pass for a proof."""
    rng = np.random.default_rng(1)
    g = np.arange(DENSE + 2) // 2
    frame = pd.DataFrame({"y": rng.normal(size=len(g)) + g % 7, "g": [f"g{i}" for i in g]})
    script = repro(referee, Entry.of_data(frame, "y ~ 1 + (1 | g)"), "statsmodels", "REML")
    assert "too large" in script
    assert "cholesky" not in script
    compile(script, "script.py", "exec")


@pytest.mark.needs_r
def test_numbers_are_exact_in_r():
    """One bit lost in the data makes another data set, and on flat criteria another answer."""
    values = [0.1, -1 / 3, 5e-324, 1.7976931348623157e308, 1e22, -7.0, 2.0**-1074 * 3, 12345678.9]
    told = f'cat(sprintf("%a", {R.numbers(values)}), sep = "\\n")'
    said = subprocess.run(["Rscript", "--vanilla", "-e", told], capture_output=True, text=True, check=True)
    assert [float.fromhex(text) for text in said.stdout.split()] == values


@pytest.mark.parametrize(
    ("engine", "said"),
    [("numpy", "there is no upstream"), ("lme5", "none of that name"), ("fakes:Returns", "no script for it")],
)
def test_engines_without_a_script_are_refused_in_a_line(fakes, referee, engine, said):
    """A traceback, or an empty script, for a name mistyped."""
    with pytest.raises(BridgeError, match=said):
        repro(referee, Entry.of_data(table(), RICH), engine, "REML")


def test_what_cannot_be_said_is_refused(referee):
    """A script for a model that the engine cannot express, or that nothing identifies, proves nothing."""
    with pytest.raises(BridgeError, match="fits by ML only"):
        repro(referee, Entry.of_data(table(), "y ~ x + (1 | g)"), "gpboost", "REML")
    alone = table().assign(i=[f"i{i}" for i in range(70)])
    with pytest.raises(BridgeError, match="nothing is right"):
        repro(referee, Entry.of_data(alone, "y ~ x + (1 | i)"), "statsmodels", "REML")


def test_command_refuses_in_a_line(tmp_path):
    """Bad input as a traceback."""
    for arguments, said in [
        (["sleepstudy"], "--engine: name one"),
        (["sleepstudy", "--engine", "lme4", "--profile", "both"], "use default or tight"),
        (["sleepstudi", "--engine", "lme4"], "did you mean"),
        (["sleepstudy", "--engine", "lme4", "--weights", "w"], "a case has its own"),
    ]:
        done = CliRunner().invoke(app, ["repro", *arguments])
        assert done.exit_code == 2
        assert said in done.output
