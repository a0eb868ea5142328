"""Errors with parameters: what a formula may say, and that every form of the likelihood is one."""

from __future__ import annotations

from itertools import product

import mpmath as mp
import numpy as np
import pandas as pd
import pytest

from bridge.case import find
from bridge.certificate import Certificate
from bridge.certify import certify, check
from bridge.criterion import Criterion
from bridge.engines import get
from bridge.engines.engine import unsupported
from bridge.entry import Entry
from bridge.errors import BridgeError
from bridge.fit import Method
from bridge.formula import parse
from bridge.joint import joint_error
from bridge.model import Model, build
from bridge.reference import Reference
from bridge.residual import settled
from bridge.resources import find as folder
from bridge.structure import Structure
from tests import naive

METHODS: tuple[Method, ...] = ("REML", "ML")
FORMULAS = {
    "varIdent": "y ~ x + (1 | g) + varIdent(1 | h)",
    "corAR1": "y ~ x + (1 + x | g) + corAR1(t | g)",
}


def frame(seed: int = 3) -> pd.DataFrame:
    """Six groups of seven rows, steps with gaps, in no order; residuals wider in stratum q than in p."""
    rng = np.random.default_rng(seed)
    g, h = np.repeat(list("abcdef"), 7), np.resize(list("pqr"), 42)
    wide = np.select([h == "q", h == "r"], [2.5, 0.6], 1.0)
    t = np.concatenate([np.sort(rng.choice(15, 7, replace=False)) for _ in range(6)])
    x = rng.normal(0, 1, 42)
    y = 3 + x + np.repeat(rng.normal(0, 2, 6), 7) + np.repeat(rng.normal(0, 1, 6), 7) * x
    made = pd.DataFrame({"y": y + wide * rng.normal(0, 1, 42), "x": x, "g": g, "h": h, "t": t})
    return made.iloc[rng.permutation(42)].reset_index(drop=True)


@pytest.mark.parametrize(("kind", "at"), [("varIdent", (2.5, 0.4)), ("corAR1", (0.55,)), ("corAR1", (-0.3,))])
@pytest.mark.parametrize("method", METHODS)
def test_settled_model_has_the_definition_s_likelihood(
    kind: str, at: tuple[float, ...], method: Method
) -> None:
    """The change of rows and weights would be another model than nlme's; measured worst 3e-16, Phi 2e-13."""
    model = build(FORMULAS[kind], frame())
    psi = (np.array([[1.7]]),) if kind == "varIdent" else (np.array([[2.0, 0.3], [0.3, 0.5]]),)
    criterion = Criterion(Structure.of(settled(model, np.array(at))), method)
    value, point = criterion.unprofiled(psi, 1.3)
    right = naive.evaluate(model, method, tuple(G.tolist() for G in psi), 1.3, at)
    assert value == pytest.approx(float(right["value"]), rel=1e-14)
    assert criterion.beta(point) == pytest.approx([float(v) for v in right["beta"]], rel=1e-13)
    assert criterion.phi(point, 1.3) == pytest.approx(np.array(right["phi"].tolist(), float), rel=1e-11)
    for found, wanted in zip(criterion.blups(point), right["blups"], strict=True):
        assert found == pytest.approx(np.array(wanted, float), rel=1e-11)


@pytest.mark.parametrize(("kind", "method"), list(product(FORMULAS, METHODS)))
def test_certificate_is_the_definition_s_optimum(kind: str, method: Method) -> None:
    """30 digits would be of another criterion, or of a point that is not its minimum."""
    model = build(FORMULAS[kind], frame(8))
    given = certify(model, method)
    assert given.status == "refined"
    assert check(given, model) is None
    with mp.workdps(naive.DIGITS):
        here = _naive(model, given, method, 0, mp.mpf(0))
        assert abs(here + 2 * mp.mpf(given.number("loglik", "loglik").value)) < mp.mpf(10) ** -25
        for i, _ in enumerate(_parameters(model, given)):
            sides = [_naive(model, given, method, i, mp.mpf(sign) / 10**8) - here for sign in (1, -1)]
            assert min(sides) > 0  # a minimum: 1e-16 of the curvature on either side
            assert abs(sides[0] - sides[1]) < max(sides) / 1000


