"""Batches of fits: each as the closed form, the single engine, the referee and R have it."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bridge.batch import Fits, Plan, fit
from bridge.criterion import Criterion
from bridge.denominator import KenwardRoger, satterthwaite
from bridge.engines.numpy import Numpy
from bridge.errors import DataError, ModelError
from bridge.fit import Method
from bridge.generate import Design
from bridge.model import Model, build
from bridge.structure import Structure

SIZES = [5, 5, 10, 10, 20, 20, 40, 40, 200, 200]
X = {"name": "x", "level": "cluster", "kind": "binary", "effect": 1.0}


def drawn(table: dict[str, Any], seeds: range) -> tuple[Model, np.ndarray]:
    """A model, and the responses of as many seeds (r, n)."""
    frames = [Design.from_table({**table, "seed": seed}).draw().frame for seed in seeds]
    return build(Design.from_table({**table, "seed": 0}).formula, frames[0]), np.array([f.y for f in frames])


def intercept(icc: float, sizes: list[int] = SIZES) -> dict[str, Any]:
    """Table of the founding question's design."""
    return {"clusters": {"sizes": sizes}, "predictors": [X], "icc": icc}


def slope(number: int = 30, size: int = 12) -> dict[str, Any]:
    """Table of a design with a random slope."""
    clusters = {
        "number": number,
        "size": size,
        "slopes": ["t"],
        "covariance": [[0.5, 0.05], [0.05, 0.3]],
    }
    time = {"name": "t", "kind": "sequence", "step": 0.25, "effect": 0.5}
    return {"clusters": clusters, "predictors": [X, time], "residual_sd": 1.0}


def single(model: Model, y: np.ndarray, method: Method) -> tuple[list[float], float]:
    """Numbers and log-likelihood of the single numpy engine."""
    y = y.copy()
    y.setflags(write=False)
    found = Numpy().fit(replace(model, y=y), method, "default")
    rows = [*found.select("fixed"), *found.select("ran_pars")]
    errors = [row.std_error or 0.0 for row in found.select("fixed")]
    return [row.estimate for row in rows] + errors, found.loglik


def numbers(fits: Fits, i: int) -> list[float]:
    """The same numbers of one fit of a batch, in the same order."""
    G = fits.G[i]
    entries = [G[a, b] for a in range(len(G)) for b in range(a, len(G))]
    return [*fits.beta[i], *entries, fits.sigma2[i], *fits.std_error[i]]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("icc", [0.0, 0.05, 0.9])
def test_each_fit_is_the_single_engines(icc: float, method: Method) -> None:
    """A fit in a batch would differ from the same fit alone, or its zeros would not be zeros."""
    model, Y = drawn(intercept(icc), range(40))
    fits = fit(Plan.of(model, method), Y)
    for i, y in enumerate(Y):
        right, loglik = single(model, y, method)
        assert numbers(fits, i) == pytest.approx(right, rel=1e-8, abs=1e-10)
        assert fits.loglik[i] == pytest.approx(loglik, abs=1e-9)
        assert bool(fits.singular[i]) == (right[2] == 0.0)
    assert fits.converged.all()
    assert fits.singular.any() == (icc < 0.5)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("text", ["(1 + t | cluster)", "(1 + t || cluster)", "(0 + t | cluster)"])
def test_slopes_are_the_single_engines(text: str, method: Method) -> None:
    """Blocks of covariances, or terms of one factor side by side, would be mixed up."""
    table = slope()
    model, Y = drawn(table, range(5))
    frame = Design.from_table({**table, "seed": 0}).draw().frame
    model = build(f"y ~ 1 + x + t + {text}", frame)
    fits = fit(Plan.of(model, method), Y)
    assert fits.converged.all()
    for i, y in enumerate(Y):
        right, loglik = single(model, y, method)
        mine = [v for v in numbers(fits, i) if "||" not in text or v != 0.0]
        assert mine == pytest.approx(right, rel=1e-8, abs=1e-9)
        assert fits.loglik[i] == pytest.approx(loglik, abs=1e-8)


