"""Footprint: how many bytes an engine's software takes on disk.

A script of the standard library alone, so that it can be run by the interpreter of any engine
(`bridge.engines.interpreter`), which need not have `bridge`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

COMMON = ("numpy", "scipy", "pandas")
MEANING = (
    "Install size: the files of the engine's own packages and of those that they need, beyond numpy, scipy, "
    "pandas (for R: beyond R's base packages) and what these need themselves."
)

_R = """
wanted <- commandArgs(TRUE)
have <- installed.packages()
wanted <- intersect(wanted, rownames(have))
needed <- unlist(tools::package_dependencies(wanted, have, c("Depends", "Imports"), recursive = TRUE))
all <- intersect(unique(c(wanted, needed)), rownames(have))
all <- all[!have[all, "Priority"] %in% "base"]
files <- list.files(file.path(have[all, "LibPath"], all), recursive = TRUE, full.names = TRUE)
cat(if (length(wanted)) sprintf("%.0f", sum(file.size(files))) else "")
"""


def of(engine: str, versions: Iterable[str]) -> int | None:
    """Bytes of an engine's software, asked of the interpreter that runs it; `versions` as it states them."""
    from bridge import engines

    return size(versions, engines.get(engine).language, engines.interpreter(engine))


def megabytes(size: int | None) -> str:
    """As the tables have it: ``121.5``, empty if not known."""
    return "" if size is None else f"{size / 1e6:.1f}"


def size(names: Iterable[str], language: str = "Python", python: str = sys.executable) -> int | None:
    """Bytes, None if none of the packages is known here; see `MEANING`.

    Parameters
    ----------
    names : iterable of str
        Packages, as `Engine.version` names them; what is no package is passed over.
    language : {"Python", "R"}
    python : str
        Interpreter in which they are installed.
    """
    return _asked(tuple(sorted(names)), language, python)


@cache
def _asked(names: tuple[str, ...], language: str, python: str) -> int | None:
    if language == "R":
        command = ["Rscript", "--vanilla", "-e", _R, *names]
    else:
        command = [python, "-P", str(Path(__file__).resolve()), *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def closure(names: Iterable[str]) -> dict[str, Distribution]:
    """Distributions with those they require, extras apart; what is not installed is left out."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except (PackageNotFoundError, ValueError):
            continue
        for line in found[name].requires or ():
            if not re.search(r";.*\bextra\b", line) and (match := re.match(r"[\w.-]+", line)):
                waiting.append(match[0])
    return found


def total(names: Iterable[str]) -> int | None:
    """Bytes of the closure of `names` beyond that of `COMMON`, in this interpreter."""
    mine, common = closure(names), closure(COMMON)
    if not mine:
        return None
    places = {
        Path(str(file.locate())) for name, d in mine.items() if name not in common for file in d.files or ()
    }
    return sum(place.stat().st_size for place in places if place.is_file())


if __name__ == "__main__":
    answer = total(sys.argv[1:])
    sys.stdout.write("" if answer is None else str(answer))
