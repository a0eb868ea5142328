"""What R's engines differ in from one generation to the next, as Markdown on standard output.

python docker/generations.py OLDEST ... NEWEST: folders that ``lmmbridge run --profile both --report`` wrote,
each under another R, or without R from what is recorded of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.drift import Key, drift, numbers
from bridge.engines.r import PACKAGES
from bridge.errors import BridgeError
from bridge.report.grid import Grid
from bridge.report.results import FitResult, Results, read

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[str, ...]


def only_r(run: Results) -> Results:
    """A run less the fits of Python's engines."""
    return run.model_copy(update={"fits": tuple(fit for fit in run.fits if fit.engine in PACKAGES)})


def software(runs: Sequence[Results]) -> list[dict[str, str]]:
    """Versions by name, of each run's fits."""
    return [{name: v for fit in run.fits for name, v in fit.versions.items()} for run in runs]


def versions(runs: Sequence[Results]) -> Grid:
    """Which software each run is of."""
    found = software(runs)
    names = dict.fromkeys(["R", *(name for names in PACKAGES.values() for name in names), "BLAS"])
    return Grid(
        ("software", *titles(runs)), tuple((name, *(v.get(name, "–") for v in found)) for name in names)
    )


def titles(runs: Sequence[Results]) -> Row:
    """``R 4.5.0``."""
    return tuple(f"R {found.get('R', '?')}" for found in software(runs))


def counts(runs: Sequence[Results], tables: Sequence[pd.DataFrame | None]) -> Grid:
    """By engine: how many are right in each run, and what changed at each step."""
    both = pairwise(zip(runs, tables, strict=True))
    steps = [drift(before, after, (old, new)) for (before, old), (after, new) in both]
    names = titles(runs)
    heads = [f"{a} to {b}" for a, b in pairwise(names)]
    rows: list[Row] = []
    for engine in PACKAGES:
        mine = [[fit for fit in run.fits if fit.engine == engine and not fit.verdict.neutral] for run in runs]
        right = [f"{sum(fit.verdict.passes for fit in fits)} of {len(fits)}" for fits in mine]
        changed = []
        for step in steps:
            verdicts = {c.key for c in step.verdicts if c.key[2] == engine}
            moved = {m.key for m in step.values if m.key[2] == engine} - verdicts
            changed.append(f"{len(verdicts)}; {len(moved)}")
        rows.append((engine, *right, *changed))
    return Grid(("engine", *(f"right, {name}" for name in names), *heads), tuple(rows), numeric=True)


def words(fit: FitResult | None) -> str:
    """``✗ worse optimum, silent``; a dash if the run has no such fit."""
    return "–" if fit is None else f"{fit.symbol} {fit.words}" + (", silent" if fit.silent else "")


def changes(runs: Sequence[Results]) -> Iterator[tuple[Key, Row, str]]:
    """Fits whose verdict, or whose warning, is not the same in all runs, nor right in all: words, and why."""
    found = [{fit.key: fit for fit in run.fits} for run in runs]
    for key in sorted({key for fits in found for key in fits}):
        fits = [run.get(key) for run in found]
        said = tuple(map(words, fits))
        wrong = any(fit is not None and not fit.verdict.passes for fit in fits)
        if wrong and len(set(said) - {"–"}) > 1:
            reasons = dict.fromkeys(
                fit.known.reason if fit.known else fit.reason
                for fit in fits
                if fit is not None and not fit.verdict.passes
            )
            yield key, said, "; then: ".join(reasons)


def verdicts(runs: Sequence[Results]) -> Grid:
    """The changed verdicts; fits of a case and an engine with the same story share a row."""
    rows: dict[Row, list[str]] = {}
    for (case, method, engine, profile), said, why in changes(runs):
        fit = method if profile == "default" else f"{method} {profile}"
        rows.setdefault((case, engine, *said, why), []).append(fit)
    head = ("case", "engine", "fits", *titles(runs), "why")
    return Grid(head, tuple((*row[:2], ", ".join(fits), *row[2:]) for row, fits in rows.items()))


def page(runs: Sequence[Results], tables: Sequence[pd.DataFrame | None]) -> str:
    """All of it."""
    runs = [only_r(run) for run in runs]
    parts = [
        "## Software",
        versions(runs).markdown(),
        "## How many are right, and what changed",
        "A step's two numbers: fits whose verdict changed; others with a number moved beyond its tolerance.",
        counts(runs, tables).markdown(),
        "## Verdicts that changed",
        verdicts(runs).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def apart(folders: Sequence[Path], runs: Sequence[Results]) -> None:
    """Raise BridgeError if a folder is of no R, or two of the same: the page has one column for each."""
    seen: dict[str, Path] = {}
    for folder, title in zip(folders, titles(list(map(only_r, runs))), strict=True):
        if title == "R ?":
            raise BridgeError(f"{folder}: no fit of R's engines: run with --engines {','.join(PACKAGES)}")
        if title in seen:
            raise BridgeError(f"{seen[title]} and {folder} are both of {title}: name one folder for each R")
        seen[title] = folder


def main(folders: Sequence[Path]) -> int:
    """Write the page; 2 if the folders cannot be used."""
    try:
        found = [read(folder) for folder in folders]
        apart(folders, found)
        sys.stdout.write(page(found, list(map(numbers, folders, found))))
    except BridgeError as error:
        print(f"generations: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(list(map(Path, sys.argv[1:]))))
