"""The R engines, held to closed forms, a certificate and the normal equations of their own answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bridge.engines import r
from bridge.engines.glmmtmb import GlmmTMB
from bridge.engines.lm import Lm
from bridge.engines.lme4 import Lme4
from bridge.engines.lmertest import LmerTest
from bridge.engines.nlme import Nlme
from bridge.engines.pbkrtest import LARGEST, Pbkrtest
from bridge.errors import ModelError, UnavailableError
from bridge.model import build
from bridge.resources import find

ROOT = Path(__file__).resolve().parents[2]
MIXED = [Lme4(), LmerTest(), Nlme(), GlmmTMB()]
ALL = [*MIXED, Lm()]
METHODS = ["REML", "ML"]

mixed = pytest.mark.parametrize("engine", MIXED, ids=lambda e: e.name)
every = pytest.mark.parametrize("engine", ALL, ids=lambda e: e.name)
methods = pytest.mark.parametrize("method", METHODS)
needs_r = pytest.mark.needs_r

FORMULAS = {"intercept": "y ~ x + (1 | g)", "nested": "y ~ x + (1 | h/g)"}


@needs_r
@methods
@pytest.mark.parametrize("between", [2.0, 0.0], ids=["interior", "boundary"])
@mixed
def test_balanced_one_way(engine, between, method):
    """REML and ML are exchanged, a variance is a standard deviation, or a singular fit's message is lost."""
    J, n = 8, 6
    e = np.random.default_rng(3).normal(size=(J, n))
    y = e - (1 - between) * e.mean(axis=1, keepdims=True) * (between == 0)
    y += between * np.linspace(-1, 1, J)[:, None]
    frame = pd.DataFrame({"y": y.ravel(), "g": np.repeat([f"g{j}" for j in range(J)], n)})
    fit = engine.fit(build("y ~ 1 + (1 | g)", frame), method, "tight")
    N, means = J * n, y.mean(axis=1)
    msw = ((y - means[:, None]) ** 2).sum() / (N - J)
    ssb = n * ((means - y.mean()) ** 2).sum()
    sst, nu = ((y - y.mean()) ** 2).sum(), N - (method == "REML")
    if between:
        msb = ssb / (J - (method == "REML"))
        sigma2, tau2, logs = msw, (msb - msw) / n, (N - J) * np.log(msw) + (nu - N + J) * np.log(msb)
    else:
        sigma2, tau2, logs = sst / nu, 0.0, nu * np.log(sst / nu)
    criterion = nu * (1 + np.log(2 * np.pi)) + logs + (method == "REML") * np.log(N)
    values = {(row.group, row.term): row.estimate for row in fit.select("ran_pars")}
    assert values["Residual", "var__Observation"] == pytest.approx(sigma2, rel=1e-6)
    assert values["g", "var__(Intercept)"] == pytest.approx(tau2, rel=1e-5, abs=1e-5)
    assert fit.loglik == pytest.approx(-criterion / 2, abs=1e-7)
    (beta,) = fit.select("fixed")
    assert beta.estimate == pytest.approx(y.mean(), abs=1e-6)
    if between:
        assert beta.std_error == pytest.approx(np.sqrt((tau2 + sigma2 / n) / J), rel=1e-5)
    if not between and engine.name == "lme4":
        assert any("singular" in message for message in fit.messages)


@needs_r
@pytest.mark.parametrize(("profile", "rel"), [("default", 5e-4), ("tight", 1e-6)])
@mixed
def test_sleepstudy_is_certified(engine, profile, rel, sleepstudy):
    """An engine's variances on sleepstudy are not those of the certificate."""
    fit = engine.fit(build("Reaction ~ Days + (Days | Subject)", sleepstudy), "REML", profile)
    values = {row.term: row.estimate for row in fit.select("ran_pars")}
    certified = {
        "var__(Intercept)": 612.0899386625253,
        "cov__(Intercept).Days": 9.604333316744105,
        "var__Days": 35.07166049831739,
        "var__Observation": 654.9410270722988,
    }
    assert values == pytest.approx(certified, rel=rel)
    assert fit.loglik == pytest.approx(-871.8141359792454, abs=1e-7 if profile == "default" else 1e-11)
    assert fit.converged is True


