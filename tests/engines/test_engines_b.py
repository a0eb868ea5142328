"""What only kamino-lme, interlace-lme and gpboost need: their forms, their weights, their refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge import engines
from bridge.engines import interlace
from bridge.engines.numpy import Numpy
from bridge.errors import UnavailableError
from bridge.model import build

MODULES = {"kamino-lme": "kamino", "interlace-lme": "interlace", "gpboost": "gpboost"}
every = pytest.mark.parametrize("name", MODULES)


def engine(name):
    """The adapter; skipped if its software is not installed."""
    pytest.importorskip(MODULES[name])
    return engines.get(name)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Seven g crossed with four h; labels out of order, non-ASCII, with gpboost's own mark of no groups."""
    rng = np.random.default_rng(7)
    g, h, row = (a.ravel() for a in np.indices((7, 4, 5)))
    x = rng.normal(size=g.size)
    y = 1 + x + rng.normal(size=7)[g] + rng.normal(size=7)[g] * x + rng.normal(size=4)[h]
    return pd.DataFrame(
        {
            "y": y + rng.normal(size=28)[g * 4 + h] + rng.normal(scale=0.6, size=g.size),
            "x": x,
            "f": pd.Categorical.from_codes(row % 3, ["mid", "lo", "[T.hi]"]),
            "o": pd.Categorical.from_codes(row % 3, ["a", "b", "c"], ordered=True),
            "g": np.array(["10", "9", "1", "-999", "é b", "a", "A"])[g],
            "h": pd.Categorical.from_codes(h, ["z", "y", "x", "w"]),
            "w": rng.uniform(0.2, 5, size=g.size),
            "k": rng.normal(size=g.size),
        }
    )


RIGHT = [
    ("kamino-lme", "y ~ x + (0 + x | g) + (1 | g)"),
    ("kamino-lme", "y ~ x + (1 | g) + (1 | h) + (1 | h:g)"),
    ("kamino-lme", "y ~ x * f + (1 + x | g) + (1 | h)"),
    ("kamino-lme", "y ~ f:x + x + f + (1 | g) + (1 | h)"),
    ("interlace-lme", "y ~ x + (0 + x | g) + (1 | g)"),
    ("interlace-lme", "y ~ f * x + (1 | h:g)"),
    ("interlace-lme", "y ~ 0 + f + (1 | g)"),
    ("gpboost", "y ~ x + (0 + x | g) + (1 | h)"),
    ("gpboost", "y ~ o + (0 + x | h) + (1 | g) + (1 | h)"),
    ("gpboost", "y ~ x + f + (1 | h:g) + (1 | g)"),
]


@pytest.mark.parametrize(("name", "formula"), RIGHT)
def test_forms_of_its_own(name, formula, table):
    """A term that it takes in another order, or by another name, comes back on another's label."""
    order = np.random.default_rng(1).permutation(len(table))
    model = build(formula, table.iloc[order].reset_index(drop=True))
    before = model.data.copy()
    fit = engine(name).fit(model, "ML", "tight")
    right = Numpy().fit(model, "ML", "default")
    assert (fit.status, fit.n) == ("ok", model.n)
    pd.testing.assert_frame_equal(model.data, before)
    theirs, ours = ({(r.effect, r.group, r.level, r.term): r.estimate for r in f.rows} for f in (fit, right))
    assert theirs.keys() == ours.keys()
    # where they stop: 1.6e-6
    np.testing.assert_allclose(
        [theirs[key] for key in ours], list(ours.values()), rtol=1e-5, atol=1e-5
    )  # 1.6e-6: where they stop
    assert fit.loglik == pytest.approx(right.loglik, abs=1e-6)


@every
def test_weights_and_offset(name, table):
    """Weights are likelihood weights, or left out; interlace's known fault is mended by us, or is gone."""
    model = build("y ~ x + (1 | g)", table, weights="w", offset="k")
    fit = engine(name).fit(model, "ML", "tight")
    G, sigma2 = (row.estimate for row in fit.select("ran_pars"))
    same = model.random[0].index[:, None] == model.random[0].index
    V = G * same + np.diag(sigma2 / table["w"])
    r = (table["y"] - table["k"]).to_numpy()
    beta = np.linalg.solve(model.X.T @ np.linalg.solve(V, model.X), model.X.T @ np.linalg.solve(V, r))
    np.testing.assert_allclose([row.estimate for row in fit.select("fixed")], beta, rtol=1e-6)
    e = r - model.X @ beta
    loglik = -(model.n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e)) / 2
    lost = np.log(table["w"]).sum() / 2 if name == "interlace-lme" else 0
    assert fit.loglik == pytest.approx(loglik - lost, abs=1e-6)


UNSUPPORTED = [
    ("kamino-lme", "y ~ 0 + x + (1 | g)", "intercept"),
    ("kamino-lme", "y ~ x", "random term"),
    ("kamino-lme", "y ~ o + (1 | g)", "ordered"),
    ("kamino-lme", "y ~ x:k + (1 | g)", "main effects"),
    ("kamino-lme", "y ~ x * k * f + (1 | g)", "two variables"),
    ("kamino-lme", "y ~ 1 + (x | g)", "fixed effect"),
    ("kamino-lme", "y ~ x + k + (x + k | g)", "one random slope"),
    ("kamino-lme", "y ~ x + (1 | g:h)", "interaction of two"),
    ("kamino-lme", "y ~ x + (x || g) + (1 | h)", r"only beside \(1 \| g\)"),
    ("interlace-lme", "y ~ x", "random term"),
    ("interlace-lme", "y ~ o + (1 | g)", "ordered"),
    ("interlace-lme", "y ~ f + (f | g)", "numeric columns"),
    ("interlace-lme", "y ~ x + k + (x | g) + (0 + k | g)", "one term"),
    ("gpboost", "y ~ x", "random term"),
    ("gpboost", "y ~ x + (x | g)", r"\|\| g"),
]


@pytest.mark.parametrize(("name", "formula", "words"), UNSUPPORTED)
def test_what_it_cannot_express(name, formula, words, table):
    """A model outside its formulas would be blamed on it as a refusal, in its parser's words."""
    with pytest.raises(AssertionError, match=words):
        assert engines.get(name).supports(build(formula, table), "ML") is None


def test_gpboost_has_no_reml(table):
    """ML estimates would be judged as REML."""
    reason = engines.get("gpboost").supports(build("y ~ x + (1 | g)", table), "REML")
    assert reason == "gpboost fits by ML only; it has no REML"


def test_kamino_in_its_own_words(table):
    """It may know more formulas by now than we say: then `supports` is to be mended."""
    kamino = pytest.importorskip("kamino")
    plain = table.assign(f=table["f"].astype(str), h=table["h"].astype(str))
    for formula in ("y ~ 0 + x + (1 | g)", "y ~ 1 + x:k + (1 | g)", "y ~ 1 + (1 + x | g)"):
        with pytest.raises(Exception, match="accepts only"):
            kamino.lmer(formula, plain)


def test_interlace_without_its_extra(table, monkeypatch):
    """Its careful optimiser is not installed, and that would be its own refusal of the model."""
    model = build("y ~ x + (1 | g)", table)
    adapter = engine("interlace-lme")
    monkeypatch.setattr(interlace, "BOBYQA", "no-such-package")
    assert adapter.fit(model, "REML", "default").status == "ok"
    with pytest.raises(UnavailableError, match="no-such-package is not installed; pip install"):
        adapter.fit(model, "REML", "tight")
