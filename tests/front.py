"""What the tests of the front doors share: small tables, and programs run in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
FORMULA = "y ~ x + (1 | g)"


def clusters(seed: int = 1, sizes: tuple[int, ...] = (3, 4, 5, 6, 7, 8, 9, 10)) -> pd.DataFrame:
    """A well-posed table: y, x, g."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=len(g))
    y = 1 + 0.5 * x + rng.normal(size=len(sizes))[g] + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in g]})


def environment(path: str | None = None) -> dict[str, str]:
    """The environment of these tests, with the package on the path, and PATH replaced if one is given."""
    env = {key: value for key, value in os.environ.items() if key not in ("R_HOME", "LMMBRIDGE_STORE")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests/engines")])
    return env | ({} if path is None else {"PATH": path})


def program(
    *arguments: str, cwd: Path, path: str | None = None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """``python`` with these arguments."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(path), input=text, capture_output=True, text=True, timeout=300
    )


def pytest_in(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Pytest with the plug-in, whether it is installed or not."""
    installed = any(point.name == "lmmbridge" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "bridge.plugin"]
    return program("-m", "pytest", *plugin, "-p", "no:cacheprovider", *arguments, cwd=folder, path=path)
