"""Gather: an Agreement as `Results`, the worst rows of each fit and what every part of a report counts."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from bridge import engines, tolerance
from bridge.comparison import Comparison
from bridge.errors import BridgeError
from bridge.report import conventions, diagnosis, digits, document, explain, league, tables, text
from bridge.report.apart import pairs
from bridge.report.grid import Grid
from bridge.report.measured import worst_here
from bridge.report.provenance import provenance
from bridge.report.results import (
    Allowed,
    CaseResult,
    Difference,
    EngineResult,
    Explained,
    FitResult,
    Line,
    Requirement,
    Results,
    Table,
)

if TYPE_CHECKING:
    from bridge.agreement import Agreement
    from bridge.entry import Entry
    from bridge.report.markdown import Extras
    from bridge.verdict import Judgement

BEYOND, WITHIN = 30, 40
"""Rows of one fit that are kept: beyond tolerance, and within."""
ORDER = ("gap", "beta", "SE", "sigma", "residual", "var", "G", "BLUP", "logLik")
STATEMENTS = {
    "gap": "The variances found are those of the optimum: the criterion there is within tolerance of it",
    "beta": "Fixed effects agree with the reference's",
    "SE": "Standard errors at the engine's own variances agree with the reference's",
    "sigma": "The residual standard deviation agrees with the reference's",
    "residual": "Parameters of the errors (ratios of sd, Phi) agree with the reference's",
    "G": "The covariance of each random term agrees with the reference's",
    "var": "Each variance and covariance agrees with the reference's",
    "BLUP": "Each BLUP agrees with the reference's of the same level",
    "logLik": "The log-likelihood printed agrees with the reference's",
    "self: X'R^-1e": "Residuals are orthogonal to the fixed effects, at the engine's own variances",
    "self: beta": "Fixed effects belong to the engine's own variances",
    "self: SE": "Standard errors belong to the engine's own variances and convention",
    "self: BLUP": "BLUPs belong to the engine's own variances and fixed effects",
    "self: logLik": "The log-likelihood belongs to the engine's own variances",
    "self: sigma": "The residual standard deviation is reported alike everywhere",
    "self: df": "Degrees of freedom follow the engine's own rule",
}


def gather(agreement: Agreement, seconds: float, extras: Extras) -> Results:
    """All that a report shows of a run.

    Parameters
    ----------
    seconds : float
        Wall time of the run.
    """
    near, left = pairs(agreement)
    profiles = dict.fromkeys(j.fit.profile for j in agreement.judgements)
    leagues = {profile: league.league(agreement, profile, extras.sizes) for profile in profiles}
    return Results(
        sentence=agreement.sentence,
        exit_code=agreement.exit_code,
        notes=agreement.notes,
        required=agreement.required,
        facts=tuple((a, b) for a, b in provenance(agreement, seconds).rows),
        engines=tuple(_engines(agreement)),
        cases=tuple(_case(entry, extras) for entry in agreement.entries) or tuple(_named(agreement)),
        fits=tuple(map(_fit, agreement.judgements)),
        pairs=tuple(near),
        pairs_left_out=left,
        numbers=tuple(_numbers(agreement)),
        league=tuple(_table(grid, f"Profile {p}") for p, grid in leagues.items() if grid.rows),
        explained=tuple(
            Explained(
                case=found.name,
                title=explain.title(found),
                sentences=found.sentences,
                tables=tuple(
                    _table(grid, levels.group, explain.left(levels)) for levels, grid in explain.tables(found)
                ),
                pictures=tuple(extras.drawn.get(found.name, ())),
            )
            for found in extras.explained
        ),
        tolerances=tuple(_tolerances(agreement)),
        requirements=tuple(_requirements(agreement.judgements)),
    )


def _numbers(agreement: Agreement) -> Iterable[Table]:
    """What ``lmmbridge compare`` prints of one model; a catalogue's would fill books."""
    if len({j.case for j in agreement.judgements}) > 1:
        return
    for block, judgements in tables.blocks(agreement).items():
        if (grid := tables.quantities(judgements)) is not None:
            yield _table(grid, document.title(block), conventions.note(judgements))


def _table(grid: Grid, title: str = "", note: str = "") -> Table:
    return Table(head=grid.head, rows=grid.rows, numeric=grid.numeric, title=title, note=note)


def _engines(agreement: Agreement) -> Iterable[EngineResult]:
    versions: dict[str, dict[str, str]] = {}
    for j in agreement.judgements:
        versions.setdefault(j.fit.engine, {}).update(j.fit.versions)
    for name, found in versions.items():
        std_error, df = conventions.of(name)
        language, pooling = "", "partial"
        with suppress(BridgeError):
            language, pooling = str(engines.get(name).language), str(engines.get(name).pooling)
        yield EngineResult(
            name=name,
            language=language,
            pooling=pooling,
            std_error=conventions.ERRORS[std_error],
            df=conventions.DF[df],
            versions=found,
            missing=agreement.missing.get(name, ""),
        )


