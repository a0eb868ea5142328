"""Another Python: what is wrong with it is said, and `bridge` is lent to it."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

from bridge import engines, interpreter
from bridge.errors import UnavailableError

ROOT = Path(__file__).parent.parent


def script(path: Path, text: str) -> str:
    """A program to be taken for a Python."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be started (No such file or directory); give the path"),
        ("exit 0", "does not answer as a Python does"),
        ("echo 3.9", "does not answer as a Python does"),
        ("echo '[[3, 9], []]'", "is Python 3.9; make the environment with 3.11 or newer"),
        (f'exec {sys.executable} -S "$@"', "lacks numpy, pandas, pyarrow; "),
        (f'exec {sys.executable} "$@"', ""),
    ],
)
def test_what_is_wrong_with_it(text, words, tmp_path, fakes, monkeypatch):
    """A wrong path, an old Python or a bare environment would be a crash of the engine, or a traceback."""
    python = str(tmp_path / "none") if text is None else script(tmp_path / "python", text)
    fault = interpreter.fault(python, os.environ)
    assert fault.startswith(words) if words else fault == ""
    if words:
        monkeypatch.setenv("LMMBRIDGE_ENGINE_FAKES_RETURNS_PYTHON", python)
        with pytest.raises(UnavailableError) as caught:
            engines.versions("fakes:Returns")
        assert str(caught.value) == (
            f"engine fakes:Returns: LMMBRIDGE_ENGINE_FAKES_RETURNS_PYTHON: {python} {fault}"
        )


def test_advice_is_a_command(tmp_path):
    """What to install, and where, would be left to guess."""
    python = script(tmp_path / "python", f'exec {sys.executable} -S "$@"')
    assert interpreter.fault(python, os.environ).endswith(f"{python} -m pip install numpy pandas pyarrow")


def test_a_bridge_of_its_own_is_passed_over(tmp_path, fakes, monkeypatch):
    """An older bridge over there would be asked in words that it does not know."""
    older = tmp_path / "site" / "bridge"
    older.mkdir(parents=True)
    (older / "__init__.py").write_text("raise ImportError('an older bridge')\n")
    path = f"$PYTHONPATH:{older.parent}:{ROOT / 'tests' / 'engines'}"
    python = script(tmp_path / "python", f'export PYTHONPATH="{path}"\nexec {sys.executable} "$@"')
    monkeypatch.setenv("LMMBRIDGE_ENGINE_FAKES_RETURNS_PYTHON", python)
    assert engines.versions("fakes:Returns") == {"fake": "1"}


def test_oldest_python_is_the_packages():
    """pyproject.toml would promise another Python than the one that is asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"].startswith(f">={interpreter.OLDEST[0]}.{interpreter.OLDEST[1]}")
