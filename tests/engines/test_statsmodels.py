"""The adapters of statsmodels: translation by label, every form of MixedLM, and its failures as they are."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bridge import data
from bridge.engines.statsmodels import Ols, Statsmodels
from bridge.model import build
from bridge.resources import find


def case(name):
    """Data of a bundled case."""
    return data.normalise(data.read(next(find("cases").glob(f"{name}/data.parquet"))))


def variances(fit):
    """ran_pars by (group, term)."""
    return {(row.group, row.term): row.estimate for row in fit.select("ran_pars")}


# REML logLik and variances: certified (sleepstudy), or by lme4 1.1-31 with bobyqa and rhoend 1e-10
TRUTH = {
    "correlated": (
        "sleepstudy",
        "Reaction ~ Days + (Days | Subject)",
        -871.814135979,
        {
            ("Subject", "var__(Intercept)"): 612.089938663,
            ("Subject", "cov__(Intercept).Days"): 9.604333317,
            ("Subject", "var__Days"): 35.071660498,
            ("Residual", "var__Observation"): 654.941027072,
        },
    ),
    "crossed": (
        "penicillin",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        -165.430294496,
        {
            ("plate", "var__(Intercept)"): 0.716908340186,
            ("sample", "var__(Intercept)"): 3.730919014113,
            ("Residual", "var__Observation"): 0.302415445058,
        },
    ),
    "nested": (
        "pastes",
        "strength ~ 1 + (1 | batch/cask)",
        -123.495372927,
        {
            ("cask:batch", "var__(Intercept)"): 8.433666581254,
            ("batch", "var__(Intercept)"): 1.657309129511,
            ("Residual", "var__Observation"): 0.677999984533,
        },
    ),
}


@pytest.mark.parametrize("profile", ["default", "tight"])
@pytest.mark.parametrize("form", TRUTH)
def test_forms(form, profile):
    """A form of MixedLM that is another model, or variances on another scale or under another name."""
    name, formula, loglik, wanted = TRUTH[form]
    fit = Statsmodels().fit(build(formula, case(name)), "REML", profile)
    assert fit.status == "ok", fit.reason
    assert fit.converged is True
    assert fit.loglik == pytest.approx(loglik, abs=1e-6)
    found = variances(fit)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=2e-3 if profile == "default" else 1e-5), key
    assert fit.sigma == pytest.approx(math.sqrt(wanted["Residual", "var__Observation"]), rel=1e-4)


def crossed(seed=4):
    """Twenty-four rows whose labels sort otherwise than they appear; labels hold : and brackets."""
    rng = np.random.default_rng(seed)
    g, h = np.arange(24) % 6, np.arange(24) // 8
    labels = np.array(["10", "9", "b:[1]", "a", "1", "A]"])
    frame = pd.DataFrame({"x": rng.normal(size=24), "g": labels[g], "h": np.array(["z", "m", "b"])[h]})
    frame["half"] = np.where(np.arange(24) % 4 < 2, "u", "v")
    frame["y"] = (
        1 + 2 * rng.normal(size=6)[g] * (1 + frame.x) + 2 * rng.normal(size=3)[h] + rng.normal(size=24) / 2
    )
    return frame


def unbalanced():
    """STATISTICS.md section 4: ten clusters of 4 to 150, seed 89."""
    rng = np.random.default_rng(89)
    cluster = np.repeat(np.arange(10), [4, 150, 120, 8, 100, 5, 130, 140, 110, 6])
    x = cluster % 2
    y = 1 + 0.5 * x + rng.normal(0, 0.6, 10)[cluster] + rng.normal(0, 2, len(x))
    return pd.DataFrame({"y": y, "x": x.astype(float), "g": [f"c{c}" for c in cluster]})


def test_infinite_likelihood_is_carried():
    """The +Inf that statsmodels 0.15.0 claims to have converged to is hidden, mended or refused."""
    model = build("y ~ x + (1 | g)", unbalanced())
    fit = Statsmodels().fit(model, "REML", "default")
    assert (fit.status, fit.loglik, fit.converged) == ("ok", math.inf, True)
    assert [row.estimate for row in fit.select("fixed")] == pytest.approx([17.4, -17.3], abs=0.1)
    assert any("ConvergenceWarning" in said for said in fit.messages)


def test_tight_is_finite():
    """The best of several optimisers is the infinite one, or not the optimum (1.448, -.024)."""
    fit = Statsmodels().fit(build("y ~ x + (1 | g)", unbalanced()), "REML", "tight")
    assert math.isfinite(fit.loglik)
    assert [row.estimate for row in fit.select("fixed")] == pytest.approx([1.448, -0.024], abs=1e-3)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("y ~ x + (1 + x | g) + (1 | h)", "outermost of nested factors"),
        ("y ~ 1 + (1 + x | h:half) + (1 | h)", "((Intercept), x | h:half) is not"),
        ("y ~ 1 + (1 + x + I(x^2) | h:half) + (1 | h)", "((Intercept), x, ... | h:half) is not"),
    ],
)
def test_unsupported(formula, reason):
    """A model that MixedLM cannot express is fitted as another, without a word."""
    model = build(formula, crossed())
    assert reason in str(Statsmodels().supports(model, "REML"))
    assert Statsmodels().fit(model, "REML", "default").status == "unsupported"


def test_exception_is_a_refusal():
    """An exception of statsmodels escapes, or its text is lost."""
    frame = crossed()
    model = build("y ~ x + double + (1 | g)", frame.assign(double=2 * frame.x))
    fit = Statsmodels().fit(model, "REML", "default")
    assert fit.status == "refused"
    assert "LinAlgError" in fit.reason


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_ols(method):
    """Not the textbook least squares: (X'X)^-1 X'y, ssr / (n - p) or ssr / n."""
    frame = case("sleepstudy")
    model = build("Reaction ~ Days + (Days | Subject)", frame)
    fit = Ols().fit(model, method, "default")
    x, y, n = frame.Days.to_numpy(float), frame.Reaction.to_numpy(float), 180
    sxx = ((x - x.mean()) ** 2).sum()
    slope = ((x - x.mean()) * y).sum() / sxx
    ssr = ((y - y.mean() - slope * (x - x.mean())) ** 2).sum()
    sigma2 = ssr / (n - 2 if method == "REML" else n)
    intercept, days = fit.select("fixed")
    assert (intercept.term, days.term) == ("(Intercept)", "Days")
    assert days.estimate == pytest.approx(slope, rel=1e-10)
    assert days.std_error == pytest.approx(math.sqrt(sigma2 / sxx), rel=1e-10)
    assert intercept.std_error == pytest.approx(math.sqrt(sigma2 * (1 / n + x.mean() ** 2 / sxx)), rel=1e-10)
    assert variances(fit) == {("Residual", "var__Observation"): pytest.approx(sigma2, rel=1e-10)}
    if method == "ML":
        assert fit.loglik == pytest.approx(-n / 2 * (1 + math.log(2 * math.pi * ssr / n)), rel=1e-12)
    else:
        assert math.isnan(fit.loglik)


def test_version_starts_nothing():
    """Asking for versions imports statsmodels or scipy."""
    script = (
        "import sys; from bridge.engines.statsmodels import Ols, Statsmodels;"
        "assert Ols().version() == Statsmodels().version();"
        "print(sorted(Ols().version()), [m for m in ('statsmodels', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['numpy', 'scipy', 'statsmodels'] []"
