"""Standard errors and df, held to definitions in 50 digits, to dense formulas, to counts and to R."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pandas as pd
import pytest

from bridge import engines
from bridge.audit import align, joint_error
from bridge.case import Case
from bridge.criterion import Criterion, root
from bridge.denominator import KenwardRoger, containment, satterthwaite
from bridge.engines.numpy import Numpy
from bridge.fit import Fit, Method
from bridge.judge import judge
from bridge.model import Model, build
from bridge.newton import descend
from bridge.reference import Reference
from bridge.resources import find
from bridge.structure import Structure
from bridge.verdict import Verdict
from tests import naive

METHODS: list[Method] = ["REML", "ML"]
FORMULAS = {
    "intercept": "y ~ x + (1 | g)",
    "slope": "y ~ x + (x | g)",
    "uncorrelated": "y ~ x + (x || g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "nested": "y ~ x + (1 | g/k)",
}
Place = tuple[np.ndarray, ...]


def frame(seed: int = 4, rows: tuple[int, ...] = (3, 4, 2, 4, 3)) -> pd.DataFrame:
    """Unbalanced groups g, h crossed with them and k within them, each with effects far from zero."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(len(rows)), rows)
    h, k = np.resize(np.arange(3), len(g)), np.resize(np.arange(2), len(g))
    x = rng.normal(size=len(g))
    b = rng.normal(scale=2, size=(len(rows), 2))
    y = (
        3
        + x
        + b[g, 0]
        + b[g, 1] * x
        + rng.normal(scale=3, size=3)[h]
        + rng.normal(scale=2, size=(len(rows), 2))[g, k]
    )
    w = np.resize([1.0, 2.0, 4.0, 0.5], len(g))
    columns = {"y": y + rng.normal(scale=0.5, size=len(g)), "x": x, "w": w}
    return pd.DataFrame(columns | {name: v.astype(str) for name, v in (("g", g), ("h", h), ("k", k))})


def optimum(model: Model, method: Method) -> tuple[Criterion, Place, float]:
    """Covariances and residual variance at the optimum."""
    criterion = Criterion(Structure.of(model), method)
    point, _ = descend(criterion, tuple(np.eye(term.Z.shape[1]) for term in model.random))
    return criterion, criterion.psi(point), criterion.sigma2(point)


class Surface:
    """The deviance, beta and Phi as functions of (theta, sigma), differentiated in 50 digits."""

    def __init__(self, model: Model, method: Method, psi: Place, sigma2: float) -> None:
        self.model, self.method = model, method
        self.shapes = [len(G) for G in psi]
        thetas = [root(G / sigma2)[np.tril_indices(len(G))] for G in psi]
        self.place = [*(mp.mpf(float(t)) for theta in thetas for t in theta), mp.sqrt(mp.mpf(sigma2))]
        self.step = mp.mpf("1e-9")
        d = range(len(self.place))
        up, down = ([self(self._moved({i: s})) for i in d] for s in (1, -1))
        here = self(self.place)
        self.phi = here["phi"]
        self.beta1 = [(a["beta"] - b["beta"]) / (2 * self.step) for a, b in zip(up, down, strict=True)]
        self.phi1 = [(a["phi"] - b["phi"]) / (2 * self.step) for a, b in zip(up, down, strict=True)]
        H = mp.matrix(len(self.place))
        for i in d:
            H[i, i] = (up[i]["value"] - 2 * here["value"] + down[i]["value"]) / self.step**2
            for j in range(i):
                corners = [(s, t, self(self._moved({i: s, j: t}))["value"]) for s in (1, -1) for t in (1, -1)]
                H[i, j] = H[j, i] = sum(s * t * v for s, t, v in corners) / (4 * self.step**2)
        self.A = 2 * H**-1

    def __call__(self, place: list[mp.mpf]) -> dict[str, mp.matrix]:
        """Value, beta and Phi at (theta, sigma)."""
        rest, psi = iter(place[:-1]), []
        for k in self.shapes:
            L = mp.zeros(k)
            for i in range(k):
                for j in range(i + 1):
                    L[i, j] = next(rest)
            psi.append((L * L.T * place[-1] ** 2).tolist())
        return naive.evaluate(self.model, self.method, tuple(psi), place[-1] ** 2)

    def _moved(self, by: dict[int, int]) -> list[mp.mpf]:
        return [v + by.get(i, 0) * self.step for i, v in enumerate(self.place)]

    def satterthwaite(self) -> list[float]:
        """2 Phi_kk^2 / g'A g."""
        found = []
        for k in range(self.model.p):
            g = mp.matrix([phi[k, k] for phi in self.phi1])
            found.append(float(2 * self.phi[k, k] ** 2 / (g.T * self.A * g)[0]))
        return found

    def joint(self) -> list[float]:
        """Square roots of (Phi + D A D')_kk."""
        found = []
        for k in range(self.model.p):
            D = mp.matrix([beta[k] for beta in self.beta1])
            found.append(float(mp.sqrt(self.phi[k, k] + (D.T * self.A * D)[0])))
        return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("formula", ["intercept", "slope", "crossed"])
