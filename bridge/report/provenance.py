"""Provenance: what a report's numbers depend on."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import bridge
from bridge.report.grid import Grid

if TYPE_CHECKING:
    from bridge.agreement import Agreement


def provenance(agreement: Agreement, seconds: float) -> Grid:
    """Versions, BLAS, platform, date, command line, tolerances, and how long it took."""
    versions: dict[str, dict[str, None]] = {}
    for judgement in agreement.judgements:
        fit = judgement.fit
        for name, version in fit.versions.items():
            versions.setdefault(name, {})[f"{version} (recorded)" if fit.recorded else version] = None
    mine = [j.fit for j in agreement.judgements if j.fit.recorded is None]
    engine = sum(fit.seconds for fit in mine if fit.seconds > 0)
    tolerances = hashlib.sha256(files("bridge").joinpath("tolerance.toml").read_bytes()).hexdigest()
    facts = {
        "lmmbridge": bridge.__version__,
        **{name: ", ".join(found) for name, found in sorted(versions.items()) if name != "lmmbridge"},
        **recorded(agreement),
        "NumPy's BLAS": blas(),
        "threads per worker": "1",
        "platform": platform.platform(),
        "CPU": f"{cpu()}, {os.cpu_count()} of them",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["lmmbridge", *sys.argv[1:]]),
        "tolerances": f"sha256:{tolerances}",
        "wall time": f"{seconds:.1f} s",
        "engines' own time": f"{engine:.1f} s (when each fit was made; stored fits are not made again)",
    }
    return Grid(("", ""), tuple(facts.items()))


def recorded(agreement: Agreement) -> dict[str, str]:
    """Where and when the recorded fits were made, if there are any."""
    kept = [j.fit.recorded for j in agreement.judgements if j.fit.recorded is not None]
    places = dict.fromkeys(f"{origin.software} on {origin.platform}, {origin.date}" for origin in kept)
    return {"recorded fits": "; ".join(places)} if kept else {}


def cpu() -> str:
    """The processor's name, as far as the system tells."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def blas() -> str:
    """Name and version of the BLAS that NumPy was built with."""
    import numpy as np

    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except (KeyError, TypeError):
        return "unknown"