def test_the_lowest_of_several_optima_is_found() -> None:
    """With ten clusters and a slope a few data sets in a hundred have two optima; the higher one is wrong."""
    table = slope()
    table["clusters"] = {**table["clusters"], "sizes": SIZES, "covariance": [[0.3, 0.05], [0.05, 0.02]]}
    table["predictors"] = [X, {"name": "t", "kind": "sequence", "step": 0.1}]
    del table["clusters"]["number"], table["clusters"]["size"]
    model, Y = drawn(table, range(60))
    fits = fit(Plan.of(model, "REML"), Y)
    lower = [fits.loglik[i] - single(model, y, "REML")[1] for i, y in enumerate(Y)]
    assert min(lower) > -1e-8
    assert fits.loglik[46] == pytest.approx(
        -787.0943409764884, abs=1e-7
    )  # Reference.polished; other -787.937


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_the_balanced_one_way_layout_is_its_closed_form(method: Method) -> None:
    """The optimum of the textbook's analysis of variance, inside and on the boundary (STATISTICS, 1)."""
    J, m = 8, 5
    table = {"clusters": {"number": J, "size": m}, "icc": 0.1}
    model, Y = drawn(table, range(60))
    fits = fit(Plan.of(model, method), Y)
    cells = Y.reshape(len(Y), J, m)
    means = cells.mean(2)
    within = ((cells - means[:, :, None]) ** 2).sum((1, 2)) / (J * m - J)
    between = m * ((means - means.mean(1)[:, None]) ** 2).sum(1) / (J - 1 if method == "REML" else J)
    inside = between >= within
    total = ((Y - Y.mean(1)[:, None]) ** 2).sum(1) / (J * m - (method == "REML"))
    assert 5 < inside.sum() < 55
    assert fits.G[:, 0, 0] == pytest.approx(
        np.where(inside, (between - within) / m, 0.0), rel=1e-9, abs=1e-15
    )
    assert (fits.G[~inside] == 0).all()
    assert fits.sigma2 == pytest.approx(np.where(inside, within, total), rel=1e-9)


def test_degrees_of_freedom_are_the_referees() -> None:
    """Satterthwaite's or Kenward and Roger's rule would be computed wrongly."""
    for table in (intercept(0.4), slope()):
        model, Y = drawn(table, range(5))
        fits = fit(Plan.of(model, "REML"), Y, adjusted=True)
        for i, y in enumerate(Y):
            y = y.copy()
            y.setflags(write=False)
            criterion = Criterion(Structure.of(replace(model, y=y)), "REML")
            at = (fits.G[i],), float(fits.sigma2[i])
            right = KenwardRoger.of(criterion, *at)
            if not fits.singular[i]:  # there the referee has no definition
                assert fits.df[i] == pytest.approx(satterthwaite(criterion, *at), rel=1e-6)
            assert fits.singular.sum() < 3
            assert fits.adjusted_error[i] == pytest.approx(right.std_error, rel=1e-9)
            assert fits.adjusted_df[i] == pytest.approx(right.df, rel=1e-7)


def test_with_no_variance_left_the_df_are_least_squares() -> None:
    """On the boundary the rule is that of lmerTest: n - p."""
    model, Y = drawn(intercept(0.0), range(40))
    fits = fit(Plan.of(model, "REML"), Y)
    assert fits.singular.any()
    assert fits.df[fits.singular] == pytest.approx(model.n - model.p)


def test_a_sample_agrees_with_certificates() -> None:
    """An optimum proven in ball arithmetic would not be where a batch says it is."""
    from bridge.certify import certify

    model, Y = drawn(intercept(0.2), range(3))
    fits = fit(Plan.of(model, "REML"), Y)
    for i, y in enumerate(Y):
        y = y.copy()
        y.setflags(write=False)
        proven = certify(replace(model, y=y), "REML")
        assert proven.proven
        assert -2 * fits.loglik[i] == pytest.approx(proven.optima[0].criterion.double, abs=1e-9)
        fixed = [row.number.double for row in proven.rows if row.effect == "fixed"]
        assert fits.beta[i] == pytest.approx(fixed, rel=1e-10)


