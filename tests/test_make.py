"""The Makefile and the install script, with stand-ins for Python, apt and sudo on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = (
    "cat",
    "chmod",
    "cksum",
    "cp",
    "env",
    "find",
    "grep",
    "head",
    "mkdir",
    "mktemp",
    "rm",
    "sh",
    "tail",
    "touch",
)
DPKG = """#!/bin/sh
for p in "$@"; do case " $ABSENT " in *" $p "*) ;; *) printf '%s installed|' "$p" ;; esac; done
"""
# Stands for both the system's Python and .venv's: notes how it was called, and makes .venv out of itself.
PYTHON = """#!/bin/sh
echo "python $*" >>"$CALLS"
case "$*" in
    -V) echo "Python $VERSION" ;;
    "-m venv --clear .venv")
        rm -rf .venv && mkdir -p .venv/bin
        for name in python ruff mypy lmmbridge; do cp "$0" .venv/bin/$name; done ;;
esac
case "$0 $*" in *"$FAIL"*) exit "${CODE:-1}" ;; esac
"""


class Machine:
    """A machine whose PATH holds stand-ins only, and a checkout in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.checkout, self.calls = folder / "bin", folder / "checkout", folder / "calls"
        self.env = {
            "PATH": str(self.bin),
            "CALLS": str(self.calls),
            "FAIL": "nothing",
            "VERSION": "3.12.1",
            "TMPDIR": str(folder),
        }
        self.bin.mkdir()
        (self.checkout / "docker").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "docker/install-system.sh"):
            shutil.copy(ROOT / name, self.checkout / name)
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        self.script("python3", PYTHON)
        self.script("dpkg-query", DPKG)
        self.script("apt-get", '#!/bin/sh\necho "apt-get $*" >>"$CALLS"\n')
        self.script("id", "#!/bin/sh\necho 0\n")

    def script(self, name: str, text: str) -> None:
        """Put a program on the PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, *command: str, **env: str) -> tuple[int, str, list[str]]:
        """Exit code, standard error, and the calls that reached the stand-ins."""
        self.calls.write_text("")
        program = shutil.which(command[0])
        assert program is not None
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.checkout,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr, self.calls.read_text().splitlines()

    def install(self, **env: str) -> tuple[int, str, list[str]]:
        """Run the install script."""
        return self.run("sh", "docker/install-system.sh", **env)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine where everything but R is installed."""
    return Machine(tmp_path)


def installs(calls: list[str]) -> list[str]:
    """What pip was asked to install."""
    return [call.rpartition(" ")[2] for call in calls if "-m pip install" in call]


def test_help_names_every_target(machine: Machine) -> None:
    """A plain `make` would start something, or not say what there is."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ)
    for target in ("report", "test", "lint", "image", "clean"):
        assert f"make {target} " in done.stdout


def test_set_up_once(machine: Machine) -> None:
    """Every `make` would install again, or the first one would not install at all."""
    code, _, calls = machine.run("make", "lint")
    assert code == 0
    assert installs(calls) == [".[dev]", ".[engines]"]
    code, error, calls = machine.run("make", "lint")
    assert (code, error, installs(calls)) == (0, "", [])
    assert not [call for call in calls if "venv" in call]


def changed_pyproject(machine: Machine) -> None:
    """A dependency is added."""
    with (machine.checkout / "pyproject.toml").open("a") as file:
        file.write("# more\n")


def moved(machine: Machine) -> None:
    """The checkout is copied elsewhere, .venv and all."""
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("moved"))


def newer_python(machine: Machine) -> None:
    """The system is upgraded."""
    machine.env["VERSION"] = "3.13.0"


def r_arrives(machine: Machine) -> None:
    """R is installed after the first run."""
    machine.script("R", "#!/bin/sh\n")


@pytest.mark.parametrize("change", [changed_pyproject, moved, newer_python, r_arrives])
def test_set_up_again_when_needed(machine: Machine, change: Callable[[Machine], None]) -> None:
    """.venv would hold the old dependencies, another folder's package, or no rpy2."""
    machine.run("make", "lint")
    change(machine)
    first = ".[dev,r]" if change is r_arrives else ".[dev]"
    assert installs(machine.run("make", "lint")[2]) == [first, ".[engines]"]
    assert installs(machine.run("make", "lint")[2]) == []


def test_set_up_that_failed_is_repeated(machine: Machine) -> None:
    """A broken .venv would be taken for a finished one."""
    assert machine.run("make", "lint", FAIL="pip install")[0] != 0
    assert installs(machine.run("make", "lint")[2]) == [".[dev]", ".[engines]"]