def _parameters(model: Model, given: Certificate) -> list[mp.mpf]:
    rows = [row for row in given.rows if row.effect == "ran_pars"]
    return [mp.mpf(row.number.value) for row in rows]


def _naive(model: Model, given: Certificate, method: Method, moved: int, by: mp.mpf) -> mp.mpf:
    """The criterion with one parameter moved by a share of itself."""
    numbers = _parameters(model, given)
    numbers[moved] *= 1 + by
    (term,) = model.random
    k = len(term.names)
    lower = [(i, j) for j in range(k) for i in range(j, k)]
    G = [[mp.mpf(0)] * k for _ in range(k)]
    for (i, j), value in zip(lower, numbers, strict=False):
        G[i][j] = G[j][i] = value
    sigma2, *at = numbers[len(lower) :]
    return naive.evaluate(model, method, (G,), sigma2, tuple(at))["value"]


def test_joint_error_is_that_of_the_joint_hessian() -> None:
    """The SE that glmmTMB prints would be held to a number that leaves the errors' parameters out."""
    model = build(FORMULAS["varIdent"], frame(8).head(21))
    reference = Reference.polished(model, "ML")
    found = joint_error(reference.criterion, reference.point, reference.best.sigma2)

    def deviance(*v: mp.mpf) -> mp.mpf:
        beta, (tau, sigma, *at) = mp.matrix(v[:2]), [mp.exp(u) for u in v[2:]]
        V = naive.covariance(model, ([[tau**2]],), sigma**2, tuple(at))
        e = mp.matrix(model.y.tolist()) - mp.matrix(model.X.tolist()) * beta
        return mp.log(mp.det(V)) + (e.T * V**-1 * e)[0]

    with mp.workdps(25):
        best = reference.best
        logs = [best.psi[0][0, 0] ** 0.5, best.sigma2**0.5, *reference.residual]
        x = [mp.mpf(float(b)) for b in reference.beta] + [mp.log(mp.mpf(float(v))) for v in logs]
        step, d = mp.mpf(10) ** -6, len(x)

        def at(*moves: tuple[int, int]) -> mp.mpf:
            y = list(x)
            for i, sign in moves:
                y[i] += sign * step
            return deviance(*y)

        H = mp.matrix(d, d)
        for i in range(d):
            for j in range(i + 1):
                corners = [a * b * at((i, a), (j, b)) for a in (1, -1) for b in (1, -1)]
                H[i, j] = H[j, i] = sum(corners) / (4 * step**2)
        wanted = [float(mp.sqrt(2 * (H**-1)[j, j])) for j in range(2)]
    assert found == pytest.approx(wanted, rel=1e-8)  # measured 9e-11: differences of float64
    assert found[1] > reference.std_error[1] * 1.005  # what the parameters' estimation costs


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ x + varIdent(2 | h)", "write varIdent(1 | g)"),
        ("y ~ x + corAR1(g)", "write corAR1(t | g)"),
        ("y ~ x - varIdent(1 | h)", "add it, outside the random terms"),
        ("y ~ x + (varIdent(1 | h) | g)", "add it, outside the random terms"),
        ("y ~ x:varIdent(1 | h)", "can only be added"),
        ("y ~ x + varIdent(1 | h) + corAR1(t | g)", "residuals are varIdent(1 | h) already"),
        ("y ~ x + (1 | g) + corAR1(x | g)", 'column "x"'),
        ("y ~ x + (1 | g) + corAR1(h | g)", "is text or categorical; as position it must be numeric"),
        ("y ~ x + (1 | h) + corAR1(t | g)", "runs through levels of h"),
        ("y ~ x + (1 | g) + corAR1(one | g)", "is 1 twice where g is"),
        ("y ~ x + (1 | g) + varIdent(1 | same)", "needs two levels of same"),
        ("y ~ x + corAR1(t | row)", "no two rows share a level of row"),
        ("y ~ x + (1 | g) + varIdent(1 | lone)", "lone is b in one row: it has no variance; merge levels"),
    ],
)
def test_what_cannot_be_meant_is_refused(formula: str, words: str) -> None:
    """A user would get a traceback, or another model than the one that was meant."""
    data = frame().assign(one=1, same="s", row=[str(i) for i in range(42)], lone=["a"] * 41 + ["b"])
    with pytest.raises(BridgeError) as error:
        build(formula, data)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_series_and_weights_do_not_go_together() -> None:
    """Weights would mean another thing than nlme's."""
    with pytest.raises(BridgeError, match="do not go together"):
        build("y ~ x + (1 | g) + corAR1(t | g)", frame().assign(w=2.0), weights="w")


