"""The digits that data allow, against what is known of NIST's sets and of a mean."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bridge.allowed import allowed
from bridge.case import Case
from bridge.certificate import covariances
from bridge.certify import certify
from bridge.model import build
from bridge.reference import Reference
from bridge.resources import find


@pytest.mark.parametrize(("name", "digits"), [("nist-smls01", 15), ("nist-smls04", 10), ("nist-smls07", 4)])
def test_constant_leading_digits_cost_what_they_must(name: str, digits: int) -> None:
    """NIST's sets have 0, 6 and 12 constant leading digits: of 16 digits about 10 and 4 are left."""
    model = Case.load(find("cases") / name).model()
    certificate = certify(model, "REML")
    assert certificate.allowed["sigma2"] == pytest.approx(digits, abs=0.3)  # 15.0, 10.0, 4.0
    assert certificate.allowed["beta"] > 13
    assert certificate.allowed == allowed(model, "REML", *covariances(certificate, model))


def test_a_sample_variance_moves_as_its_derivative_says() -> None:
    """Without groups sigma2 = SS / (n - 1): its change is 2 (y - mean)'dy / SS."""
    rng = np.random.default_rng(2)
    y = 2.0**40 + rng.normal(size=50)
    model = build("y ~ 1", pd.DataFrame({"y": y}))
    best = Reference.polished(model, "REML").best
    ulp = np.spacing(2.0**40)
    away = np.abs(y - y.mean())
    spread = 2 * ulp * np.sqrt(np.sum(away**2)) / np.sum(away**2) / 2
    digits = allowed(model, "REML", best.psi, best.sigma2)["sigma2"]
    # the largest of three draws: .3 to 3 sds in 98 of 100; .15 digits off here
    assert digits == pytest.approx(-math.log10(spread), abs=0.5)


def test_indicators_are_exact() -> None:
    """A column of 0 and 1 is no measurement: moving it would cost digits that nothing costs."""
    frame = pd.DataFrame(
        {"y": [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0], "a": list("ppqqppqq"), "g": list("uvuvwxwx")}
    )
    model = build("y ~ a + (1 | g)", frame)
    best = Reference.polished(model, "REML").best
    assert min(allowed(model, "REML", best.psi, best.sigma2).values()) > 14