@needs_r
@methods
def test_lm_is_least_squares(method, frame):
    """The variance, standard errors or log-likelihood of lm belong to another divisor or coding of X."""
    model = build("y ~ x + f + (x | g)", frame)
    fit = Lm().fit(model, method, "default")
    beta, (rss,), _, _ = np.linalg.lstsq(model.X, model.y, rcond=None)
    nu = model.n - model.p * (method == "REML")
    inverse = np.linalg.inv(model.X.T @ model.X)
    logdet = -np.linalg.slogdet(inverse)[1] * (method == "REML")
    assert [row.term for row in fit.rows] == [*model.names, "var__Observation"]
    np.testing.assert_allclose([row.estimate for row in fit.rows], [*beta, rss / nu], rtol=1e-10)
    ours = [row.std_error for row in fit.select("fixed")]
    np.testing.assert_allclose(ours, np.sqrt(rss / nu * np.diag(inverse)), rtol=1e-10)
    loglik = -(nu * (1 + np.log(2 * np.pi * rss / nu)) + logdet) / 2
    assert fit.loglik == pytest.approx(loglik, abs=1e-9)
    assert fit.converged is None


@needs_r
@every
def test_awkward_columns_and_types(engine):
    """A column's name reaches R's parser, or a type arrives as another."""
    rng = np.random.default_rng(4)
    n = 96
    frame = pd.DataFrame(
        {
            "I(x2<-system('touch owned'))": rng.normal(size=n),
            "function": rng.integers(0, 5, size=n),
            "is it?": np.arange(n) % 2 == 0,
            "größe": pd.Categorical(
                np.array(["L", "M", "S"])[np.arange(n) % 3], ["S", "M", "L"], ordered=True
            ),
            "q": np.repeat([f"g{i}" for i in range(8)], 12),
        }
    )
    frame.iloc[:, 0] += np.repeat(np.arange(8.0), 12)
    formula = "`I(x2<-system('touch owned'))` ~ `function` + `is it?` + größe + (`function` | q)"
    fit = engine.fit(build(formula, frame), "REML", "default")
    names = ["(Intercept)", "`function`", "`is it?`TRUE", "größe.L", "größe.Q"]
    assert [row.term for row in fit.select("fixed")] == names
    assert not Path("owned").exists()


@needs_r
@every
def test_missing_values_are_shown_to_the_engine(engine, frame):
    """R does not see NA as NA: nlme must stop in its own words, the others leave the rows out."""
    holes = frame.copy()
    holes.loc[3, "y"] = np.nan
    holes.loc[[5, 6], "g"] = None
    fit = engine.fit(build(FORMULAS["intercept"], holes, missing="pass"), "ML", "default")
    if engine.name == "nlme":
        assert fit.status == "refused"
        assert "missing values in object" in fit.reason
        assert fit.rows == ()
    else:
        # lm never looks at g
        assert (fit.status, fit.n) == ("ok", len(frame) - (1 if engine.name == "lm" else 3))


@needs_r
def test_error_is_a_refusal_in_words_of_r(frame):
    """An R error ends the worker, or its words are lost."""
    alone = frame.assign(each=[str(i) for i in range(len(frame))])
    fit = Lme4().fit(build("y ~ x + (1 | each)", alone), "REML", "default")
    assert fit.status == "refused"
    assert "number of levels of each grouping factor must be < number of observations" in fit.reason
    assert fit.seconds > 0


@needs_r
def test_warnings_are_carried(frame):
    """A warning is printed and gone: the fit would count as silent."""
    deficient = frame.assign(x2=frame.x * 2)
    fit = GlmmTMB().fit(build("y ~ x + x2 + (1 | g)", deficient), "ML", "default")
    assert any(re.search("rank.deficient", message) for message in fit.messages)


@needs_r
def test_options_of_r_do_not_matter(frame):
    """Sum contrasts left behind in R by somebody change the coding, and with it the REML log-likelihood."""
    model = build("y ~ f + (1 | g)", frame)
    plain = Lme4().fit(model, "REML", "default")
    base = r._session().ri.baseenv
    base["options"](contrasts=r._session().text("contr.sum", "contr.poly"))
    try:
        assert Lme4().fit(model, "REML", "default").rows == plain.rows
    finally:
        base["options"](contrasts=r._session().text("contr.treatment", "contr.poly"))


