"""The float64 criterion against its definition in 50-digit arithmetic, and against algebra."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pandas as pd
import pytest

from bridge.criterion import Criterion, root
from bridge.model import Model, build
from bridge.structure import Structure, components
from tests import naive


def small(seed: int = 1) -> pd.DataFrame:
    """Twenty-one rows, unbalanced, two crossed factors."""
    rng = np.random.default_rng(seed)
    g = np.repeat(list("abcde"), [2, 7, 3, 5, 4])
    return pd.DataFrame(
        {
            "y": rng.normal(3, 2, len(g)),
            "x": rng.normal(0, 1, len(g)),
            "g": g,
            "h": np.resize(list("pqr"), len(g)),
        }
    )


MODELS = {
    "slope": ("y ~ x + (x | g)", (((1.3, 0.4), (0.4, 0.9)),), 0.7),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", (((0.6,),), ((2.5,),)), 1.9),
    "nested": ("y ~ 1 + (1 | g/h)", (((0.2,),), ((1.1,),)), 0.4),
    "uncorrelated": ("y ~ x + (x || g)", (((0.5,),), ((0.3,),)), 0.8),
    "singular": ("y ~ x + (x | g)", (((1.0, 0.5), (0.5, 0.25)),), 0.6),
    "zero": ("y ~ x + (1 | g)", (((0.0,),),), 1.4),
    "huge ratio": ("y ~ x + (1 | g)", (((1e8,),),), 1.0),
}


def at(name: str, shift: float = 0.0, lift: float = 0.0) -> tuple[Model, tuple[np.ndarray, ...], float]:
    """One of the models, with x and y moved."""
    formula, psi, sigma2 = MODELS[name]
    frame = small()
    frame["x"] += shift
    frame["y"] += lift
    return build(formula, frame), tuple(np.array(G) for G in psi), sigma2


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", MODELS)
def test_value_equals_the_definition(name: str, method: str) -> None:
    """A wrong constant, determinant or quadratic form would differ in the first digits."""
    model, psi, sigma2 = at(name)
    value, point = Criterion(Structure.of(model), method).unprofiled(psi, sigma2)
    truth = naive.evaluate(model, method, psi, sigma2)["value"]
    assert abs(value - truth) <= point.bound


@pytest.mark.parametrize(("shift", "lift"), [(2000.0, 0.0), (0.0, 1e9), (2000.0, 1e6)])
def test_the_error_bound_holds_far_from_the_origin(shift: float, lift: float) -> None:
    """Without centring, y + 1e9 costs all digits (63 deviance units); the bound must not lie."""
    model, psi, sigma2 = at("slope", shift, lift)
    value, point = Criterion(Structure.of(model), "REML").unprofiled(psi, sigma2)
    truth = naive.evaluate(model, "REML", psi, sigma2)["value"]
    assert abs(value - truth) <= point.bound
    assert point.bound < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_beta_phi_and_blups_equal_the_definition(name: str) -> None:
    """What follows from theta is linear algebra; an index or scale mix-up is O(1)."""
    model, psi, sigma2 = at(name)
    criterion = Criterion(Structure.of(model), "REML")
    point = criterion.unprofiled(psi, sigma2)[1]
    truth = naive.evaluate(model, "REML", psi, sigma2)
    phi = np.array(truth["phi"].tolist(), dtype=float)
    off = criterion.beta(point) - [float(v) for v in truth["beta"]]
    assert np.all(np.abs(off) <= 1e-11 * np.sqrt(np.diag(phi)))
    se = np.sqrt(np.diag(phi))
    assert np.all(np.abs(criterion.phi(point, sigma2) - phi) <= 1e-11 * np.outer(se, se))
    for ours, theirs in zip(criterion.blups(point), truth["blups"], strict=True):
        assert np.allclose(ours, np.array(theirs, dtype=float), rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", ["slope", "crossed", "nested", "uncorrelated"])
def test_gradient_equals_differences_of_the_definition(name: str, method: str) -> None:
    """The gradient drives both the search and the Gamma test; checked on 50-digit profiles."""
    model, psi, sigma2 = at(name)
    criterion = Criterion(Structure.of(model), method)
    point = criterion.unprofiled(psi, sigma2)[1]
    step = 1e-6
    for t, (L, gradient) in enumerate(zip(point.factors, criterion.gradient(point), strict=True)):
        for i, j in zip(*np.tril_indices(len(L)), strict=True):
            values = []
            for sign in (1, -1):
                moved = [f.copy() for f in point.factors]
                moved[t][i, j] += sign * step
                values.append(_profiled(criterion, model, method, moved))
            slope = float((values[0] - values[1]) / (2 * step))
            assert gradient[i, j] == pytest.approx(slope, rel=1e-7, abs=1e-7)


def _profiled(criterion: Criterion, model: Model, method: str, factors: list[np.ndarray]) -> mp.mpf:
    """Definition, with sigma2 profiled out: the quadratic form at sigma2 = 1 gives it."""
    relative = criterion.structure.outward(tuple(L @ L.T for L in factors))
    unit2 = criterion.structure.unit**2
    psi = tuple(G * unit2 for G in relative)
    with mp.workdps(naive.DIGITS):
        nu = model.n - model.p if method == "REML" else model.n
        base = naive.evaluate(model, method, psi, 1.0)
        V = naive.covariance(model, psi, 1.0)
        X, y = mp.matrix(model.X.tolist()), mp.matrix(model.y.tolist())
        e = y - X * base["beta"]
        r2 = (e.T * (V**-1) * e)[0]
        return base["value"] - r2 + nu * (1 + mp.log(r2 / nu))


def test_floor_of_a_one_way_model_is_sigma2_over_the_harmonic_mean() -> None:
    """F = sigma2 / n~ (STATISTICS.md section 3): the variance with which one level is seen."""
    model = build("y ~ 1 + (1 | g)", small())
    criterion = Criterion(Structure.of(model), "REML")
    point = criterion.unprofiled((np.array([[0.9]]),), 0.5)[1]
    sizes = np.array([2, 7, 3, 5, 4])
    expected = criterion.sigma2(point) * np.mean(1 / sizes)
    assert criterion.floors(point)[0][0, 0] == pytest.approx(expected, rel=1e-12)


def test_gamma_is_zero_where_the_closed_form_has_its_optimum() -> None:
    """Balanced one-way REML: tau2 = (MSB - MSW) / n, sigma2 = MSW is stationary."""
    rng = np.random.default_rng(4)
    n, J = 5, 8
    g = np.repeat(np.arange(J), n)
    y = rng.normal(0, 2, J)[g] + rng.normal(size=J * n)
    means = y.reshape(J, n).mean(axis=1)
    msb = n * np.var(means, ddof=1)
    msw = np.sum((y.reshape(J, n) - means[:, None]) ** 2) / (J * (n - 1))
    criterion = Criterion(Structure.of(build("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g}))), "REML")
    value, point = criterion.unprofiled((np.array([[(msb - msw) / n]]),), msw)
    N = J * n
    closed = (N - 1) * (1 + np.log(2 * np.pi)) + (N - J) * np.log(msw) + (J - 1) * np.log(msb) + np.log(N)
    assert value == pytest.approx(closed, abs=1e-11)
    assert abs(criterion.gamma(point)[0][0][0, 0]) < 1e-11 * criterion.gamma(point)[0][1][0, 0]


def test_units_are_the_connected_rows() -> None:
    """Nested data split at the outermost factor; crossed data do not split at all."""
    frame = small()
    assert len(set(components(build("y ~ 1 + (1 | g/h)", frame)))) == 5
    assert len(set(components(build("y ~ 1 + (1 | g) + (1 | h)", frame)))) == 1


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_root_is_a_square_root_of_any_rank(rank: int) -> None:
    """A singular covariance has a factor too."""
    half = np.random.default_rng(rank).normal(size=(3, rank))
    G = half @ half.T
    L = root(G)
    assert np.allclose(L @ L.T, G, atol=1e-13)
    assert np.all(np.triu(L, 1) == 0)