def test_joint_errors_and_satterthwaite_equal_their_definitions(formula: str, method: Method) -> None:
    """A derivative off by a factor, or a difference quotient's noise, would blame an engine for it."""
    with mp.workdps(naive.DIGITS):
        model = build(FORMULAS[formula], frame())
        criterion, psi, sigma2 = optimum(model, method)
        truth = Surface(model, method, psi, sigma2)
        ours = joint_error(criterion, criterion.unprofiled(psi, sigma2)[1], sigma2)
        assert ours == pytest.approx(truth.joint(), rel=1e-9)
        assert not np.allclose(
            ours, np.sqrt(np.diag(criterion.phi(criterion.unprofiled(psi, sigma2)[1], sigma2)))
        )
        assert satterthwaite(criterion, psi, sigma2) == pytest.approx(truth.satterthwaite(), rel=1e-9)


def test_satterthwaite_is_by_theta_and_sigma_away_from_the_optimum() -> None:
    """Since lmer stops a little beside the optimum, other parameters than lmerTest's would give other df."""
    with mp.workdps(naive.DIGITS):
        model = build(FORMULAS["slope"], frame())
        criterion, psi, sigma2 = optimum(model, "REML")
        psi, sigma2 = tuple(1.2 * G for G in psi), 0.9 * sigma2
        truth = Surface(model, "REML", psi, sigma2).satterthwaite()
        assert satterthwaite(criterion, psi, sigma2) == pytest.approx(truth, rel=1e-9)


