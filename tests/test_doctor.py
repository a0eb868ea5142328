"""Doctor: what is wrong with a machine, by name, with its fix; and that no command falls over it."""

from __future__ import annotations

import locale
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge import doctor
from bridge.doctor import Check, examine
from bridge.engines import r
from bridge.errors import UnavailableError
from tests.front import environment

FINE = dict.fromkeys(doctor.PACKAGES, "1.1-37")


@pytest.fixture(autouse=True)
def ctype(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The locale as it was; engines are not asked, which takes seconds."""
    monkeypatch.setattr(doctor, "_engines", lambda: iter(()))
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)


def fake_r(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, packages: dict[str, str]) -> None:
    """Put an R first on PATH that answers the doctor's question so, and is good for nothing else."""
    lines = [version, *(f"{name} {found}" for name, found in packages.items())]
    (folder / "R").write_text("#!/bin/sh\n" + "".join(f"echo '{line} '\n" for line in lines))
    (folder / "R").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def checks(store: Path | None = None) -> dict[str, Check]:
    """What the doctor finds, by name."""
    return {check.what: check for check in examine(store)}


def test_an_old_r_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An R that nothing was ever tested with would be called fine."""
    fake_r(tmp_path, monkeypatch, "3.6.3", FINE)
    found = checks()["R"]
    assert found.state == "note"
    assert found.fix == "R 3.6.3 is too old: install R 4.2 or newer, or put it first on PATH"
    fake_r(tmp_path, monkeypatch, "4.10.1", FINE)
    assert checks()["R"].state == "ok"


def test_an_old_r_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its engines would fail one by one, each with words of its own."""
    names = ["R", "BLAS", *(name for names in r.PACKAGES.values() for name in names)]
    monkeypatch.setattr(r, "_installed", lambda: {**dict.fromkeys(names, "1.0"), "R": "4.1.9"})
    with pytest.raises(UnavailableError, match=r"lme4: R 4.1.9 is too old: install R 4.2 or newer"):
        r.version("lme4")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R without lme4 would look like a machine where all is well."""
    fake_r(tmp_path, monkeypatch, "4.5.0", {**FINE, "lme4": "-"})
    found = checks()
    assert (found["R package lme4"].state, found["R package lme4"].found) == ("note", "missing")
    assert found["R package lme4"].fix == 'install r-cran-lme4, or install.packages("lme4") in R'
    assert found["R package nlme"].state == "ok"


def test_a_package_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose own needs are gone would be called fine, and its engine be replaced by recorded fits."""
    broken = "1.1-37 there is no package called ‘nloptr’"
    fake_r(tmp_path, monkeypatch, "4.5.0", {**FINE, "lme4": broken})
    found = checks()["R package lme4"]
    assert (found.state, found.found) == ("note", f"{broken.replace(' ', ' does not load: ', 1)}")
    assert found.fix.startswith("reinstall r-cran-lme4 and what it needs")


@pytest.mark.needs_r
def test_r_tells_a_package_that_loads_from_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question put to R would be answered alike for both."""
    library = tmp_path / "library"
    library.mkdir()
    monkeypatch.setenv("R_LIBS", str(library))
    for name, needs in (("needed", "stats"), ("needing", "needed")):
        source = tmp_path / name
        source.mkdir()
        (source / "DESCRIPTION").write_text(
            f"Package: {name}\nVersion: 1.2\nTitle: A\nDescription: B.\nLicense: GPL-3\n"
            f"Author: C\nMaintainer: C <c@d.e>\nImports: {needs}\n"
        )
        (source / "NAMESPACE").write_text(f"import({needs})\n")
        command = ["R", "CMD", "INSTALL", f"--library={library}", str(source)]
        subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(library / "needed")
    monkeypatch.setattr(doctor, "PACKAGES", ("needed", "needing", "nlme"))
    found = checks()
    assert found["R package needed"].found == "missing"
    assert found["R package needing"].state == "note"
    assert re.match(r"1\.2 does not load: .*needed", found["R package needing"].found)
    assert found["R package nlme"].state == "ok"


def test_an_rpy2_of_another_r_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed and cannot be used: the doctor would call it fine."""
    pytest.importorskip("rpy2")
    fake_r(tmp_path, monkeypatch, "4.5.0", FINE)
    (tmp_path / "rpy2").mkdir()
    (tmp_path / "rpy2/__init__.py").write_text("")
    (tmp_path / "rpy2/rinterface.py").write_text("raise ImportError('undefined symbol: R_getVar')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = checks()["rpy2"]
    assert found.state == "note"
    assert "does not load this R (ImportError: undefined symbol: R_getVar)" in found.found
    assert found.fix == doctor.MEND_RPY2


def test_a_locale_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """R would show other letters as <U+00E9>, and nothing say why."""
    monkeypatch.setenv("LC_ALL", "tlh_KX.UTF-8")
    found = checks()["locale"]
    assert (found.state, found.found) == ("note", "tlh_KX.UTF-8: not on this machine")
    assert "export LC_ALL=C.UTF-8" in found.fix


def test_no_room_for_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker would start, and the machine be called fine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    found = checks()["temporary files"]
    assert found.state == "broken"
    assert "set TMPDIR" in found.fix


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run would end at its first fit."""
    (tmp_path / "file").touch()
    assert checks(tmp_path / "file")["store"].state == "broken"
    assert checks(tmp_path / "file" / "in" / "it")["store"].found.endswith("cannot be written")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=1e6))
    full = checks(tmp_path)["store"]
    assert (full.state, full.found) == ("broken", f"{tmp_path}: 1 MB free")
    assert "make room" in full.fix


BAD = {
    "locale": ({"LC_ALL": "tlh_KX.UTF-8"}, (), 0, ""),
    "no R": ({"PATH": "/nowhere"}, (), 0, ""),
    "report is a file": ({}, ("--report", "file"), 2, "--report file: is a file; name a folder"),
    "store is a file": ({}, ("--store", "file"), 2, "store file"),
    "no space": ({"SPACE": "2000"}, (), 2, "cannot be written to (File too large); make room"),
    "no temporary folder": ({"SPACE": "0"}, (), 2, "No usable temporary directory"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_nothing_falls_over_it(what: str, tmp_path: Path) -> None:
    """A machine's fault would be shown as the program's: a traceback in place of a sentence."""
    changes, words, code, said = BAD[what]
    (tmp_path / "file").touch()
    whole = {"PYTHONDONTWRITEBYTECODE": "1"}  # else half a .pyc is left, for all to read
    env = environment() | whole | changes
    space = int(env.pop("SPACE", resource.RLIM_INFINITY))
    run = ("-m", "bridge.cli", "run", "dyestuff", "--engines", "ols,lm", "--method", "ML")
    done = subprocess.run(
        [sys.executable, *run, *words],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (space, resource.RLIM_INFINITY)),
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