def test_lanes_and_neighbours_change_nothing() -> None:
    """A fit would depend on how many others are made with it."""
    model, Y = drawn(intercept(0.1), range(30))
    plan = Plan.of(model, "REML")
    whole, parts = fit(plan, Y), fit(plan, Y, lane=7)
    assert np.array_equal(whole.G, parts.G)
    assert np.array_equal(whole.beta, parts.beta)
    assert np.array_equal(whole.loglik, parts.loglik)


def test_units_and_origins_change_nothing_but_units() -> None:
    """Data x 1e6 + 1e9 would lose digits that doubles have."""
    model, Y = drawn(intercept(0.3), range(20))
    plan = Plan.of(model, "REML")
    plain, moved = fit(plan, Y), fit(plan, 1e6 * Y + 1e9)
    assert moved.G[:, 0, 0] * 1e-12 == pytest.approx(plain.G[:, 0, 0], rel=1e-7)
    assert moved.beta[:, 1] * 1e-6 == pytest.approx(plain.beta[:, 1], rel=1e-7)


def test_memory_is_that_of_a_lane() -> None:
    """Sixteen times the replicates would take sixteen times the memory beyond data and results."""
    model, _ = drawn(intercept(0.3), range(1))
    plan = Plan.of(model, "REML")
    Y = np.random.default_rng(1).standard_normal((1600, model.n))

    def peak(rows: int) -> float:
        tracemalloc.start()
        fits = fit(plan, Y[:rows], lane=100)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        kept = sum(getattr(fits, name).nbytes for name in fits.__dataclass_fields__)
        return most - 2 * kept

    peak(100)
    assert peak(1600) < 1.3 * peak(100)


def test_what_cannot_be_fitted_in_batches_says_so() -> None:
    """Crossed factors, weights, rank deficiency or foreign shapes would be fitted wrongly."""
    frame = Design.from_table({**intercept(0.3), "seed": 1}).draw().frame
    frame["other"] = np.tile(list("abcde"), len(frame) // 5)
    frame["w"], frame["z"] = 2.0, frame.x
    with pytest.raises(ModelError, match="one grouping factor"):
        Plan.of(build("y ~ x + (1 | cluster) + (1 | other)", frame), "REML")
    with pytest.raises(ModelError, match="no weights"):
        Plan.of(build("y ~ x + (1 | cluster)", frame, weights="w"), "REML")
    with pytest.raises(ModelError, match="linearly dependent"):
        Plan.of(build("y ~ x + z + (1 | cluster)", frame), "REML")
    plan = Plan.of(build("y ~ x + (1 | cluster)", frame), "REML")
    with pytest.raises(DataError, match="shape"):
        fit(plan, np.zeros((2, 3)))
    with pytest.raises(DataError, match="NaN"):
        fit(plan, np.full((1, plan.n), math.nan))


@pytest.mark.needs_r
def test_lmertest_and_pbkrtest_say_the_same() -> None:
    """Satterthwaite's df would not be lmerTest's, or Kenward and Roger's not pbkrtest's."""
    from bridge.engines.lmertest import LmerTest
    from bridge.engines.pbkrtest import Pbkrtest

    model, Y = drawn(intercept(0.3), range(2))
    model = replace(model, y=np.array(Y[0]), data=model.data.assign(v0=Y[0]))
    fits = fit(Plan.of(model, "REML"), Y[:1], adjusted=True)
    first = LmerTest().fit(model, "REML", "tight")
    second = Pbkrtest().fit(model, "REML", "tight")
    # numDeriv's finite differences: 1.4e-7
    assert fits.df[0] == pytest.approx([row.df for row in first.select("fixed")], rel=1e-5)
    assert fits.adjusted_df[0] == pytest.approx([row.df for row in second.select("fixed")], rel=1e-6)
