"""``lmmbridge explain``: what each cluster weighs, and why lm and the mixed model differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.commands import common


@common.ending
def explain(
    data: Annotated[
        str, typer.Argument(metavar="CASE|DATA", help="Id of a case; or a csv, tsv, parquet or feather file.")
    ],
    formula: Annotated[
        str | None,
        typer.Argument(metavar="[FORMULA]", help='With DATA: lme4\'s language, "y ~ x + (1 | g)".'),
    ] = None,
    coef: Annotated[
        str | None,
        typer.Option("--coef", help="Fixed effect to explain; by default the first at cluster level."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", "--engines", metavar="A,B", help="Whose variances; more are compared with the first."
        ),
    ] = None,
    method: Annotated[
        common.Criterion | None,
        typer.Option("--method", help="REML or ML; by default REML, if the case has it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "--out", "-o", metavar="DIR", help="Folder for explain.md, weights.csv, pictures."
        ),
    ] = None,
    weights: common.Weights = "",
    offset: common.Offset = "",
    limit: common.Limit = None,
) -> None:
    """Explain a coefficient: what each cluster weighs in lm and in the mixed model, and why they differ.

    Words first, then a table; with -o pictures as SVG and PNG. The variances are those of the exact optimum,
    or with --engine those that an engine found. docs/weights.md says what each number means.

    - `lmmbridge explain small-clusters-lowest -o lowest`

    - `lmmbridge explain trial.csv "y ~ arm + (1 | clinic)" --engine lme4,statsmodels`
    """
    from bridge.errors import BridgeError
    from bridge.explanation import explain as explained
    from bridge.output import make_folder
    from bridge.report import pictures
    from bridge.report.explain import left, tables, title
    from bridge.report.terminal import console
    from bridge.report.text import clean

    if output is not None:
        pictures.require()
        make_folder(output, f"-o {output}")
    engines = common.split(engine)
    if engine is not None and not engines:
        raise BridgeError(f'--engine "{engine}": names no engine; use one such as lme4, or leave it out')
    chosen = None if method is None else common.methods([method], ())[0]
    found = explained(
        data,
        formula,
        coef=coef,
        engine=engines,
        method=chosen,
        weights=weights,
        offset=offset,
        limit=limit,
    )
    out = console()
    out.print(title(found), style="bold", markup=False, soft_wrap=True)
    for sentence in found.sentences:
        out.print(f"\n{clean(sentence)}", markup=False)
    for levels, grid in tables(found):
        for part in grid.split(out.width, kept=2):
            out.print()
            out.print(part.rich())
        if more := left(levels):
            out.print(more, markup=False, soft_wrap=True)
    if output is not None:
        found.write(output)
        out.print(f"Written: {output / 'explain.md'} and its pictures", markup=False, soft_wrap=True)
