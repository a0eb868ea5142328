"""README: what it says to type works as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bridge
from bridge.case import discover
from bridge.resources import find

README = Path(__file__).parents[1] / "README.md"


NUMBERS = """
def my_numbers(model, method):
    from bridge.reference import Reference
    found = Reference.polished(model, method)
    return found.beta, found.best.psi[0][0, 0], found.best.sigma2, found.blups[0][:, 0], found.loglik
"""


def block(heading: str, language: str) -> str:
    """The first code block of a language under a heading."""
    section = README.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def trial(tmp_path, monkeypatch) -> pd.DataFrame:
    """A small trial.csv in an empty folder."""
    rng = np.random.default_rng(8)
    clinic = np.repeat(np.arange(8), 12)
    frame = pd.DataFrame({"clinic": [f"c{c}" for c in clinic], "arm": np.tile(["new", "old"], 48)})
    frame["y"] = rng.normal(0, 1, 8)[clinic] + (frame.arm == "new") * 0.5 + rng.normal(0, 1, 96)
    frame.to_csv(tmp_path / "trial.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return frame


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """`python -m ...` in the current folder."""
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)


def test_engine_sketch_fits_what_it_says(trial, tmp_path) -> None:
    """A sketch that lacks an import or a label would cost every author of an engine an hour."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/engine.py").write_text(block("Add an engine", "python") + NUMBERS)
    words = ("compare", "trial.csv", "y ~ arm + (1 | clinic)", "--engines", "numpy,my_package.engine:Mine")
    done = run("bridge.cli", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 right" in done.stdout


def test_compare_in_python(trial) -> None:
    """The three lines of Python raise."""
    code = block("Compare your own data", "python").replace('["lme4", "statsmodels"]', '["numpy", "ols"]')
    names: dict[str, object] = {"df": trial}
    exec(compile(code, "README", "exec"), names)
    assert isinstance(names["found"], bridge.agreement.Agreement)


def test_added_case_is_collected(trial, tmp_path) -> None:
    """The two commands do not do what their comments say."""
    added, _ = block("Add a case", "").strip().splitlines()
    words = added.split("#")[0].replace("lmmbridge ", "").strip()
    formula = re.search(r'"(.*?)"', words)[1]
    arguments = [formula if w == "@" else w for w in re.sub(r'".*?"', "@", words).split()]
    assert run("bridge.cli", *arguments).returncode == 0
    done = run("pytest", "-q", "--lmm-engines", "numpy", "cases")
    assert "2 passed" in done.stdout, done.stdout


def test_number_of_cases() -> None:
    """A count that nobody measured again."""
    text = README.read_text(encoding="utf-8")
    cases = [case for case in discover(find("cases")) if "slow" not in case.spec.tags]
    assert f"{len(cases)} cases" in text
