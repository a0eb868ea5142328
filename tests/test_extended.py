"""The criterion in ball arithmetic against the dense definition."""

from __future__ import annotations

import numpy as np
import pytest

from bridge import extended
from bridge.model import build
from tests import naive
from tests.test_criterion import MODELS, at, small


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", MODELS)
def test_ball_contains_the_definition(name: str, method: str) -> None:
    """A ball that misses the true value would settle a gap wrongly."""
    model, psi, sigma2 = at(name)
    ball = extended.criterion(model, method, psi, sigma2)
    truth = naive.evaluate(model, method, psi, sigma2)["value"]
    assert abs(float(ball.mid()) - float(truth)) < 1e-13 * abs(float(truth)) + 1e-15
    assert float(ball.rad()) < 1e-35


def test_a_gap_below_float64_is_seen() -> None:
    """1e-14 deviance units between two covariances vanish in float64 and must not here."""
    model = build("y ~ x + (1 | g)", small())
    low = extended.criterion(model, "REML", (np.array([[1.0]]),), 1.0)
    high = extended.criterion(model, "REML", (np.array([[1.0 + 2**-50]]),), 1.0)
    difference = high - low
    assert 0 < abs(float(difference)) < 1e-13
    assert float(difference.rad()) < 1e-6 * abs(float(difference))