def test_without_the_other_engines_the_run_goes_on(machine: Machine) -> None:
    """A Python for which one engine has no wheel could not run the others, or would try at each `make`."""
    code, error, _ = machine.run("make", "lint", FAIL=".[engines]")
    assert code == 0
    said = [line for line in error.splitlines() if "engines" in line]
    assert len(said) == 1
    assert "going on without" in said[0]
    assert installs(machine.run("make", "lint")[2]) == []


@pytest.mark.parametrize(
    ("fail", "words"),
    [("ensurepip", "install the package python3-venv"), ("version_info", "older than 3.11")],
)
def test_unusable_python_is_said(machine: Machine, fail: str, words: str) -> None:
    """The user would get ensurepip's page of advice, or a syntax error from an old Python."""
    code, error, calls = machine.run("make", "test", FAIL=fail)
    assert code != 0
    assert words in error
    assert not installs(calls)


def test_report_shows_disagreement_and_succeeds(machine: Machine) -> None:
    """`make report` would fail where engines disagree, or hide a run that crashed."""
    crash = machine.run("make", "report", FAIL=".venv/bin/lmmbridge")
    assert crash[0] != 0
    assert "python run --report reports --exit-zero" in crash[2]
    assert machine.run("make", "report")[0] == 0


def test_nothing_missing_installs_nothing(machine: Machine) -> None:
    """Every `make` would ask the network."""
    assert machine.install() == (0, "", [])


def test_only_what_is_missing_is_installed(machine: Machine) -> None:
    """Recommended or already present packages would be pulled in, or an old package list be used."""
    code, error, calls = machine.install(ABSENT="python3-venv r-cran-nlme r-cran-glmmtmb")
    assert code == 0
    assert error.count("\n") == 1
    assert calls[0].startswith("apt-get update")
    assert [call.partition("--no-install-recommends ")[2].split() for call in calls[1:]] == [
        ["python3-venv"],
        ["r-cran-nlme", "r-cran-glmmtmb"],
    ]


def test_a_browser_is_installed_for_ci_only(machine: Machine) -> None:
    """Every user would download a browser for a report, or CI would never open the page."""
    for name, wanted in (("", []), ("true", [["chromium"]])):
        code, _, calls = machine.install(ABSENT="chromium", CI=name)
        assert code == 0
        assert [call.partition("--no-install-recommends ")[2].split() for call in calls[1:]] == wanted
    machine.script("google-chrome", "#!/bin/sh\n")
    assert machine.install(ABSENT="chromium", CI="true") == (0, "", [])


def no_apt(machine: Machine) -> None:
    """Not Debian or Ubuntu."""
    (machine.bin / "apt-get").unlink()


def no_rights(machine: Machine) -> None:
    """A plain user, no sudo."""
    machine.script("id", "#!/bin/sh\necho 1000\n")


def sudo_asks(machine: Machine) -> None:
    """A plain user whose sudo wants a password."""
    no_rights(machine)
    machine.script("sudo", "#!/bin/sh\nexit 1\n")


def offline(machine: Machine) -> None:
    """Apt's update passes with warnings, its install fails."""
    machine.script("apt-get", '#!/bin/sh\ncase "$*" in *install*) echo "E: offline"; exit 100 ;; esac\n')


@pytest.mark.parametrize("why", [no_apt, no_rights, sudo_asks, offline])
def test_without_r_the_run_goes_on(machine: Machine, why: Callable[[Machine], None]) -> None:
    """A user who may not install R would not even see what the Python engines say."""
    why(machine)
    code, error, calls = machine.install(ABSENT="r-base-core")
    assert code == 0
    assert not [call for call in calls if "apt-get install" in call]
    last = error.splitlines()[-1]
    assert "going on without: " in last
    assert ("r-base-core" in last) or why is no_apt
    assert len(error.splitlines()) == (2 if why is offline else 1)


def test_sudo_is_used(machine: Machine) -> None:
    """A user who may use sudo would have to install R by hand."""
    no_rights(machine)
    machine.script("sudo", '#!/bin/sh\necho "sudo $*" >>"$CALLS"\n')
    code, _, calls = machine.install(ABSENT="r-base-core")
    assert code == 0
    assert calls[0] == "sudo -n true"
    assert all(call.startswith("sudo -n ") for call in calls)
    assert calls[-1].endswith("--no-install-recommends r-base-core")
