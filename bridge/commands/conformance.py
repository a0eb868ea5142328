"""``lmmbridge conformance``: the catalogue through one's own engine, and a scorecard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.conformance import Score


@common.ending
def conformance(
    engines: Annotated[
        list[str], typer.Argument(metavar="ENGINE...", help="my_package.engine:MyEngine, or a declared name.")
    ],
    cases: Annotated[
        str | None, typer.Option("--cases", metavar="A,B", help="Ids of bundled cases; all by default.")
    ] = None,
    profile: common.Profiles = common.Which.default,
    method: common.Methods = None,
    jobs: common.Jobs = None,
    limit: common.Limit = None,
    store: common.StoreFolder = None,
    badge: Annotated[
        Path | None, typer.Option("--badge", metavar="FILE.svg", help="The score as an SVG badge.")
    ] = None,
    to_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="The scorecards for machines.")
    ] = None,
) -> int:
    """Run the bundled catalogue with an engine of one's own and print its scorecard.

    Its answers are held to the certified optimum alone: what is recorded as a known difference of an
    engine counts as wrong. Engine numpy runs beside it, for the ratio of times only.

    Exits with 0 if nothing is wrong; 1 if an answer is wrong, silently or not, or missing; 2 for bad input.

    - `lmmbridge conformance my_package.engine:MyEngine --badge mine.svg`

    - `lmmbridge conformance lme4 nlme --profile both --cases sleepstudy,bimodal --json scores.json`
    """
    from bridge.catalogue import session
    from bridge.commands.run import watching
    from bridge.conformance import PACE, scores
    from bridge.entry import Entry
    from bridge.output import check_file
    from bridge.report.scorecard import show
    from bridge.report.terminal import console
    from bridge.resources import find as resource
    from bridge.store import Store

    if badge is not None and (len(set(engines)) > 1 or profile is common.Which.both):
        raise BridgeError("--badge: is of one engine and one profile; name one of each")
    for option, path in (("--badge", badge), ("--json", to_json)):
        if path is not None:
            check_file(path, f"{option} {path}")
    chosen, left = common.select(common.split(cases) or [], [resource("cases")])
    entries = [Entry.of_case(case, limit) for case in chosen]
    with session(Store(store), jobs) as referee, watching(console(stderr=True)) as watch:
        agreement = referee.judge(
            entries,
            engines=[*engines, PACE],
            methods=common.methods(method, ("REML", "ML")),
            profiles=common.profiles(profile),
            recorded=False,
            watch=watch,
        )
    found = scores(agreement, engines)
    families = {entry.name: tuple(tag for tag in entry.tags if tag) for entry in entries}
    for score in found:
        show(score, families, console())
        console().print()
    write(found, families, badge, to_json)
    common.omitted(left)
    return max(score.exit_code for score in found)


def write(
    found: list[Score], families: dict[str, tuple[str, ...]], badge: Path | None, to_json: Path | None
) -> None:
    """The files asked for."""
    from bridge.output import write_bytes
    from bridge.report.badge import svg

    if badge is not None:
        write_bytes(svg(found[0]).encode(), badge)
    if to_json is not None:
        cards = [score.as_json(families) for score in found]
        write_bytes((json.dumps(cards, indent=1, ensure_ascii=False) + "\n").encode(), to_json)