def dense(model: Model, psi: Place, sigma2: float, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kenward & Roger (1997) as printed, with n x n matrices: SE and df of each coefficient."""
    n, X = model.n, model.X
    V, slopes = sigma2 * np.diag(1 / weights), [np.diag(1 / weights)]
    for term, G in zip(model.random, psi, strict=True):
        same = term.index[:, None] == term.index
        V = V + same * (term.Z @ G @ term.Z.T)
        for i in range(len(G)):
            for j in range(i + 1):
                E = np.zeros_like(G)
                E[i, j] = E[j, i] = 1
                slopes.append(same * (term.Z @ E @ term.Z.T))
    inverse = np.linalg.inv(V)
    phi = np.linalg.inv(X.T @ inverse @ X)
    r = range(len(slopes))
    P = [-X.T @ inverse @ S @ inverse @ X for S in slopes]
    Q = [[X.T @ inverse @ S @ inverse @ T @ inverse @ X for T in slopes] for S in slopes]
    information = np.array(
        [
            [
                np.trace(inverse @ slopes[i] @ inverse @ slopes[j])
                - 2 * np.trace(phi @ Q[i][j])
                + np.trace(phi @ P[i] @ phi @ P[j])
                for j in r
            ]
            for i in r
        ]
    )
    W = 2 * np.linalg.inv(information)
    adjusted = phi + 2 * phi @ sum(W[i, j] * (Q[i][j] - P[i] @ phi @ P[j]) for i in r for j in r) @ phi
    df = []
    for one in np.eye(model.p):
        theta = np.outer(one, one) / (one @ phi @ one)
        parts = [theta @ phi @ P[i] @ phi for i in r]
        A1 = sum(W[i, j] * np.trace(parts[i]) * np.trace(parts[j]) for i in r for j in r)
        A2 = sum(W[i, j] * np.trace(parts[i] @ parts[j]) for i in r for j in r)
        B = (A1 + 6 * A2) / 2
        g = (2 * A1 - 5 * A2) / (3 * A2)
        c = np.array([g, 1 - g, 3 - g]) / (3 + 2 * (1 - g))
        E, spread = 1 / (1 - A2), 2 * (1 + c[0] * B) / ((1 - c[1] * B) ** 2 * (1 - c[2] * B))
        df.append(4 + 3 / (spread / (2 * E**2) - 1))
    assert n == len(V)
    return np.sqrt(np.diag(adjusted)), np.array(df)


@pytest.mark.parametrize("formula", FORMULAS)
def test_kenward_roger_equals_the_printed_formulas(formula: str) -> None:
    """A sum over units, a tangent basis or the short form 2 / A would be wrong."""
    model = build(FORMULAS[formula], frame())
    criterion, psi, sigma2 = optimum(model, "REML")
    ours = KenwardRoger.of(criterion, psi, sigma2)
    std_error, df = dense(model, psi, sigma2, np.ones(model.n))
    assert ours.std_error == pytest.approx(std_error, rel=1e-9)
    assert ours.df == pytest.approx(df, rel=1e-8)
    assert np.all(
        ours.std_error > np.sqrt(np.diag(criterion.phi(criterion.unprofiled(psi, sigma2)[1], sigma2)))
    )


def test_kenward_roger_minds_the_weights() -> None:
    """With weights sigma2 moves V by W^-1, not by the identity: pbkrtest overlooks it."""
    model = build(FORMULAS["slope"], frame(), weights="w")
    criterion, psi, sigma2 = optimum(model, "REML")
    ours = KenwardRoger.of(criterion, psi, sigma2)
    std_error, df = dense(model, psi, sigma2, frame()["w"].to_numpy())
    assert ours.std_error == pytest.approx(std_error, rel=1e-9)
    assert ours.df == pytest.approx(df, rel=1e-8)


def split_plot() -> pd.DataFrame:
    """Six blocks of three whole plots with factor a, each of four subplots with factor c."""
    rng = np.random.default_rng(8)
    block, a, c = (v.ravel() for v in np.indices((6, 3, 4)))
    y = rng.normal(scale=3, size=6)[block] + rng.normal(scale=2, size=(6, 3))[block, a] + a + c
    columns = {"y": y + rng.normal(size=block.size)}
    return pd.DataFrame(columns | {name: v.astype(str) for name, v in (("block", block), ("a", a), ("c", c))})


def test_a_split_plot_has_the_df_of_its_strata() -> None:
    """(a-1)(b-1) = 10 df for whole plots and ab(c-1)-(c-1) = 51 for subplots are in every textbook."""
    model = build("y ~ a + c + (1 | block/a)", split_plot())
    criterion, psi, sigma2 = optimum(model, "REML")
    strata = [10, 10, 51, 51, 51]
    assert satterthwaite(criterion, psi, sigma2)[1:] == pytest.approx(strata, rel=1e-7)
    assert KenwardRoger.of(criterion, psi, sigma2).df[1:] == pytest.approx(strata, rel=1e-7)
    assert containment(model)[1:].tolist() == strata


@pytest.mark.parametrize(("method", "df"), [("REML", 5), ("ML", 6)])
def test_a_balanced_one_way_layout_has_j_minus_1(method: Method, df: int) -> None:
    """Var(mean) = MSB / N with J-1 df under REML; ML's estimate, SSB / J, counts J."""
    model = Case.load(find("cases") / "dyestuff").model()
    assert satterthwaite(*optimum(model, method)) == pytest.approx([df], rel=1e-7)
    assert KenwardRoger.of(*optimum(model, "REML")).df == pytest.approx([5], rel=1e-9)


def test_units_and_origins_do_not_matter() -> None:
    """The df of y in millionths would differ, as lmerTest's do where sigma is below 1.8e-5."""
    data = frame()
    here = optimum(build(FORMULAS["slope"], data), "REML")
    moved = optimum(build(FORMULAS["slope"], data.assign(y=1e-6 * data["y"], x=1e3 * data["x"])), "REML")
    assert satterthwaite(*moved) == pytest.approx(satterthwaite(*here), rel=1e-5)
    assert KenwardRoger.of(*moved).df == pytest.approx(KenwardRoger.of(*here).df, rel=1e-5)


def test_a_zero_variance_leaves_satterthwaite_undefined_and_kenward_roger_not() -> None:
    """What lmerTest prints there, n - p, takes the variance for known to be zero: not to be judged."""
    model = build(FORMULAS["intercept"], frame())
    criterion, _, sigma2 = optimum(model, "REML")
    zero = (np.zeros((1, 1)),)
    assert np.isnan(satterthwaite(criterion, zero, sigma2)).all()
    ours = KenwardRoger.of(criterion, zero, sigma2)
    std_error, df = dense(model, zero, sigma2, np.ones(model.n))
    assert ours.std_error == pytest.approx(std_error, rel=1e-9)
    assert ours.df == pytest.approx(df, rel=1e-8)


def test_crossed_groups_have_no_strata() -> None:
    """A count for them would be that of how nlme has to be told of the model."""
    assert np.isnan(containment(build(FORMULAS["crossed"], frame()))).all()


def test_without_an_intercept_the_strata_keep_theirs() -> None:
    """An intercept takes a df from the first stratum in nlme; without one the others gain one."""
    data = frame().assign(z=lambda d: d["g"].astype(float) + 1)
    model = build("y ~ 0 + z + x + (1 | g)", data)
    assert containment(model).tolist() == [5 - 1, 16 - 5 - 1 + 1]


@pytest.mark.needs_r
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_r_has_the_same_df(formula: str, method: Method) -> None:
    """Ours or theirs would follow another rule than its name says."""
    model = build(FORMULAS[formula], frame(10, (6, 9, 4, 8, 7, 5)))
    rules: dict[str, Callable[..., np.ndarray]] = {
        "lmerTest": satterthwaite,
        "pbkrtest": lambda *place: KenwardRoger.of(*place).df,
        "nlme": lambda criterion, *_: containment(criterion.structure.model),
    }
    for name, rel in (("lmerTest", 1e-5), ("pbkrtest", 1e-9), ("nlme", 0)):
        engine = engines.get(name)
        if engine.supports(model, method) is not None:
            assert (name, method) == ("pbkrtest", "ML")
            continue
        answer = align(model, engine.fit(model, method, "default"))
        ours = rules[name](Criterion(Structure.of(model), method), answer.psi, answer.sigma2)
        if name == "nlme" and formula == "crossed":
            assert np.isnan(ours).all()
        else:
            assert answer.df == pytest.approx(ours, rel=rel)
        if name == "pbkrtest":
            right = KenwardRoger.of(Criterion(Structure.of(model), method), answer.psi, answer.sigma2)
            assert answer.std_error == pytest.approx(right.std_error, rel=1e-9)


def stated(fit: Fit, std_error: np.ndarray, df: np.ndarray) -> Fit:
    """The same answer with other standard errors and df."""
    fixed = [
        row.__class__(row.effect, row.term, row.estimate, std_error=se, df=d)
        for row, se, d in zip(fit.select("fixed"), std_error.tolist(), df.tolist(), strict=True)
    ]
    return fit.having(rows=(*fixed, *fit.rows[len(fixed) :]))


def test_each_engine_is_judged_under_its_own_convention() -> None:
    """Kenward-Roger numbers called Phi's or Satterthwaite's would pass, or right ones fail."""
    model = Case.load(find("cases") / "unbalanced-89").model()
    fit = Numpy().fit(model, "REML", "default")
    reference = Reference.polished(model, "REML")
    answer = align(model, fit)
    kr = KenwardRoger.of(reference.criterion, answer.psi, answer.sigma2)
    df = satterthwaite(reference.criterion, answer.psi, answer.sigma2)

    def verdict(std_error: np.ndarray, given: np.ndarray, convention: str, rule: str) -> Verdict:
        engine = SimpleNamespace(name="x", family="R", std_error=convention, df=rule, pooling="partial")
        return judge("c", model, reference, stated(fit, std_error, given), engine).verdict

    assert verdict(kr.std_error, kr.df, "kenward-roger", "kenward-roger") is Verdict.AGREE
    assert verdict(answer.std_error, df, "phi", "satterthwaite") is Verdict.AGREE
    assert verdict(answer.std_error, np.full(2, np.nan), "phi", "satterthwaite") is Verdict.AGREE
    assert verdict(answer.std_error, containment(model), "phi", "containment") is Verdict.AGREE
    for wrong in (
        (kr.std_error, df, "phi", "satterthwaite"),
        (answer.std_error, kr.df, "kenward-roger", "kenward-roger"),
        (answer.std_error, kr.df, "phi", "satterthwaite"),
        (answer.std_error, df * 1.001, "phi", "satterthwaite"),
        (answer.std_error, containment(model) + 1, "phi", "containment"),
    ):
        assert verdict(*wrong) is Verdict.WRONG_COMPUTATION
