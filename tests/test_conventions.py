"""Conventions: tables say whose standard errors and df they show."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bridge import data
from bridge.agreement import Agreement
from bridge.comparison import Comparison
from bridge.engines.numpy import Numpy
from bridge.engines.statsmodels import Statsmodels
from bridge.fit import Fit, Row
from bridge.judge import judge
from bridge.model import build
from bridge.reference import Reference
from bridge.report import conventions, digits, document, markdown, tables, text
from bridge.resources import find
from bridge.verdict import Judgement, Verdict


def judgement(engine: str, printed: float, df: float | None = None, right: bool = True) -> Judgement:
    """A fit whose SE by Phi is 2, which prints another one."""
    rows = (
        Comparison("beta", "", (), "x", 1.0, 1.0, 0.0, "SE", 1e-4, 15.0),
        Comparison("SE", "", (), "x", 2.0, 2.0, 0.0, "relative", 1e-4, 15.0),
        Comparison("G", "g", (), "(Intercept)", np.nan, np.nan, 0.0, "G+F", 1e-3, np.nan),
        Comparison(
            "self: df", "", (), "x", df or math.nan, 5.0, 0.0 if right else 1.0, "relative", 1e-4, math.nan
        ),
    )
    fit = Fit(engine, "REML", "default", rows=(Row("fixed", "x", 1.0, std_error=printed, df=df),))
    return Judgement("case", fit, Verdict.AGREE, "agrees", 0.0, rows, "ok", None, True, "")


BOTH = (judgement("lme4", 2.0), judgement("glmmTMB", 2.3), judgement("lmerTest", 2.0, 5.25, right=False))


def lines(judged: tuple[Judgement, ...]) -> dict[str, tuple[str, ...]]:
    """Rows of the table of quantities by their label."""
    grid = tables.quantities(judged)
    assert grid is not None
    return {row[0]: row[1:] for row in grid.rows}


def test_standard_errors_that_stand_apart_are_explained_on_the_spot() -> None:
    """Who reads 2 beside 2.3 would take one of two sound engines for wrong."""
    rows = lines(BOTH)
    assert rows["SE x"] == ("2", "2", "2", "2")
    assert rows["SE printed x"] == ("", "2", "2.3", "2")
    assert rows["SE printed: convention"] == ("", "Phi", "joint Hessian", "Phi")
    for shown in (document.plain(Agreement(BOTH)), document.page(Agreement(BOTH))):
        assert "glmmTMB prints are the joint Hessian" in shown
        assert "up to 15 % wider than Phi here" in shown


def test_engines_print_and_one_engine_prints() -> None:
    """A note of several engines would read as if by one."""
    two = (judgement("glmmTMB", 2.3), judgement("statsmodels", 2.3), judgement("lme4", 2.0))
    assert "those that glmmTMB and statsmodels print are the joint" in conventions.note(two)


def test_numbers_of_a_failed_fit_are_marked_where_they_are_shown() -> None:
    """4e7 as a printed SE would look right beside the same one marked wrong; an infinite logLik, absent."""
    good, bad = judgement("lme4", 2.0), judgement("statsmodels", 4e7)
    rows = tuple(
        replace(row, estimate=4e7, difference=2e7) if row.quantity == "SE" else row for row in bad.rows
    )
    right = Comparison("logLik", "", (), "logLik", -5.0, -5.0, 0.0, "absolute", 1e-6, 15.0)
    good = replace(good, rows=(*good.rows, right))
    bad = replace(bad, rows=rows, fit=replace(bad.fit, loglik=math.inf))
    for order in ((good, bad), (bad, good)):
        shown = lines(order)
        at = 1 + order.index(bad)
        assert shown["SE printed x"][at] == "4e+07 ✗"
        assert "✗" not in shown["SE printed x"][3 - at]
        assert (shown["logLik"][0], shown["logLik"][at]) == ("-5", "inf ✗")


def test_df_stand_beside_their_rule() -> None:
    """A df without its rule cannot be compared; a wrong one has to be seen in the table."""
    rows = lines(BOTH)
    assert rows["df x"] == ("", "", "", "5.25 ✗")
    assert rows["df: convention"] == ("", "", "", "Satterthwaite")


def test_one_convention_and_no_df_add_no_rows() -> None:
    """The table would be longer, and say nothing more."""
    alone = (judgement("lme4", 2.0), judgement("numpy", 2.0))
    assert not [label for label in lines(alone) if "printed" in label or label.startswith("df")]
    assert conventions.note(alone) == ""


def test_the_report_has_each_engines_convention() -> None:
    """Nothing would say under which convention an engine was judged."""
    shown = markdown.document(Agreement(BOTH), 1.0, markdown.Extras())
    assert "| glmmTMB | joint Hessian | +15 % | none |" in shown
    assert "| lmerTest | Phi |  | Satterthwaite |" in shown


@pytest.mark.parametrize("name", ["nobody", "no.module:Engine"])
def test_an_engine_that_is_gone_has_no_convention(name: str) -> None:
    """A stored fit of an engine that is not installed any more would break the report."""
    assert conventions.of(name) == ("none", "none")


class Joint(Numpy):
    """Prints sqrt diag Phi and calls it the joint Hessian's."""

    std_error = "joint"


class Adjusted(Numpy):
    """Prints sqrt diag Phi and calls it Kenward and Roger's."""

    std_error = "kenward-roger"


@pytest.mark.parametrize(
    ("engine", "least", "most"),
    [(Numpy(), 10, 15), (Statsmodels(), 6, 15), (Joint(), 2, 3), (Adjusted(), 2, 3)],
    ids=["Phi", "joint", "Phi for joint", "Phi for Kenward-Roger"],
)
def test_digits_of_an_se_are_of_the_one_printed_under_its_own_convention(engine, least, most) -> None:
    """Digits would be of Phi at the engine's variances, a number that it never showed to anybody."""
    frame = data.normalise(data.read(find("cases") / "two-clusters" / "data.parquet"))
    model = build("y ~ x + (1 | g)", frame)
    judged = judge("", model, Reference.polished(model, "REML"), engine.fit(model, "REML", "tight"), engine)
    assert least <= min(digits.correct(judged, "SE")) <= most


def test_where_a_convention_has_no_definition_an_se_has_no_digits() -> None:
    """At a variance of zero an engine would be given, or refused, digits of nothing."""
    frame = data.normalise(data.read(find("cases") / "dyestuff2" / "data.parquet"))
    model = build("Yield ~ 1 + (1 | Batch)", frame)
    fit, reference = Numpy().fit(model, "REML", "default"), Reference.polished(model, "REML")
    assert digits.correct(judge("", model, reference, fit, Joint()), "SE") == []
    assert min(digits.correct(judge("", model, reference, fit, Numpy()), "SE")) > 10


def test_a_number_that_is_missing_is_named() -> None:
    """The line about an SE that is NaN would have a hole where the number belongs."""
    row = Comparison("self: SE", "", (), "x", math.nan, 2.5, math.nan, "relative, phi", 1e-4, math.nan)
    assert text.explain(row) == "self: SE x: NaN, right is 2.5; NaN relative, phi, allowed 0.0001"
