"""The command line: ``lmmbridge``. Each command is a function in `bridge.commands`."""

from __future__ import annotations

import sys

import typer

from bridge.commands import (
    add,
    catalogue,
    certify,
    compare,
    conformance,
    diff,
    doctor,
    engines,
    explain,
    export,
    generate,
    hunt,
    league,
    listing,
    record,
    relations,
    report,
    repro,
    run,
    study,
)
from bridge.commands.common import ready

app = typer.Typer(
    name="lmmbridge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""A referee for linear mixed-model software: who agrees, who does not, and why.

    Every engine's answer is held against the exact optimum of the REML or ML criterion.

    - `lmmbridge run`: all cases in ./cases, or the bundled ones

    - `lmmbridge compare trial.csv "y ~ arm + (1 | clinic)"`: your own data

    - `lmmbridge add trial.csv "y ~ arm + (1 | clinic)" --name my-trial`: keep them as a case for `pytest`

    - `lmmbridge explain trial.csv "y ~ arm + (1 | clinic)"`: what each cluster weighs, and why lm differs

    - `lmmbridge conformance my_package.engine:MyEngine`: an engine of your own, against the truth

    - `lmmbridge report`, `lmmbridge diff RUN_A RUN_B`: the page of a run again; what changed since another

    - `lmmbridge doctor`: what this machine lacks, and how to get it

    Exit codes: 0 all as expected; 1 an unexpected disagreement, a certificate that fails, or a required
    engine is missing; 2 bad input; 130 stopped with Ctrl-C (`run` keeps finished fits).""",
)

for command in (run.run, compare.compare, add.add, generate.generate):
    app.command()(command)
app.command("list")(listing.listing)
app.command("engines")(engines.engines)
app.command()(explain.explain)
app.command()(conformance.conformance)
app.command()(league.league)
app.command()(relations.relations)
app.command()(report.report)
app.command()(diff.diff)
app.command()(repro.repro)
app.command()(hunt.hunt)
app.command()(catalogue.catalogue)
app.command()(study.study)
app.command()(certify.certify)
app.command("export-reference")(export.export_reference)
app.command()(record.record)
app.command()(doctor.doctor)


def main() -> None:
    """Entry point. Engines of one's own are found in the current folder, where nothing else hides them."""
    sys.path.append("")
    ready()
    app()


if __name__ == "__main__":
    main()
