"""docs/own-engine.md: the example installs as a package, runs and is right; no member is left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from bridge import engines
from bridge.engines.engine import Engine
from bridge.fit import Fit, Row, Status
from bridge.model import Model, RandomTerm
from tests.front import ROOT, environment

EXAMPLE = ROOT / "docs/example-engine"
PAGE = (ROOT / "docs/own-engine.md").read_text(encoding="utf-8")
CASES = "dyestuff,dyestuff2,bimodal,nist-smls07,sleepstudy"


def test_the_page_has_the_example_as_it_is() -> None:
    """A reader would copy code that nobody runs."""
    code = (EXAMPLE / "my_package/engine.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in PAGE
    assert f"```toml\n{(EXAMPLE / 'pyproject.toml').read_text(encoding='utf-8')}```" in PAGE
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 45


@pytest.mark.parametrize("kind", [Model, RandomTerm, Fit, Row])
def test_every_field_is_on_the_page(kind: type) -> None:
    """A field that an engine needs would have to be found in the source."""
    for field in kind.__annotations__:
        assert f"`{field}`" in PAGE or f"{field}," in PAGE or f"{field})" in PAGE, field


def test_every_member_and_word_is_on_the_page() -> None:
    """An author would learn of a member, or of a word that it may say, from an error."""
    for member in [*Engine.__annotations__, "version()", "supports(model, method)", "start()"]:
        assert f"| `{member}` |" in PAGE, member
    words = [word for known in engines._WORDS.values() for word in known]
    for word in [*words, *get_args(Status)]:
        assert f'`"{word}"`' in PAGE, word


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which the example was installed, as anyone's package is."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    wheel = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        "--target",
        str(folder),
        *map(str, wheel.iterdir()),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


def run(folder: Path, installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m ...` in a folder, with the installed example to be found."""
    env = environment()
    env["PYTHONPATH"] = f"{env['PYTHONPATH']}:{installed}"
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("profile", ["default", "tight"])
def test_installed_example_conforms(installed: Path, tmp_path: Path, profile: str) -> None:
    """The page would teach an engine that is wrong: at zero, at two optima or at a mean of 1e12."""
    words = ("conformance", "my-engine", "--cases", CASES, "--profile", profile)
    done = run(tmp_path, installed, "bridge.cli", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"my-engine, profile {profile}: 8/8 agree" in done.stdout
    assert "Unsupported, 2 fits: it fits one random effect" in done.stdout


def test_installed_example_conforms_under_pytest(installed: Path, tmp_path: Path) -> None:
    """The option would collect nothing, or leave the tests of the user out."""
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    words = (
        "pytest",
        "-p",
        "no:cacheprovider",
        "-v",
        "-k",
        "own or dyestuff or sleepstudy-REML or bimodal-REML",
    )
    done = run(tmp_path, installed, *words, "--lmm-conformance", "my-engine")
    assert done.returncode == 0, done.stdout
    for line in (
        "test_own PASSED",
        "conformance-dyestuff-REML[my-engine] PASSED",
        "conformance-bimodal-REML[my-engine] PASSED",
        "conformance-sleepstudy-REML[my-engine] SKIPPED",
    ):
        assert line in done.stdout, done.stdout
    assert "[lme4]" not in done.stdout
    alone = run(tmp_path, installed, *words, "--lmm-conformance", "my-engine", "-m", "lmm_conformance")
    assert "test_own" not in alone.stdout
    assert alone.returncode == 0


def test_known_differences_fail_under_pytest(installed: Path, tmp_path: Path) -> None:
    """An engine's known difference would pass as in a plain run; a failure would ask to record it."""
    words = ("pytest", "-p", "no:cacheprovider", "-v", "-k", "bimodal-REML")
    done = run(tmp_path, installed, *words, "--lmm-conformance", "statsmodels")
    assert done.returncode == 1, done.stdout
    assert "conformance-bimodal-REML[statsmodels] FAILED" in done.stdout
    assert "WORSE_OPTIMUM" in done.stdout
    assert "[[known_difference]]" not in done.stdout
    assert "gap: " in done.stdout
    wrong = run(tmp_path, installed, "pytest", "--lmm-conformance", "lme5")
    assert wrong.returncode == 4
    assert "lme5" in wrong.stderr
