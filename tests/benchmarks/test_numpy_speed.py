"""The numpy engine against lme4, in one run: formula, design and fit of sleepstudy by REML.

Times are printed (``pytest -s``) and only their ratio is held: at most half of lme4's.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

import pytest

from bridge.engines.numpy import Numpy
from bridge.model import build

FORMULA = "Reaction ~ Days + (Days | Subject)"
ROUNDS = 30


@pytest.mark.needs_r
def test_half_of_lme4(sleepstudy):
    """The engine, its formula and its design take more than half of the time of lmer()."""
    import rpy2.robjects as ro

    ro.globalenv["Reaction"] = ro.FloatVector(sleepstudy.Reaction.to_numpy(float))
    ro.globalenv["Days"] = ro.FloatVector(sleepstudy.Days.to_numpy(float))
    ro.globalenv["Subject"] = ro.StrVector(sleepstudy.Subject.astype(str).tolist())
    ro.r("d <- data.frame(Reaction, Days, Subject = factor(Subject)); suppressMessages(library(lme4))")
    lmer = ro.r(f"function() c(logLik(lmer({FORMULA}, d)))")

    def ours() -> float:
        return Numpy().fit(build(FORMULA, sleepstudy), "REML", "default").loglik

    assert ours() == pytest.approx(lmer()[0], abs=1e-5)
    times: dict[str, list[float]] = {"numpy": [], "lme4": []}
    for _ in range(ROUNDS):
        for name, run in (("numpy", ours), ("lme4", lmer)):
            start = perf_counter()
            run()
            times[name].append(perf_counter() - start)
    middle = {name: 1e3 * median(values) for name, values in times.items()}
    ratio = middle["numpy"] / middle["lme4"]
    print(f"numpy {middle['numpy']:.1f} ms, lme4 {middle['lme4']:.1f} ms, ratio {ratio:.2f}")
    assert ratio <= 0.5