@needs_r
def test_only_aliases_reach_r():
    """Text other than aliases is parsed by R."""
    session = r._session()
    for text in ("v0 ~ 1 + system('x')", "v0 ~ 1 + (1 | g)", "v0 ~ 1; v1", "v0 ~ 1 + (1 | v1)\nq()"):
        with pytest.raises(ModelError, match="not a spelling"):
            session.formula(text)


def test_foreign_labels_stay_foreign(frame):
    """A level or term that is not the model's is dropped or matched to another, and no audit sees it."""
    model = build(FORMULAS["nested"], frame)

    class Numbers(list):
        def memoryview(self):
            return memoryview(np.array(self))

    table = {
        "effect": ["fixed", "ran_vals", "ran_vals"],
        "group": ["", "v3:v2", "other"],
        "level": ["", "nobody", "a"],
        "term": ["v9", "(Intercept)", "slope"],
        "estimate": Numbers([1.0, 2.0, 3.0]),
        "std_error": Numbers([1.0, np.nan, np.nan]),
        "df": Numbers([np.nan, np.nan, np.nan]),
    }
    group = ":".join(model.spelling.random[0][1])
    table["group"][1] = group
    rows = r._rows(model, table)
    assert [(row.group, row.level, row.term) for row in rows] == [
        (None, None, "v9"),
        (model.random[0].group, ("nobody",), "(Intercept)"),
        ("other", ("a",), "slope"),
    ]


def test_nlme_says_what_it_cannot_express(frame):
    """A model that lme() has no form for is sent to it, or one that it has is not."""
    engine = Nlme()
    reason = engine.supports(build("y ~ x + (x | g) + (x | h)", frame), "REML")
    assert reason == "nlme cannot correlate the coefficients of two crossed groups, h and g"
    assert engine.supports(build("y ~ x + (x | h) + (x | k)", frame), "REML") is None
    assert engine.supports(build("y ~ x + (x | h/g)", frame), "REML") is None


@pytest.mark.parametrize("engine", MIXED, ids=lambda e: e.name)
def test_no_random_term(engine, frame):
    """A model without random terms is sent to an engine that has no form for it."""
    assert "random term" in engine.supports(build("y ~ x", frame), "REML")
    assert Lm().supports(build("y ~ x", frame), "REML") is None


