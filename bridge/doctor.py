"""Doctor: checks of the machine, each with its fix. Starts no engine, writes nothing that stays."""

from __future__ import annotations

import locale
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

PACKAGES = ("lme4", "nlme", "glmmTMB", "lmerTest", "pbkrtest")
SECONDS = 60  # that R may take to answer, with its packages loaded
# A package that is there and does not load, as when one that it needs is gone, is no use.
ASK = """cat(as.character(getRversion()), '\\n')
for (p in commandArgs(TRUE)) {
    there <- nzchar(system.file(package = p))
    said <- if (there) tryCatch({ loadNamespace(p); '' }, error = conditionMessage) else ''
    cat(p, if (there) as.character(packageVersion(p)) else '-', gsub('[[:space:]]+', ' ', said), '\\n')
}"""
MEND_RPY2 = "RPY2_CFFI_MODE=ABI pip install --force-reinstall 'lmmbridge[r]'"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    what : str
    state : {"ok", "note", "broken"}
        ``note``: some engines are not available; ``broken``: nothing can run.
    found : str
    fix : str
        What to do; empty if nothing.
    """

    what: str
    state: Literal["ok", "note", "broken"]
    found: str
    fix: str = ""


def examine(store: Path | None = None) -> list[Check]:
    """All checks, in the order in which they should be mended."""
    return [_python(), _store(store), _temporary(), _locale(), _threads(), *_r(), _rpy2(), *_engines()]


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _store(folder: Path | None) -> Check:
    from bridge.store import Store

    place = Store(folder).folder.absolute()
    if place.exists() and not place.is_dir():
        return Check("store", "broken", f"{place}: is a file", "remove it, or set LMMBRIDGE_STORE")
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Check(
            "store", "broken", f"{place}: cannot be written", "name another folder in LMMBRIDGE_STORE"
        )
    free = shutil.disk_usage(nearest).free
    if free < 50e6:
        return Check(
            "store", "broken", f"{place}: {free / 1e6:.0f} MB free", "make room, or set LMMBRIDGE_STORE"
        )
    return Check("store", "ok", f"{place}, {free / 1e9:.1f} GB free")


def _temporary() -> Check:
    """Workers print into a temporary file: without a folder for it nothing starts."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"lmmbridge")
        return Check("temporary files", "ok", tempfile.gettempdir())
    except OSError as error:
        said = error.strerror or str(error)
        return Check(
            "temporary files", "broken", said, "make room in /tmp, or set TMPDIR to a folder of yours"
        )


def _locale() -> Check:
    wanted = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "C")
    try:
        locale.setlocale(locale.LC_CTYPE, wanted)
    except locale.Error:
        found = f"{wanted}: not on this machine"
        return Check(
            "locale", "note", found, "export LC_ALL=C.UTF-8, or generate it: sudo dpkg-reconfigure locales"
        )
    encoding = locale.getpreferredencoding(False)
    if encoding.upper().replace("-", "") != "UTF8":
        return Check(
            "locale", "note", encoding, "export LC_ALL=C.UTF-8, or R shows other letters as <U+00E9>"
        )
    return Check("locale", "ok", encoding)


def _threads() -> Check:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("threads", "ok", f"{cpus} CPUs; every worker has one BLAS thread, whatever is set outside")


def _r() -> Iterator[Check]:
    from bridge.engines.r import outdated

    path = shutil.which("R")
    if path is None:
        yield Check(
            "R",
            "note",
            "not on PATH",
            "install r-base-core (docker/install-system.sh does), for lme4 and nlme",
        )
        return
    try:
        command = [path, "--vanilla", "--no-echo", "-e", ASK, "--args", *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        yield Check(
            "R", "note", f"{path} does not start: {said[-1] if said else ''}", "reinstall r-base-core"
        )
        return
    version, *packages = done.stdout.split("\n")
    rows = [line.split(maxsplit=2) for line in packages if line.strip()]
    if not re.fullmatch(r"[\d.]+", version.strip()) or any(len(row) < 2 for row in rows):
        said = done.stdout.strip()[:80]
        yield Check("R", "note", f"{path} is no working R: it said {said!r}", "reinstall r-base-core")
        return
    old = outdated(version.strip())
    yield Check("R", "note" if old else "ok", f"{version.strip()}, {path}", old)
    yield from (_package(name, {row[0]: row[1:] for row in rows}.get(name, ["-"])) for name in PACKAGES)


def _package(name: str, answer: list[str]) -> Check:
    """From R's answer: version, and why it does not load."""
    what = f"R package {name}"
    version, *fault = answer
    if version == "-":
        fix = f'install r-cran-{name.lower()}, or install.packages("{name}") in R'
        return Check(what, "note", "missing", fix)
    if fault:
        fix = f'reinstall r-cran-{name.lower()} and what it needs, or install.packages("{name}") in R'
        return Check(what, "note", f"{version} does not load: {fault[0].strip()}", fix)
    return Check(what, "ok", version)


def _rpy2() -> Check:
    try:
        versions = {name: metadata.version(name) for name in ("rpy2", "rpy2-rinterface")}
    except metadata.PackageNotFoundError as error:
        return Check("rpy2", "note", f"{error.name} missing", "RPY2_CFFI_MODE=ABI pip install 'lmmbridge[r]'")
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    if shutil.which("R") is not None and (fault := _unloadable()):
        return Check("rpy2", "note", f"{found}: {fault}", MEND_RPY2)
    return Check("rpy2", "ok", found)


def _unloadable() -> str:
    """Why rpy2 cannot load this R, as when it was built for another; tried in a process of its own."""
    command = [sys.executable, "-c", "import rpy2.rinterface"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "RPY2_CFFI_MODE": "ABI"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return f"does not load this R ({said[-1] if said else f'it ended with {done.returncode}'})"


def _engines() -> Iterator[Check]:
    from bridge import engines

    found = engines.available()
    for name, said in found.items():
        if isinstance(said, str):
            yield Check(f"engine {name}", "note", said)
        else:
            yield Check(f"engine {name}", "ok", ", ".join(f"{n} {v}" for n, v in said.items()))
    if all(isinstance(said, str) for said in found.values()):
        yield Check("engines", "broken", "not one is available", "pip install lmmbridge again")
