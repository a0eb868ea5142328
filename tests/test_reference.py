"""The polished reference against certified values, closed forms and known pairs of optima."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.case import Case
from bridge.model import build
from bridge.newton import descend, newton
from bridge.reference import Reference, distance, optimum
from bridge.resources import find


def case(name: str) -> Case:
    """A bundled case."""
    return Case.load(find("cases") / name)


def test_sleepstudy_has_its_certified_optimum() -> None:
    """Sixty-digit values; a search that stops early would lose the last of them."""
    reference = Reference.polished(case("sleepstudy").model(), "REML")
    G = reference.best.psi[0]
    certified = (612.0899386625253, 9.604333316744105, 35.07166049831739)
    assert (G[0, 0], G[1, 0], G[1, 1]) == pytest.approx(certified, rel=1e-12)
    assert reference.best.sigma2 == pytest.approx(654.9410270722988, rel=1e-13)
    assert reference.loglik == pytest.approx(-871.8141359792454, abs=1e-11)
    assert reference.theta == pytest.approx(
        (0.9667329518648032, 0.01516905427048472, 0.2309095947604833), rel=1e-12
    )
    assert len(reference.optima) == 1
    assert not reference.singular


def test_a_year_that_is_not_centred_changes_nothing() -> None:
    """Days + 2000 defeats every R default by 43 deviance units; the reference must not move."""
    plain = Reference.polished(case("sleepstudy").model(), "REML")
    moved = Reference.polished(case("sleepstudy-days2000").model(), "REML")
    assert moved.best.value == pytest.approx(plain.best.value, abs=1e-10)
    assert moved.best.psi[0][1, 1] == pytest.approx(plain.best.psi[0][1, 1], rel=1e-12)


def test_both_optima_of_the_bimodal_data_are_found() -> None:
    """Minima at theta = 0 (-83.53490) and 34.6 (-78.48623); the lower one is the reference."""
    reference = Reference.polished(case("bimodal").model(), "REML")
    assert [o.value for o in reference.optima] == pytest.approx([-83.53490, -78.48623], abs=5e-6)
    other = reference.optima[1]
    assert np.sqrt(other.psi[0][0, 0] / other.sigma2) == pytest.approx(34.6, abs=0.05)
    assert reference.singular


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("between", [0.0, 3.0])
def test_balanced_one_way_closed_form(between: float, method: str) -> None:
    """Interior and boundary (STATISTICS.md section 1); on the boundary the variance is exactly zero."""
    rng = np.random.default_rng(11)
    J, n = 7, 6
    g = np.repeat(np.arange(J), n)
    y = between * rng.normal(size=J)[g] + rng.normal(size=J * n)
    if between == 0:
        y -= pd.Series(y).groupby(g).transform("mean").to_numpy() * 0.9
    cells = y.reshape(J, n)
    ssb = n * np.sum((cells.mean(axis=1) - y.mean()) ** 2)
    ssw = np.sum((cells - cells.mean(axis=1, keepdims=True)) ** 2)
    msw, levels, nu = ssw / (J * (n - 1)), (J - 1 if method == "REML" else J), J * n - (method == "REML")
    msb = ssb / levels
    tau2, sigma2 = ((msb - msw) / n, msw) if msb >= msw else (0.0, (ssb + ssw) / nu)
    best = Reference.polished(build("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g})), method).best
    assert best.sigma2 == pytest.approx(sigma2, rel=1e-12)
    assert best.psi[0][0, 0] == pytest.approx(tau2, rel=1e-11, abs=0)


def test_a_saddle_on_the_boundary_is_left() -> None:
    """Zero slope variance in sleepstudy || is stationary and 43 worse; the Gamma test must leave it."""
    criterion = Reference.polished(case("sleepstudy-uncorrelated").model(), "REML").criterion
    start = criterion.at((np.array([[1.0]]), np.array([[0.0]])))
    stuck, _ = newton(criterion, start)
    left, _ = descend(criterion, start.factors)
    assert stuck.factors[1][0, 0] == 0
    assert stuck.value - left.value == pytest.approx(43, abs=1)


def test_distance_does_not_depend_on_coding_or_units() -> None:
    """The largest eigenvalue of (G + F)^-1 dG is the same after any change T of the coefficients."""
    rng = np.random.default_rng(3)
    A, B, F = ((lambda h: h @ h.T)(rng.normal(size=(3, 3))) for _ in range(3))
    T = rng.normal(size=(3, 3)) * [[1e-3], [1.0], [1e4]]
    plain = distance(A, B, F)
    assert distance(T @ A @ T.T, T @ B @ T.T, T @ F @ T.T) == pytest.approx(plain, rel=1e-6)
    assert distance(B, B, F) == 0


def test_a_lower_optimum_found_later_becomes_the_reference() -> None:
    """A reference that keeps its first answer would call the better engine wrong."""
    full = Reference.polished(case("bimodal").model(), "REML")
    blind = Reference(full.kind, full.criterion, (full.optima[1],))
    zero = optimum(full.criterion, (full.point, 0.0))
    healed = blind.with_fits([(zero.psi, zero.sigma2)])
    assert healed.best.value == pytest.approx(full.best.value, abs=1e-9)
    assert blind.with_fits([(full.optima[1].psi, full.optima[1].sigma2)]) is blind


def test_json_keeps_every_bit() -> None:
    """A stored reference that lost digits would judge differently the second time."""
    one = case("sleepstudy")
    reference = Reference.polished(one.model(), "ML")
    again = Reference.from_json(reference.to_json(), one.model(), "ML")
    assert again.best.value == reference.best.value
    assert np.array_equal(again.best.psi[0], reference.best.psi[0])
    assert again.best.sigma2 == reference.best.sigma2