def test_pbkrtest_says_what_it_does_not_do(frame):
    """An ML fit would silently be answered by the REML one, and large data take all memory."""
    model = build(FORMULAS["intercept"], frame)
    assert Pbkrtest().supports(model, "REML") is None
    assert "REML" in Pbkrtest().supports(model, "ML")
    many = pd.concat([frame] * (LARGEST // len(frame) + 1), ignore_index=True)
    assert str(LARGEST) in Pbkrtest().supports(build(FORMULAS["intercept"], many), "REML")


def test_no_r(monkeypatch, tmp_path):
    """Without R the message is a traceback, or has no fix."""
    monkeypatch.setenv("PATH", str(tmp_path))
    r._installed.cache_clear()
    try:
        with pytest.raises(UnavailableError, match=r"R is not installed.*apt-get install r-base-core"):
            Lme4().version()
    finally:
        r._installed.cache_clear()


def test_no_package(monkeypatch):
    """A package that R does not have passes as there."""
    monkeypatch.setattr(r, "_installed", lambda: {"R": "4.2.2", "BLAS": "libblas.so.3", "nlme": "NA"})
    with pytest.raises(UnavailableError, match=r"no package nlme: apt-get install r-cran-nlme"):
        Nlme().version()


@needs_r
def test_no_rpy2(monkeypatch):
    """R without rpy2 passes as available."""
    monkeypatch.setattr(r, "find_spec", lambda name: None)
    r._rinterface.cache_clear()
    try:
        with pytest.raises(UnavailableError, match=r"rpy2 is not installed.*pip install 'lmmbridge\[r\]'"):
            Lm().version()
    finally:
        r._rinterface.cache_clear()


@needs_r
def test_rpy2_that_cannot_load_r(monkeypatch):
    """rpy2 built for another R ends in a traceback."""

    def fail(name):
        raise OSError("undefined symbol: R_getVar")

    monkeypatch.setattr(r, "import_module", fail)
    r._rinterface.cache_clear()
    try:
        with pytest.raises(
            UnavailableError, match=r"cannot load this R \(OSError: undefined symbol: R_getVar\)"
        ):
            Lm().version()
    finally:
        r._rinterface.cache_clear()


@needs_r
@pytest.mark.parametrize("given", [None, "/nowhere"])
def test_the_loaders_path_stays(given):
    """A Python that this process starts later loads the system's libpython and dies."""
    code = "import os; from bridge.engines import r; r._session(); print(os.environ.get('LD_LIBRARY_PATH'))"
    clean = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    if given:
        clean["LD_LIBRARY_PATH"] = given
    shown = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True)
    assert shown.stdout == f"{given}\n", shown.stderr


@needs_r
def test_version_starts_no_r():
    """Asking for versions starts R in the parent, which then must not fork."""
    code = (
        "import json, sys; from bridge.engines.glmmtmb import GlmmTMB; found = dict(GlmmTMB().version());"
        "from rpy2.rinterface_lib import embedded; print(json.dumps([found, bool(embedded.isinitialized())]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, started = json.loads(done.stdout)
    assert started is False
    assert list(found) == ["R", "BLAS", "glmmTMB", "TMB", "Matrix"]


@needs_r
def test_fit_says_its_versions(frame):
    """What a stored fit says it came from is not what `version` says."""
    model = build(FORMULAS["intercept"], frame)
    for engine in ALL:
        assert engine.fit(model, "REML", "default").versions == engine.version()


@needs_r
def test_r_user(tmp_path):
    """r/lme4.R cannot be sourced and called as its first lines say."""
    code = (
        'source("tidy.R"); source("lme4.R"); source("nlme.R"); f <- Reaction ~ Days + (Days || Subject);'
        "for (fit in list(fit_lme4, fit_nlme)) { rows <- fit(lme4::sleepstudy, f)$rows;"
        'cat(nrow(rows), rows$estimate[rows$term == "var__Days"], rows$level[6], "\\n") }'
    )
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", code],
        cwd=find("r"),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        count, variance, level = line.split()
        assert (count, level) == ("41", "308")
        # (Days || Subject) of lme4's help: sd 5.99 for Days
        assert float(variance) == pytest.approx(5.99**2, abs=0.05)
    assert len(done.stdout.splitlines()) == 2


def test_a_broken_rpy2_is_said(tmp_path: Path):
    """An rpy2 that cannot be imported would end the run of all engines, R or not."""
    (tmp_path / "rpy2").mkdir()
    (tmp_path / "rpy2/__init__.py").write_text("raise OSError('libR.so: torn')\n")
    done = asked(tmp_path, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert "numpy {'numpy'" in done
    assert "lm rpy2 cannot load this R (OSError: libR.so: torn)" in done


def test_an_r_that_talks_rubbish_is_said(tmp_path: Path):
    """A wrapper of Rscript that prints something else would end the run of all engines."""
    for name in ("R", "Rscript"):
        script = tmp_path / name
        script.write_text("#!/bin/sh\necho module load r\n")
        script.chmod(0o755)
    done = asked(tmp_path, {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)})
    assert "numpy {'numpy'" in done
    assert f"lm {script} is no working R: asked for versions, it said 'module load r'" in done
    assert f"R {tmp_path}/R is no working R: it said 'module load r'" in done


def asked(folder: Path, changes: dict[str, str]) -> str:
    """What all engines say of themselves in a process with this environment."""
    code = (
        "from bridge import doctor, engines\n"
        "for name, said in engines.available().items(): print(name, said)\n"
        "for check in doctor.examine(): print(check.what, check.found)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **changes}, cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr


@needs_r
@pytest.mark.parametrize(("length", "fits"), [(4093, True), (4094, False)])
def test_names_longer_than_r_keeps(length: int, fits: bool):
    """R cuts such names off: its engines would be called wrong for a label of the user's."""
    rng = np.random.default_rng(5)
    f = np.tile(["a", "b" * length], 30)
    frame = pd.DataFrame({"y": rng.normal(size=60), "f": f, "g": np.repeat(list("uvwxyz"), 10)})
    model = build("y ~ f + (1 | g)", frame)
    reason = Lm().supports(model, "REML")
    assert (reason is None) is fits
    fixed = [row.term for row in Lm().fit(model, "REML", "default").select("fixed")]
    assert (fixed == list(model.names)) is fits
