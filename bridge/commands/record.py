"""``lmmbridge record``: what R gives here, kept with the cases for machines without R."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common
from bridge.errors import BridgeError, UnavailableError

if TYPE_CHECKING:
    from bridge.catalogue import Referee, Watch
    from bridge.entry import Entry
    from bridge.fit import Fit

PATIENCE = 600.0
"""Seconds a fit may take if nothing else is said: what is recorded once is shown many times."""


@common.ending
def record(
    cases: common.Ids = None,
    engines: common.Engines = None,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make every fit anew, stored or not.")] = False,
) -> int:
    """Record the fits of every R engine here into `recorded.parquet` of each case, both profiles.

    Where R or one of its packages is missing, `run`, `compare` and `pytest` show these fits, marked as
    recorded. Several environments (versions of R and its packages) lie side by side; the newest is shown,
    or the one that `LMMBRIDGE_RECORDED="R < 4.6"` chooses. Recording again replaces this environment's only.

    - `lmmbridge record`: all cases in ./cases, or the bundled ones

    - `lmmbridge record sleepstudy --engines lme4,nlme`
    """
    from bridge.catalogue import session
    from bridge.commands.run import watching
    from bridge.entry import Entry
    from bridge.report.terminal import console
    from bridge.store import Store

    found, left = common.select(cases or [])
    chosen = here(common.split(engines))
    out = console()
    with session(Store(store), jobs, fresh) as referee, watching(console(stderr=True)) as watch:
        for case in found:
            patience = limit if limit is not None else max(PATIENCE, case.spec.time_limit or 0.0)
            said = keep(Entry.of_case(case, patience), chosen, referee, watch)
            out.print(f"{case.id}: {said}", markup=False, soft_wrap=True)
    common.omitted(left)
    return 0


def here(wanted: list[str] | None) -> list[str]:
    """Engines of R that this machine has; those that it lacks are said.

    Raises
    ------
    BridgeError
        An engine that is none of R's, or one that was named and is not here.
    UnavailableError
        There is none.
    """
    from bridge import engines
    from bridge.engines.r import PACKAGES

    chosen, gone = [], {}
    for name in wanted or PACKAGES:
        if name not in PACKAGES:
            raise BridgeError(f"engine {name}: only R's are recorded: name some of {', '.join(PACKAGES)}")
        try:
            engines.versions(name)
            chosen.append(name)
        except UnavailableError as error:
            gone[name] = str(error)
    if gone and (wanted or not chosen):
        raise UnavailableError(f"nothing to record: {next(iter(gone.values()))}")
    for name, why in gone.items():
        common.say(f"lmmbridge: not recorded: {name}: {why}")
    return chosen


def keep(entry: Entry, engines: list[str], referee: Referee, watch: Watch | None) -> str:
    """Make an entry's fits and put them into its recording; what became of it, in words."""
    from bridge import recording

    made: list[Fit] = []
    for fits in referee.fits(
        [(entry, method) for method in entry.methods],
        engines=engines,
        profiles=("default", "tight"),
        watch=watch,
    ).values():
        made += fits
    assert entry.recorded is not None
    about = recording.About(entry.data_hash, entry.formula, entry.missing, entry.weights, entry.offset)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    new = [
        recording.Recording(fit, about, platform.platform(), date)
        for fit in made
        if fit.status not in ("unavailable", "timed_out")
    ]
    if not new:
        return f"nothing recorded: {made[0].reason}"
    counts = ", ".join(f"{n} {status}" for status, n in sorted(Counter(r.fit.status for r in new).items()))
    if late := sum(fit.status == "timed_out" for fit in made):
        counts += f"; {late} timed out and not recorded: a longer --limit gets them"
    written = recording.write(Path(entry.recorded), new)
    size = entry.recorded.stat().st_size / 1e3
    return f"{counts}; {'written' if written else 'as it was'}, {size:.0f} kB"
