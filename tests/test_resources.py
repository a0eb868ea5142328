"""The folders r/ and cases/ are found however lmmbridge was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bridge import resources

ROOT = Path(__file__).resolve().parents[1]
ASK = "from bridge.resources import find; print(find('r')); print(find('cases'))"


def build(target: str, folder: Path) -> Path:
    """Wheel of the checkout, with no network: target ``wheel:standard`` or ``wheel:editable``."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def files(folder: Path) -> set[Path]:
    """All files under a folder, relative to it."""
    return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


@pytest.mark.parametrize("kind", ["wheel", "editable", "checkout"])
def test_found_from_another_folder(kind: str, tmp_path: Path) -> None:
    """An installed lmmbridge would know no case and no R engine, or would read those of another copy."""
    venv.create(tmp_path / "v")
    python = tmp_path / "v" / "bin" / "python"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if kind == "checkout":
        env["PYTHONPATH"] = str(ROOT)
    else:
        wheel = build({"wheel": "wheel:standard", "editable": "wheel:editable"}[kind], tmp_path)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, str(wheel)], check=True, capture_output=True, env=env)
    (tmp_path / "elsewhere").mkdir()
    run = subprocess.run(
        [str(python), "-c", ASK],
        cwd=tmp_path / "elsewhere",
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    r, cases = map(Path, run.stdout.split("\n")[:2])
    if kind == "wheel":
        package = next((tmp_path / "v").glob("lib/python3*/site-packages/bridge"))
        assert (r, cases) == (package / "r", package / "cases")
        assert files(r) == files(ROOT / "r")
        assert files(cases) == files(ROOT / "cases") - {Path("make.py")}  # makes the data, for developers
    else:
        assert (r, cases) == (ROOT / "r", ROOT / "cases")


def test_incomplete_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's folder `r` in site-packages would be sourced as ours."""
    package = tmp_path / "bridge"
    package.mkdir()
    (tmp_path / "r").mkdir()
    shutil.copy(resources.__file__, package / "resources.py")
    monkeypatch.setattr(resources, "__file__", str(package / "resources.py"))
    with pytest.raises(resources.BridgeError, match=rf"folder 'r' .*{package}/r .*reinstall") as caught:
        resources.find("r")
    assert "\n" not in str(caught.value)


def test_unknown_name_is_refused() -> None:
    """`find` would hand out any folder of the checkout."""
    with pytest.raises(ValueError, match="'tests': not one of r, cases"):
        resources.find("tests")
