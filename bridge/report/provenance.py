"""Provenance: what a report's numbers depend on."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

import bridge
from bridge.report.grid import Grid

if TYPE_CHECKING:
    from bridge.agreement import Agreement


def provenance(agreement: Agreement, seconds: float) -> Grid:
    """Versions, BLAS, platform, date, command line, tolerances, and how long it took."""
    versions: dict[str, dict[str, None]] = {}
    for judgement in agreement.judgements:
        for name, version in judgement.fit.versions.items():
            versions.setdefault(name, {})[version] = None
    engine = sum(j.fit.seconds for j in agreement.judgements if j.fit.seconds > 0)
    tolerances = hashlib.sha256(files("bridge").joinpath("tolerance.toml").read_bytes()).hexdigest()
    facts = {
        "lmmbridge": bridge.__version__,
        **{name: ", ".join(found) for name, found in sorted(versions.items()) if name != "lmmbridge"},
        "NumPy's BLAS": blas(),
        "threads per worker": "1",
        "platform": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["lmmbridge", *sys.argv[1:]]),
        "tolerances": f"sha256:{tolerances}",
        "wall time": f"{seconds:.1f} s",
        "engines' own time": f"{engine:.1f} s (when each fit was made; stored fits are not made again)",
    }
    return Grid(("", ""), tuple(facts.items()))


def blas() -> str:
    """Name and version of the BLAS that NumPy was built with."""
    import numpy as np

    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except (KeyError, TypeError):
        return "unknown"
