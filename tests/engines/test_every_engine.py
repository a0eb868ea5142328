"""One body for every engine with random effects, R and Python, each fit made in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bridge import data, engines
from bridge.engines.attempt import versions
from bridge.errors import UnavailableError
from bridge.model import build
from bridge.process import Worker
from bridge.run import Task

HERE = Path(__file__).parent
ENGINES = [name for name in engines.BUILT_IN if engines.get(name).pooling == "partial"]
PYTHON = [name for name in ENGINES if engines.get(name).language == "Python"]
every = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in PYTHON else pytest.mark.needs_r) for n in ENGINES]
)

FORMULAS = {
    "intercept": "y ~ x + (1 | g)",
    "correlated": "y ~ x + (x | g)",
    "uncorrelated": "y ~ x + (x || g)",
    "slope first": "y ~ x + (0 + x | g) + (1 | g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "crossed, one with a slope": "y ~ x + (x | g) + (1 | h)",
    "crossed, uncorrelated": "y ~ x + (x || g) + (1 | h)",
    "nested": "y ~ x + (1 | h/g)",
    "interaction": "y ~ x + (1 | g:h)",
    "implicitly nested": "y ~ x + (1 | h) + (1 | k)",
    "factors": "y ~ x * f + (1 | g)",
    "no intercept": "y ~ 0 + f + (1 | g)",
    "ordered factor": "y ~ o + (1 | g)",
    "factor slope": "y ~ x + f + (0 + f | g)",
    "factor, uncorrelated": "y ~ f + (1 | g) + (0 + f | h)",
    "integer groups": "y ~ x + (1 | number)",
}

INDEPENDENT = {"uncorrelated", "slope first", "crossed, uncorrelated"}
FACTORS = {"factor slope", "factor, uncorrelated"}
UNSUPPORTED = {
    "statsmodels": {"crossed, one with a slope", "factor, uncorrelated"},
    "glmm": {*INDEPENDENT, *FACTORS},
    "mixedlm-rs": {
        *INDEPENDENT,
        *("crossed", "crossed, one with a slope", "nested", "implicitly nested", "factor, uncorrelated"),
    },
    "kamino-lme": {
        *FACTORS,
        *("crossed, uncorrelated", "interaction", "no intercept", "ordered factor"),
    },
    "interlace-lme": {*FACTORS, "ordered factor"},
    "gpboost": {*FACTORS, "correlated", "crossed, one with a slope"},
}
METHODS = {"gpboost": ["ML"], "pbkrtest": ["REML"]}
PROFILES = {"gpboost": "tight"}  # by default its log-determinant of crossed effects is drawn at random
SLACK = {"glmmTMB": 1e-3}  # under ML it optimises beta with theta, and does not profile it


def fits() -> Iterator[object]:
    """Engine, shape and method; ML on a few shapes only, and the engines that are lme4's fit, too."""
    few = ["correlated", "nested", "factors"]
    for name in ENGINES:
        for shape in few if name in ("lmerTest", "pbkrtest") else FORMULAS:
            for method in METHODS.get(name, ["REML", "ML"] if shape in few else ["REML"]):
                marks = () if name in PYTHON else pytest.mark.needs_r
                yield pytest.param(name, shape, method, id=f"{name}-{shape}-{method}", marks=marks)


class Bench:
    """A worker, and each engine's fits of a frame under watch."""

    def __init__(self, worker: Worker, frame: pd.DataFrame) -> None:
        self.worker, self.frame = worker, data.normalise(frame)

    def fit(self, name, formula, method="REML", profile="default", order=None, **known):
        """The model, and the engine's Fit of it, rows reordered if asked; skipped if it is not here."""
        try:
            engines.versions(name)
        except UnavailableError as error:
            pytest.skip(str(error))
        frame = self.frame if order is None else self.frame.iloc[order].reset_index(drop=True)
        content = f"frame {'' if order is None else order[:9].tolist()}"
        task = Task("frame", frame, content, formula, method, f"watched:{name}", profile, **known)
        return build(formula, frame, **known), self.worker.fit(task)


