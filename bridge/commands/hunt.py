"""``lmmbridge hunt``: new kinds of disagreement, looked for among drawn data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.hunt import Tally

HEAD = ("engine", "method", "profile", "verdict", "warning", "gap", "data sets", "first seed")


@common.ending
def hunt(
    design: Annotated[
        str,
        typer.Option(
            "--design", metavar="FILE|NAME", help="ten-clusters, intercepts, slopes, crossed, or a TOML file."
        ),
    ] = "intercepts",
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="A:B", help="From A up to, not with, B.")
    ] = "0:100",
    engines: common.Engines = "statsmodels",
    profile: common.Profiles = common.Which.default,
    method: common.OneMethod = None,
    out: Annotated[
        Path, typer.Option("--output", "--out", "-o", help="Folder of cases that finds are written to.")
    ] = Path("hunted"),
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
) -> None:
    """Draw data sets, fit engines to them, and keep each new kind of disagreement as a small case.

    A kind is: engine, method, profile, verdict, silent or not, and the gap to two powers of ten. The
    first of a kind is shrunk, levels and then rows while the verdict stays, certified, and written as
    a case with its known differences drafted: read it, mend its reason, and move it to ./cases.
    Finds are kept as they come; the same command again goes on from the store, and leaves out finds
    that are in the folder. At the end: how many data sets there are of each kind, and the first seed.

    Bundled designs, whose parameters each seed draws too: ten-clusters (very unequal clusters, a
    cluster-level predictor), intercepts (any ICC, any unit of x), slopes (correlated, x not centred),
    crossed. A file holds the table [generate] of a case (docs/cases.md); its seed is replaced.

    - `lmmbridge hunt --design ten-clusters --seeds 0:200 --engines statsmodels,lme4`

    - `lmmbridge hunt --design my-trial.toml --seeds 0:1000 --engines nlme --method ML -o found`
    """
    from bridge.catalogue import session
    from bridge.hunt import Tally, save, shrunk
    from bridge.hunt import hunt as hunted
    from bridge.hunt_designs import designs
    from bridge.output import make_folder
    from bridge.report.terminal import console
    from bridge.report.text import plural
    from bridge.run import LIMIT
    from bridge.store import Store

    names, (first, last) = common.split(engines) or [], _bounds(seeds)
    drawn = designs(design, range(first, last))
    make_folder(out, f"-o {out}")
    err, tally = console(stderr=True), Tally()
    kept = there = 0
    with session(Store(store), jobs) as referee, err.status(f"0 of {last - first} data sets") as status:

        def told(done: int) -> None:
            status.update(f"{done} of {plural(last - first, 'data set')}, {plural(kept, 'new kind')} kept")

        found = hunted(
            referee,
            drawn,
            names,
            methods=common.methods(method, ("REML",)),
            profiles=common.profiles(profile),
            limit=LIMIT if limit is None else limit,
            tally=tally,
            told=told,
        )
        for one in found:
            if (out / one.name(design)).exists():
                there += 1
                continue
            status.update(f"shrinking the {one.kind[3]} of {one.kind[0]} at seed {one.design.seed}")
            small = shrunk(referee, one)
            case = save(small, out, design, referee, names)
            kept += 1
            common.say(f"{case.folder}: {one.kind[3]} of {one.kind[0]}, {len(small.entry.frame)} rows")
    _show(tally, f"{plural(last - first, 'data set')}, {plural(kept, 'new kind')} kept in {out}", there)


def _show(tally: Tally, said: str, before: int) -> None:
    from bridge.report.grid import Grid
    from bridge.report.terminal import console
    from bridge.report.text import plural

    if before:
        said += f", {before} kept before"
    if tally.left_out:
        said += f"; {plural(len(tally.left_out), 'data set')} left out, which do not identify the model"
    out = console()
    out.print(Grid(HEAD, tuple(tally.rows())).rich())
    out.print(said, markup=False, soft_wrap=True)


def _bounds(text: str) -> tuple[int, int]:
    try:
        first, last = (int(part) for part in text.split(":"))
    except ValueError:
        raise BridgeError(f"--seeds {text!r}: write A:B, such as 0:500") from None
    if not 0 <= first < last <= 2**62:
        raise BridgeError(f"--seeds {text!r}: B must be above A, and A not below 0")
    return first, last
