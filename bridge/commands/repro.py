"""``lmmbridge repro``: one disagreement as a script that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def repro(
    case: Annotated[str, typer.Argument(metavar="CASE|DATA", help="Id of a case, or a table's file.")],
    formula: Annotated[
        str | None, typer.Argument(metavar="[FORMULA]", help="With a table: the model, in lme4's language.")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", "--engines", metavar="E", help="Such as lme4.")] = "",
    method: Annotated[common.Criterion, typer.Option("--method", help="REML or ML.")] = common.Criterion.REML,
    profile: Annotated[
        common.Which, typer.Option("--profile", help="As a user gets it, or at its most careful (tight).")
    ] = common.Which.default,
    out: Annotated[
        Path | None, typer.Option("--output", "--out", "-o", help="File to write; by default printed.")
    ] = None,
    weights: common.Weights = "",
    offset: common.Offset = "",
) -> None:
    """Write a script that shows what an engine gives and what is right, ready for an upstream issue.

    R or Python, by the engine. The data are in it, exact to the bit; the engine is called plainly;
    the log-likelihood is worked out from its definition at the certified optimum. It needs the engine
    and nothing of lmmbridge, says in a line by how much the two differ, and exits with 1 if they do.

    - `lmmbridge repro sleepstudy-days2000 --engine lme4 -o issue.R`, then `Rscript issue.R`

    - `lmmbridge repro trial.csv "y ~ arm + (1 | clinic)" --engine statsmodels --method ML`
    """
    from bridge.case import find
    from bridge.catalogue import Referee
    from bridge.entry import Entry
    from bridge.errors import BridgeError
    from bridge.output import write_bytes
    from bridge.repro import repro as script
    from bridge.run import LocalWorkers

    if not engine:
        raise BridgeError("--engine: name one, such as --engine lme4")
    if profile is common.Which.both:
        raise BridgeError("--profile both: a script is about one; use default or tight")
    if formula is None:
        if weights or offset:
            raise BridgeError("--weights, --offset: a case has its own; give them with a table and a formula")
        (found,) = find([case], common.roots([case]))
        entry = Entry.of_case(found)
    else:
        entry = Entry.of_data(case, formula, methods=[method.value], weights=weights, offset=offset)
    (chosen,) = common.profiles(profile)
    (how,) = common.methods([method], ())
    text = script(Referee(None, LocalWorkers(1)), entry, engine, how, chosen)
    if out is None:
        print(text, end="")
    else:
        write_bytes(text.encode(), out)
        common.say(f"Written: {out}")