@pytest.fixture
def bench(worker: Worker, frame: pd.DataFrame) -> Bench:
    """What the tests fit on."""
    return Bench(worker, frame)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One worker process; R and Python engines take turns in it."""
    with pytest.MonkeyPatch.context() as patch, Worker() as worker:
        patch.syspath_prepend(str(HERE))
        yield worker


def covariances(model, fit):
    """G of each term and sigma2, from the rows alone."""
    rows = {(row.group, row.term): row.estimate for row in fit.select("ran_pars")}
    assert len(rows) == len(fit.select("ran_pars"))
    Gs = []
    for term in model.random:
        k = len(term.names)
        G = np.empty((k, k))
        for i, a in enumerate(term.names):
            G[i, i] = rows.pop((term.group, f"var__{a}"))
            for j in range(i + 1, k):
                G[i, j] = G[j, i] = rows.pop((term.group, f"cov__{a}.{term.names[j]}"))
        Gs.append(G)
    sigma2 = rows.pop(("Residual", "var__Observation"))
    assert rows == {}
    return Gs, sigma2


def implied(model, fit, method):
    """By dense algebra at the fit's own (G, sigma2): beta, Phi, each BLUP, and the log-likelihood."""
    Gs, sigma2 = covariances(model, fit)
    n, V, parts = model.n, sigma2 * np.eye(model.n), {}
    for term, G in zip(model.random, Gs, strict=True):
        for level, label in enumerate(term.levels):
            Z = np.where((term.index == level)[:, None], term.Z, 0)
            V += Z @ G @ Z.T
            parts[term.group, label, term.names] = G @ Z.T
    X, W = model.X, np.linalg.inv(V)
    Phi = np.linalg.inv(X.T @ W @ X)
    beta = Phi @ X.T @ W @ model.y
    e = model.y - X @ beta
    b = {
        (group, label, name): value
        for (group, label, names), GZ in parts.items()
        for name, value in zip(names, GZ @ W @ e, strict=True)
    }
    value = np.linalg.slogdet(V)[1] + e @ W @ e + n * np.log(2 * np.pi)
    if method == "REML":
        value += -np.linalg.slogdet(Phi)[1] - model.p * np.log(2 * np.pi)
    return beta, Phi, b, -value / 2


@pytest.mark.parametrize(("name", "shape", "method"), list(fits()))
def test_rows_are_complete_and_belong_together(name, shape, method, bench):
    """A level, a term or a covariance is missing, misnamed or on another's label, or data are changed."""
    model, fit = bench.fit(name, FORMULAS[shape], method, PROFILES.get(name, "default"))
    if shape in UNSUPPORTED.get(name, ()):
        assert (fit.status, fit.rows) == ("unsupported", ())
        assert len(fit.reason.split()) > 4
        return
    assert (fit.status, fit.reason, fit.n) == ("ok", "", model.n)
    beta, Phi, b, loglik = implied(model, fit, method)
    fixed = {row.term: row for row in fit.select("fixed")}
    assert sorted(fixed) == sorted(model.names)
    std_error = np.sqrt(np.diag(Phi))
    slack = SLACK.get(name, 1e-5)
    off = np.array([fixed[term].estimate for term in model.names]) - beta
    assert np.abs(off / std_error).max() < slack
    ours = np.array([fixed[term].std_error for term in model.names])
    if engines.get(name).std_error == "phi":
        np.testing.assert_allclose(ours, std_error, rtol=1e-5)
    if engines.get(name).std_error == "joint":
        assert np.all(ours > std_error * (1 - 1e-5))
    found = {(row.group, row.level, row.term): row.estimate for row in fit.select("ran_vals")}
    assert len(found) == len(fit.select("ran_vals"))
    assert found.keys() == b.keys()
    np.testing.assert_allclose([found[key] for key in b], list(b.values()), atol=slack)
    assert fit.loglik == pytest.approx(loglik, abs=1e-5)
    assert fit.sigma**2 == pytest.approx(covariances(model, fit)[1])
    assert all(row.std_error is None for row in fit.rows if row.effect != "fixed")


@every
def test_order_of_rows_does_not_matter(name, bench):
    """A BLUP goes by position: with the rows shuffled it is another level's."""
    order = np.random.default_rng(1).permutation(len(bench.frame))
    method = "ML" if name == "gpboost" else "REML"
    one, other = (
        {
            (row.group, row.level, row.term): row.estimate
            for row in bench.fit(name, "y ~ x + (1 | g)", method, order=o)[1].select("ran_vals")
        }
        for o in (None, order)
    )
    assert one == pytest.approx(other, abs=1e-3)
    assert len({round(value, 6) for value in one.values()}) == len(one) == 9


@pytest.mark.parametrize("role", ["weights", "offset"])
@every
def test_weights_and_offset_are_left_alone(name, role, bench):
    """The next engine would be given other weights, or another offset, than this one."""
    method = METHODS.get(name, ["REML"])[0]
    model, fit = bench.fit(name, "y ~ x + (1 | g)", method, **{role: "w"})
    assert fit.reason == (engines.get(name).supports(model, method) or "")
    assert fit.status == ("unsupported" if fit.reason else "ok")


@pytest.mark.parametrize("name", [name for name in PYTHON if name != "numpy"])
def test_missing_software(name, monkeypatch):
    """Without its package an engine ends in a traceback, not in how to get it."""

    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("bridge.engines.attempt.version", absent)
    versions.cache_clear()
    with pytest.raises(UnavailableError, match=rf"engine {name}: .* is not installed; pip install"):
        engines.get(name).version()


def test_a_watched_engine_that_writes_is_seen(monkeypatch, frame):
    """The watch sees nothing, and with it no test that data are left alone."""
    from tests.engines.watched import Watched

    class Writes:
        def fit(self, model, method, profile):
            model.data.loc[0, "v0"] = 0.0

    watched = Watched("numpy")
    watched._engine = Writes()
    with pytest.raises(AssertionError, match="v0"):
        watched.fit(build("y ~ x + (1 | g)", frame), "REML", "default")
