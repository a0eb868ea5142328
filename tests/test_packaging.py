"""What an installed lmmbridge promises: metadata, entry points, a light import."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import bridge

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENGINES = PROJECT["entry-points"]["lmmbridge.engines"]
HEAVY = {"formulaic", "pandas", "pyarrow", "pydantic", "rpy2", "scipy", "statsmodels"}


def test_import_is_light() -> None:
    """`import bridge` would take seconds, and start R's library, for a user who only asks the version."""
    code = "import sys, bridge; bridge.__version__; print(*{m.partition('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "bridge" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", bridge.__all__)
def test_public_names_resolve(name: str) -> None:
    """A name that the documentation shows would not exist."""
    assert getattr(bridge, name) is not None
    assert name in dir(bridge)


def test_unknown_attribute() -> None:
    """A misspelt name would give an import error from inside the package."""
    with pytest.raises(AttributeError, match="'bridge' has no attribute 'compair'"):
        bridge.__getattr__("compair")


@pytest.mark.parametrize("name", ENGINES)
def test_engine_entry_points_resolve(name: str) -> None:
    """An engine would be missing from every run, or listed under another name."""
    module, _, attribute = ENGINES[name].partition(":")
    assert getattr(importlib.import_module(module), attribute).name == name


def test_imports_are_declared() -> None:
    """The package would break on a machine that happens not to have a library we forgot to ask for."""
    texts = [*PROJECT["dependencies"], *(r for e in PROJECT["optional-dependencies"].values() for r in e)]
    declared = {re.match(r"[\w.-]+", text).group().lower() for text in texts}
    providers = importlib.metadata.packages_distributions()
    for path in (ROOT / "bridge").rglob("*.py"):
        tree = ast.parse(path.read_text())
        nodes = list(ast.walk(tree))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        for name in {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"bridge"}:
            known = {d.lower().replace("_", "-") for d in providers.get(name, ())}
            if not known:  # an engine that is not installed here: kamino is kamino-lme's
                known = {d for d in declared if d.startswith(name.lower().replace("_", "-"))}
            assert known & declared, f"{path.relative_to(ROOT)} imports {name}, which pyproject.toml lacks"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_wheel_holds_the_package_alone(built: Path) -> None:
    """Tests or documents would land in site-packages, or the licence and the type marker would not."""
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    info = f"lmmbridge-{bridge.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"bridge", info}
    wanted = {"bridge/py.typed", f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"}
    assert wanted <= set(names)


def test_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """A wheel made from the source archive would lack cases, R files or a page of its own metadata."""
    subprocess.run(["tar", "-xzf", next(built.glob("*.tar.gz")), "-C", tmp_path], check=True)
    source = next(tmp_path.iterdir())
    assert (source / "tests" / "test_packaging.py").is_file()
    assert (source / "docker" / "install-system.sh").is_file()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    again = zipfile.ZipFile(next((tmp_path / "again").glob("*.whl")))
    first = zipfile.ZipFile(next(built.glob("*.whl")))
    assert sorted(again.namelist()) == sorted(first.namelist())
