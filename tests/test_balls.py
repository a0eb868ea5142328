"""The criterion in ball arithmetic against the dense definition and its own finite differences."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from flint import arb, ctx

from bridge import balls
from bridge.chart import chart
from bridge.criterion import Criterion
from bridge.model import Model, build
from bridge.proof import floats
from bridge.structure import Structure
from bridge.sums import Sums, exact, precision
from tests import naive
from tests.test_criterion import MODELS, at, small

STEP = 2.0**-80


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", MODELS)
def test_ball_contains_the_definition(name: str, method: str) -> None:
    """A ball that misses the true value would settle a gap wrongly."""
    model, psi, sigma2 = at(name)
    ball = balls.unprofiled(Sums.of(Structure.of(model)), method, psi, sigma2)
    truth = naive.evaluate(model, method, psi, sigma2)["value"]
    with mp.workdps(60):
        assert abs(mp.mpf(ball.mid().str(50, radius=False)) - truth) < mp.mpf(10) ** -38 * abs(truth)
    assert float(ball.rad()) < 1e-60


def test_a_gap_below_float64_is_seen() -> None:
    """1e-14 deviance units between two covariances vanish in float64 and must not here."""
    sums = Sums.of(Structure.of(build("y ~ x + (1 | g)", small())))
    low = balls.unprofiled(sums, "REML", (np.array([[1.0]]),), 1.0)
    high = balls.unprofiled(sums, "REML", (np.array([[1.0 + 2**-50]]),), 1.0)
    difference = high - low
    assert 0 < abs(float(difference)) < 1e-13
    assert float(difference.rad()) < 1e-6 * abs(float(difference))


def pooled() -> pd.DataFrame:
    """Like units, more of them than a unit has sums: they share one cell; one unlike unit has its own."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(15), 4)[:-1]
    return pd.DataFrame({"y": rng.normal(size=59) + g % 3, "x": np.resize([0.0, 1.0, 3.0, 4.0], 59), "g": g})


def models() -> dict[str, Model]:
    """Each way in which a cell is evaluated: scalar, pooled, and unit by unit."""
    found = {name: at(name)[0] for name in ("slope", "crossed", "nested", "uncorrelated", "zero")}
    return found | {"pooled": build("y ~ x + (x | g)", pooled())}


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", list(models()))
@pytest.mark.parametrize("ranks", ["full", "reduced"])
def test_derivatives_equal_differences(name: str, method: str, ranks: str) -> None:
    """A wrong sign or index in the gradient or Hessian would prove a point that is no optimum."""
    model = models()[name]
    sums = Sums.of(Structure.of(model))
    sizes = [term.Z.shape[1] for term in model.random]
    rng = np.random.default_rng(2)
    roots = [rng.normal(size=(k, k)) for k in sizes]
    wanted = sizes if ranks == "full" else [max(1, k - 1) for k in sizes]
    with precision(256):
        where, x = chart([L @ L.T for L in roots], [0.0] * len(sizes), wanted)

        def point(i: int = -1, by: float = 0.0) -> tuple[balls.Point, list[arb]]:
            moved = [arb(v) + (by if j == i else 0) for j, v in enumerate(x)]
            return balls.evaluate(sums, method, where.psi(moved)), moved

        here, there = point()
        gradient, hessian = (
            here.gradient(where.first(there)),
            here.hessian(where.first(there), where.second()),
        )
        for i in range(len(x)):
            (up, up_x), (down, down_x) = point(i, STEP), point(i, -STEP)
            assert abs(float((up.value() - down.value()) / (2 * STEP) - gradient[i])) < 1e-40
            ups, downs = up.gradient(where.first(up_x)), down.gradient(where.first(down_x))
            for j in range(len(x)):
                assert abs(float((ups[j] - downs[j]) / (2 * STEP) - hessian[i, j])) < 1e-40


@pytest.mark.parametrize("name", list(models()))
def test_blups_beta_and_gamma_equal_float64(name: str) -> None:
    """An index mix-up between like units, or between blocks of a unit, would be O(1)."""
    model = models()[name]
    structure = Structure.of(model)
    criterion = Criterion(structure, "REML")
    psi = tuple(np.eye(term.Z.shape[1]) * 0.7 for term in model.random)
    float_point = criterion.at(tuple(np.linalg.cholesky(G) for G in psi))
    with precision(256):
        point = balls.evaluate(Sums.of(structure), "REML", [exact(G) for G in psi])
        assert float(point.value()) == pytest.approx(float_point.value, rel=1e-12)
        T = floats(point.sums.T) / structure.unit
        beta = T @ [-float(v) for v in point.g.entries()[:-1]] + structure.origin * np.eye(model.p)[0]
        assert beta == pytest.approx(criterion.beta(float_point), rel=1e-9)
        for (gamma, _), mine in zip(criterion.gamma(float_point), point.gamma, strict=True):
            assert [float(v) for v in mine.entries()] == pytest.approx(gamma.ravel(), rel=1e-8, abs=1e-10)
        for b, modes, c in zip(criterion.blups(float_point), point.blups(), structure.terms, strict=True):
            inner = np.array([[float(v) for v in mode.entries()] for mode in modes])
            assert inner @ c.T.T / structure.unit == pytest.approx(b, rel=1e-8, abs=1e-12)


def test_like_units_share_a_cell() -> None:
    """Ten thousand groups are in reach only because equal designs are evaluated once."""
    cells = Sums.of(Structure.of(build("y ~ x + (x | g)", pooled()))).cells
    assert sorted(len(cell.B) for cell in cells) == [1, 14]


def test_precision_is_put_back() -> None:
    """A precision left behind would change every later computation of the process."""
    before = ctx.prec
    with pytest.raises(ZeroDivisionError), precision(before + 900):
        exact(np.zeros((1, 1))).inv()
    assert ctx.prec == before
    with precision(before + 900):
        assert ctx.prec == before + 900