def test_only_engines_that_have_such_errors_are_asked() -> None:
    """An engine would fit independent errors, and be called wrong for what it never was given."""
    model = build(FORMULAS["varIdent"], frame())
    assert "has no varIdent()" in str(unsupported(get("lme4"), model, "REML"))
    assert unsupported(get("nlme"), model, "REML") is None
    assert unsupported(get("lm"), model, "REML") is None  # a baseline ignores them, as it does random terms
    inner = build("y ~ x + (1 | g) + (1 | g:h) + varIdent(1 | h)", frame())
    assert unsupported(get("nlme"), inner, "REML") is None
    for name in ("numpy", "ols"):  # asked without a worker, too
        assert (get(name).fit(model, "REML", "default").status == "ok") == (name == "ols")


def test_whatever_knows_no_such_errors_says_so() -> None:
    """Weights would be explained, or a criterion evaluated, as if the errors were plain."""
    model = build(FORMULAS["corAR1"], frame())
    with pytest.raises(BridgeError, match=r"corAR1\(\) is not taken here"):
        Structure.of(model)


def test_rows_in_another_order_are_the_same_series() -> None:
    """Correlation would follow the order of the rows."""
    data = frame()
    whole = [
        Criterion(Structure.of(settled(build(FORMULAS["corAR1"], d), np.array([0.6]))), "REML").unprofiled(
            (np.eye(2),), 1.0
        )[0]
        for d in (data, data.sort_values(["g", "t"]).reset_index(drop=True))
    ]
    assert whole[0] == pytest.approx(whole[1], rel=1e-14)


@pytest.mark.parametrize(
    ("name", "term", "value", "loglik"),
    [
        ("ovary-ar1", "Phi", 0.572186608096, -774.723958149),
        ("orthodont-varident", "ratio__Female", 0.4088464, -205.761239926),
    ],
)
def test_nlme_has_the_same_estimates(name: str, term: str, value: float, loglik: float) -> None:
    """Certificates would be of other models than lme()'s, by REML, nlme 3.1-162, as R printed them."""
    (case,) = find([name], [folder("cases")])
    certificate = case.certificates()["REML"]
    assert certificate.number("ran_pars", term, "Residual").double == pytest.approx(value, abs=1e-6)
    assert certificate.number("loglik", "loglik").double == pytest.approx(loglik, abs=1e-9)


def test_formula_is_equal_whatever_its_spelling() -> None:
    """One case under two spellings would be two."""
    assert parse("y ~ x + varIdent( 1|h )") == parse("y ~ x + varIdent(1 | `h`)")
    assert parse("y ~ x + varIdent(1 | h)") != parse("y ~ x")
    assert Entry.of_data(frame(), FORMULAS["varIdent"]).model.spelling.plain == "v0 ~ 1 + v1 + (1 | v2)"


def test_a_variance_without_bound_is_told() -> None:
    """The search would go on to a ratio of 1e-300, and call it an optimum."""
    data = frame().assign(h=["q"] * 2 + ["p"] * 40)
    data.loc[:1, ["x", "y"]] = 0.0  # two rows that are fitted exactly, whatever else
    with pytest.raises(BridgeError, match=r"ratio__q goes to .* the data do not bound it"):
        Reference.polished(build("y ~ 0 + x + (0 + x | g) + varIdent(1 | h)", data), "ML")


def test_engines_decline_what_takes_all_memory() -> None:
    """A matrix of a million steps squared would be made, or one of rows by all crossed levels."""
    far = build(FORMULAS["corAR1"], frame().assign(t=lambda d: d["t"] * 100_000))
    assert "at most 1000" in str(unsupported(get("glmmTMB"), far, "REML"))
    assert unsupported(get("nlme"), far, "REML") is None
    n = 40_000
    rows = pd.DataFrame({"y": np.arange(n) % 7, "a": np.arange(n) % 2000, "b": np.arange(n) % 1999})
    crossed = build("y ~ 1 + (1 | a) + (1 | b)", rows)
    assert "1.3 GB and copies" in str(unsupported(get("nlme"), crossed, "REML"))
