"""The numpy engine against glmm and lme4, in one run; ratios of CPU times are held, ``pytest -s`` shows them.

Bounds have room for a machine with other work: docs/speed.md has what was measured.
"""

from __future__ import annotations

import pytest

from bridge.engines.numpy import Numpy
from bridge.model import build
from tests.benchmarks.race import grouped, insteval, race, runners

DAYS = "Reaction ~ Days + (Days | Subject)"
CROSSED = "y ~ service + (1 | s) + (1 | d) + (1 | dept)"


def ratio(times: dict[str, float], other: str) -> float:
    """The numpy engine's time over another's."""
    share = times["numpy"] / times[other]
    print(
        ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in times.items()), f"ratio {share:.2f}"
    )
    return share


@pytest.mark.needs_r
def test_sleepstudy_against_lme4(sleepstudy):
    """The engine, its formula and its design take more than an eighth of the time of lmer()."""
    contestants = runners(DAYS, sleepstudy, "REML")
    assert contestants["numpy"]() == pytest.approx(contestants["lme4"](), abs=1e-5)
    assert ratio(race(contestants, 30), "lme4") <= 1 / 8


def test_sleepstudy_against_glmm(sleepstudy):
    """The fit alone takes half as long again as compiled glmm, which parses and codes besides."""
    pytest.importorskip("glmm")
    model = build(DAYS, sleepstudy)
    contestants = runners(DAYS, sleepstudy, "REML")
    contestants["numpy"] = lambda: Numpy().fit(model, "REML", "default").loglik
    assert contestants["numpy"]() == pytest.approx(contestants["glmm"](), abs=1e-5)
    assert ratio(race(contestants, 50), "glmm") <= 1.5


@pytest.mark.slow
def test_insteval_against_glmm():
    """Crossed factors of 2972, 1128 and 14 levels take longer than in glmm."""
    pytest.importorskip("glmm")
    pytest.importorskip("rpy2")
    contestants = runners(CROSSED, insteval(), "ML")
    del contestants["lme4"]
    assert -2 * contestants["numpy"]() == pytest.approx(237721.76877449, rel=1e-13)
    assert ratio(race(contestants, 3), "glmm") <= 1


@pytest.mark.slow
@pytest.mark.needs_r
def test_insteval_against_lme4():
    """Crossed factors of 2972, 1128 and 14 levels take more than a tenth of the time of lmer()."""
    contestants = runners(CROSSED, insteval(), "ML")
    contestants.pop("glmm", None)
    assert ratio(race(contestants, 1), "lme4") <= 0.1


@pytest.mark.slow
@pytest.mark.needs_r
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 + x | g)"])
def test_many_groups_against_lme4(formula):
    """1e5 groups take more than a fifth of the time of lmer()."""
    contestants = runners(formula, grouped(400_000, 100_000), "REML")
    assert ratio(race(contestants, 1), "lme4") <= 1 / 5
