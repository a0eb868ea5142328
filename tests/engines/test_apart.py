"""Engines that cannot live together, each in a virtual environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import bridge
from bridge import engines
from bridge.errors import UnavailableError

HERE = Path(__file__).parent


def environment(folder: Path, version: int) -> str:
    """The python of a new virtual environment with what a worker needs, and a `quarrel` of this version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    site = Path(asked.stdout.strip())
    (site / "shared.pth").write_text("".join(f"{sysconfig.get_path(p)}\n" for p in ("purelib", "platlib")))
    shutil.copy(HERE / "apart.py", site)
    (site / "quarrel.py").write_text(f"VERSION = {version}\n")
    info = site / f"quarrel-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: quarrel\nVersion: {version}\n")
    return python


def test_each_has_its_own_environment_in_one_run(tmp_path, frame, monkeypatch):
    """One of two engines that need other versions of a package could not be in a run with the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    names = ["apart:Old", "apart:New"]
    for version, name in enumerate(names, 1):
        monkeypatch.setenv(engines.variable(name), environment(tmp_path / f"v{version}", version))
        assert engines.versions(name) == {"quarrel": str(version)}
    found = bridge.compare(frame, "y ~ x + (1 | g)", engines=[*names, "numpy"], methods=["REML"])
    fits = {j.fit.engine: j.fit for j in found.judgements}
    assert [fits[name].messages for name in names] == [("quarrel 1",), ("quarrel 2",)]
    assert [dict(fits[name].versions) for name in names] == [{"quarrel": "1"}, {"quarrel": "2"}]
    assert fits["apart:Old"].rows == fits["apart:New"].rows == fits["numpy"].rows


def test_without_its_environment_it_is_not_available(frame, monkeypatch, tmp_path):
    """What is installed only there would be looked for here, and be a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    with pytest.raises(UnavailableError, match=r"engine old: quarrel is not installed; pip install quarrel$"):
        engines.versions("apart:Old")


def test_what_is_missing_there_is_not_looked_for_here(tmp_path, monkeypatch):
    """A user would install the engine here, again and again, and it would go on being missing."""
    monkeypatch.syspath_prepend(str(HERE))
    python = environment(tmp_path / "there", 1)
    next((tmp_path / "there").rglob("apart.py")).unlink()
    monkeypatch.setenv(engines.variable("apart:Old"), python)
    with pytest.raises(UnavailableError) as caught:
        engines.versions("apart:Old")
    assert str(caught.value) == (
        "engine apart:Old: cannot be imported: ModuleNotFoundError: No module named 'apart' "
        f"(there: LMMBRIDGE_ENGINE_APART_OLD_PYTHON is {python})"
    )