def _case(entry: Entry, extras: Extras) -> CaseResult:
    spec = extras.specs.get(entry.name)
    return CaseResult(
        name=entry.name,
        title=spec.title if spec else "",
        formula=entry.formula,
        family=spec.family if spec else "",
        tags=spec.tags if spec else (),
        rows=len(entry.frame),
        why=spec.why if spec else "",
        source=spec.source if spec else "",
        licence=spec.licence if spec else "",
        data_hash=entry.data_hash,
        expect=dict(entry.expect),
        references={m: r for (case, m), r in extras.references.items() if case == entry.name},
        allowed={m: dict(found) for (case, m), found in extras.allowed.items() if case == entry.name},
        command=entry.name if spec else _command(entry),
    )


def _command(entry: Entry) -> str:
    """How the same data are named on a command line; empty if they are in no file."""
    if entry.where in ("", "data"):
        return ""
    known = [("--weights", entry.weights), ("--offset", entry.offset)]
    words = [part for option, column in known if column for part in (option, column)]
    return shlex.join([entry.where, entry.formula, *words])


def _named(agreement: Agreement) -> Iterable[CaseResult]:
    return (CaseResult(name=name) for name in dict.fromkeys(j.case for j in agreement.judgements))


def _fit(j: Judgement) -> FitResult:
    kept = lines(j)
    known = j.known
    return FitResult(
        case=j.case,
        method=j.fit.method,
        engine=j.fit.engine,
        profile=j.fit.profile,
        verdict=j.verdict,
        words=text.short(j),
        symbol=text.symbol(j),
        claim=j.claim,
        silent=j.silent,
        expected=j.expected,
        surprise=j.surprise,
        reason=j.reason,
        cause=diagnosis.cause(j),
        advice=diagnosis.advice(j),
        gap=j.gap,
        loglik=j.fit.loglik,
        seconds=j.fit.seconds,
        messages=j.fit.messages,
        versions=dict(j.fit.versions),
        recorded=j.fit.recorded.software if j.fit.recorded else "",
        known=None
        if known is None
        else Difference(
            reason=known.reason,
            verdicts=tuple(known.verdicts),
            **{name: str(getattr(known, name, "")) for name in ("versions", "size", "link")},
        ),
        rows=tuple(map(_line, kept)),
        left_out=len(j.rows) - len(kept),
        digits={
            kind: (min(found), median(found))
            for kind in digits.KINDS
            if (found := list(digits.correct(j, kind)))
        },
    )


def lines(j: Judgement) -> list[Comparison]:
    """Rows beyond tolerance, worst first, then the worst of each quantity, group and term within it."""
    good = sorted((row for row in j.rows if row.ok), key=_place)
    worst = [
        max(these, key=lambda row: row.difference)
        for _, these in groupby(good, lambda row: (_place(row), row.quantity, row.group, row.term))
    ]
    if len(worst) > WITHIN:
        near = sorted(worst, key=lambda row: -row.difference / row.tolerance if row.tolerance else 0.0)
        worst = sorted(near[:WITHIN], key=_place)
    return [*j.failing[:BEYOND], *worst]


def _place(row: Comparison) -> tuple[int, str, str, str]:
    place = ORDER.index(row.quantity) if row.quantity in ORDER else len(ORDER)
    return place, row.quantity, row.group, row.term


def _line(row: Comparison) -> Line:
    return Line(
        **{name: getattr(row, name) for name in Line.model_fields},
    )


def _tolerances(agreement: Agreement) -> Iterable[Allowed]:
    for (owner, profile, quantity), (here, where) in sorted(worst_here(agreement).items()):
        entry = tolerance.table()[owner][profile][quantity]
        yield Allowed(
            owner=owner,
            profile=profile,
            quantity=quantity,
            value=entry.value,
            worst=entry.worst,
            where=entry.where,
            reason=entry.reason,
            here=here,
            here_where=where,
        )


def _requirements(judgements: Sequence[Judgement]) -> Iterable[Requirement]:
    """One per engine, profile and quantity; `known`: those not met that a case knows of beforehand."""
    groups: dict[tuple[str, str, str], list[tuple[Judgement, Comparison]]] = {}
    for j in judgements:
        for row in j.rows:
            groups.setdefault((j.fit.engine, j.fit.profile, row.quantity), []).append((j, row))
    numbers = {quantity: i for i, quantity in enumerate(STATEMENTS, 1)}
    for (engine, profile, quantity), found in sorted(
        groups.items(), key=lambda item: (item[0][0], item[0][1], numbers[item[0][2]])
    ):
        missed = [j for j, row in found if not row.ok]
        j, row = max(found, key=lambda pair: _ratio(pair[1]))
        yield Requirement(
            id=f"LMM-{numbers[quantity]:02d}/{engine}/{profile}",
            statement=STATEMENTS[quantity],
            engine=engine,
            profile=profile,
            checked=len(found),
            met=len(found) - len(missed),
            known=sum(j.expected for j in missed),
            worst=_ratio(row),
            where=f"{j.name}: {text.where(row)}",
        )


def _ratio(row: Comparison) -> float:
    """Difference over tolerance; infinite where there is no number."""
    if math.isnan(row.difference):
        return math.inf
    return row.difference / row.tolerance if row.tolerance > 0 else (math.inf if row.difference > 0 else 0.0)
