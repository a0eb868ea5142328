"""Certificates against closed forms, dense 80-digit algebra, and changes of the data with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import certify as module
from bridge.balls import evaluate
from bridge.branch import Search, residual
from bridge.case import Case
from bridge.certificate import Certificate, Number
from bridge.certify import certify, check
from bridge.chart import chart
from bridge.model import Model, build
from bridge.proof import Stationary, enclosed, floats, prove
from bridge.reference import Reference
from bridge.resources import find
from bridge.structure import Structure
from bridge.sums import Sums, precision
from tests.test_criterion import small

METHODS = ("REML", "ML")


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(80):
        yield


def case(name: str) -> Model:
    """A bundled case's model."""
    return Case.load(find("cases") / name).model()


def value(number: Number) -> mp.mpf:
    """All its digits."""
    return mp.mpf(number.value)


def agrees(number: Number, truth: Any, digits: int = 28) -> None:
    """The truth lies within the radius, and the radius is small."""
    off = abs(value(number) - truth)
    assert off <= mp.mpf(number.radius) * (1 + mp.mpf(10) ** -20)
    assert mp.mpf(number.radius) <= abs(truth) * mp.mpf(10) ** -digits


def one_way(J: int, n: int, between: float, seed: int) -> pd.DataFrame:
    """Balanced groups; `between` negative makes their means more alike than chance would."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(J), n)
    y = rng.normal(size=J * n)
    if between < 0:
        y -= 0.9 * np.array([y[g == j].mean() for j in range(J)])[g]
    return pd.DataFrame({"y": y + max(between, 0) * rng.normal(size=J)[g], "g": g})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("between", [3.0, -1.0])
def test_balanced_one_way_closed_form(between: float, method: str) -> None:
    """Interior and boundary (STATISTICS.md section 1), from the exact doubles; global, too."""
    J, n = 7, 6
    frame = one_way(J, n, between, 11)
    y, N = [Fraction(float(v)) for v in frame["y"]], J * n
    means = [sum(y[j * n : (j + 1) * n]) / n for j in range(J)]
    grand = sum(y) / N
    ssb = n * sum((m - grand) ** 2 for m in means)
    ssw = sum((v - means[i // n]) ** 2 for i, v in enumerate(y))
    msw, msb = exact(ssw / (N - J)), exact(ssb / (J - 1 if method == "REML" else J))
    found = certify(build("y ~ 1 + (1 | g)", frame), method)
    assert found.proof == "global"
    nu = N - 1 if method == "REML" else N
    if between > 0:
        tau2, sigma2 = (msb - msw) / n, msw
        last = (J - 1 if method == "REML" else J) * mp.log(msb)
        deviance = nu * (1 + mp.log(2 * mp.pi)) + (N - J) * mp.log(msw) + last
        assert found.status == "ok"
        agrees(found.number("ran_pars", "var__(Intercept)", "g"), tau2)
        agrees(found.number("theta", "(Intercept)", "g"), mp.sqrt(tau2 / sigma2))
        b = n * tau2 / (n * tau2 + sigma2) * exact(means[3] - grand)
        agrees(found.number("ran_vals", "(Intercept)", "g", ("3",)), b)
    else:
        sigma2 = exact((ssb + ssw) / nu)
        deviance = nu * (1 + mp.log(2 * mp.pi * sigma2))
        assert found.status == "singular"
        zero = found.number("ran_pars", "var__(Intercept)", "g")
        assert (zero.value, zero.radius) == ("0", "0")
        tau2 = mp.mpf(0)
    deviance += mp.log(N) if method == "REML" else 0
    agrees(found.number("ran_pars", "var__Observation", "Residual"), sigma2)
    agrees(found.number("loglik", "loglik"), -deviance / 2)
    agrees(found.number("fixed", "(Intercept)"), exact(grand))
    agrees(found.number("std_error", "(Intercept)"), mp.sqrt((tau2 + sigma2 / n) / J))


def test_of_many_random_effects_none_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of megabytes, or a certificate that cannot be checked, judged by, or gives other BLUPs."""
    monkeypatch.setattr("bridge.estimates.MODES", 5)
    frame = one_way(6, 4, 3.0, 1)
    model = build("y ~ 1 + (1 | g)", frame)
    found = certify(model, "REML")
    assert found.status == "ok"
    assert not [row for row in found.rows if row.effect == "ran_vals"]
    assert check(found, model) is None
    within = frame.groupby("g", observed=True)["y"]
    means = within.mean().to_numpy()
    sigma2 = float(np.mean(within.var()))
    shrunk = (1 - sigma2 / (4 * float(np.var(means, ddof=1)))) * (means - means.mean())
    (blups,) = Reference.certified(found, model).blups
    assert blups[:, 0] == pytest.approx(shrunk, rel=1e-12)


def exact(fraction: Fraction) -> mp.mpf:
    """80 digits of it."""
    return mp.mpf(fraction.numerator) / fraction.denominator


@pytest.mark.parametrize("method", METHODS)
def test_balanced_growth_curve_closed_form(method: str) -> None:
    """sleepstudy: G = S_b - sigma2 (X_j'X_j)^-1, from its 180 integers and decimals as stored."""
    model = case("sleepstudy")
    found = certify(model, method)
    index = model.random[0].index
    lines, ss = [], mp.mpf(0)
    for j in range(18):
        rows = np.flatnonzero(index == j)
        X = mp.matrix([[mp.mpf(float(v)) for v in model.X[i]] for i in rows])
        y = mp.matrix([mp.mpf(float(model.y[i])) for i in rows])
        inverse = (X.T * X) ** -1
        b = inverse * (X.T * y)
        lines.append(b)
        ss += sum(v**2 for v in y - X * b)
    mean = sum(lines[1:], lines[0]) / 18
    S = sum(((b - mean) * (b - mean).T for b in lines[1:]), (lines[0] - mean) * (lines[0] - mean).T)
    sigma2 = ss / (180 - 36)
    G = S / (17 if method == "REML" else 18) - sigma2 * inverse
    agrees(found.number("ran_pars", "var__Observation", "Residual"), sigma2)
    agrees(found.number("ran_pars", "var__(Intercept)", "Subject"), G[0, 0])
    agrees(found.number("ran_pars", "cov__(Intercept).Days", "Subject"), G[1, 0])
    agrees(found.number("ran_pars", "var__Days", "Subject"), G[1, 1])
    agrees(found.number("fixed", "Days"), mean[1])
    agrees(found.number("phi", "Days"), ((G + sigma2 * inverse) / 18)[1, 1])


def test_sleepstudy_has_the_published_digits() -> None:
    """STATISTICS.md section 2, made by other software at 60 digits."""
    found = certify(case("sleepstudy"), "REML")
    assert found.number("loglik", "loglik").double == pytest.approx(-871.8141359792454, rel=2e-16)
    names = ("(Intercept)", "Days.(Intercept)", "Days")
    theta = [found.number("theta", name, "Subject").double for name in names]
    assert theta == pytest.approx((0.9667329518648032, 0.01516905427048472, 0.2309095947604833), rel=3e-16)
    assert (found.status, found.proof, len(found.optima)) == ("ok", "local (searched)", 1)


def dense(model: Model, method: str, psi: list[mp.matrix], sigma2: mp.mpf) -> tuple[Any, ...]:
    """Criterion, beta and the first term's BLUPs by the definition: V entry by entry, y'Py, log|V|."""
    n, p = model.n, model.p
    V = mp.eye(n) * sigma2
    Zs = [mp.matrix(term.Z.tolist()) for term in model.random]
    for term, Z, G in zip(model.random, Zs, psi, strict=True):
        for i in range(n):
            for j in range(n):
                if term.index[i] == term.index[j]:
                    V[i, j] += (Z[i, :] * G * Z[j, :].T)[0]
    X, y = mp.matrix(model.X.tolist()), mp.matrix(model.y.tolist())
    inverse = V**-1
    XVX = X.T * inverse * X
    beta = XVX**-1 * (X.T * inverse * y)
    weighted = inverse * (y - X * beta)
    nu = n - p if method == "REML" else n
    total = mp.log(mp.det(V)) + (y.T * weighted)[0] + nu * mp.log(2 * mp.pi)
    if method == "REML":
        total += mp.log(mp.det(XVX))
    b = []
    for level in range(len(model.random[0].levels)):
        s = mp.zeros(Zs[0].cols, 1)
        for i in np.flatnonzero(model.random[0].index == level).tolist():
            s += Zs[0][i, :].T * weighted[i]
        b.append(psi[0] * s)
    return total, beta, b


DENSE = {
    "slope": ("y ~ x + (x | g)", 7),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", 5),
    "scalar slope": ("y ~ x + (0 + x | g)", 7),
}


def data(seed: int) -> pd.DataFrame:
    """`small` with real effects of g and h added."""
    frame = small(seed)
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(0, 3, 5), rng.normal(0, 2, 5), rng.normal(0, 3, 3)
    code, other = frame["g"].map("abcde".index), frame["h"].map("pqr".index)
    frame["y"] = frame["y"] / 3 + a[code] + b[code] * frame["x"] + c[other]
    return frame


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DENSE)
def test_dense_algebra_is_stationary_there(name: str, method: str) -> None:
    """At the certified (G, sigma2) the definition gives the same criterion, beta and BLUPs, and no slope."""
    formula, seed = DENSE[name]
    model = build(formula, data(seed))
    found = certify(model, method)
    assert found.status == "ok"
    sigma2 = value(found.number("ran_pars", "var__Observation", "Residual"))
    psi = []
    for term in model.random:
        G = mp.zeros(len(term.names))
        for i, a in enumerate(term.names):
            for j, b in enumerate(term.names[i:], start=i):
                label = f"var__{a}" if i == j else f"cov__{a}.{b}"
                G[i, j] = G[j, i] = value(found.number("ran_pars", label, term.group))
        psi.append(G)
    total, beta, modes = dense(model, method, psi, sigma2)
    assert abs(total + 2 * value(found.number("loglik", "loglik"))) < mp.mpf(10) ** -25
    for j, coefficient in enumerate(model.names):
        assert abs(beta[j] - value(found.number("fixed", coefficient))) < mp.mpf(10) ** -25
    for level, b in zip(model.random[0].levels, modes, strict=True):
        for j, coefficient in enumerate(model.random[0].names):
            mine = value(found.number("ran_vals", coefficient, model.random[0].group, level))
            assert abs(b[j] - mine) < mp.mpf(10) ** -25
    h = mp.mpf(10) ** -15
    for t, G in enumerate(psi):
        for i in range(G.rows):
            for j in range(i + 1):
                sides = []
                for sign in (1, -1):
                    moved = [H.copy() for H in psi]
                    moved[t][i, j] += sign * h
                    moved[t][j, i] = moved[t][i, j]
                    sides.append(dense(model, method, moved, sigma2)[0])
                assert abs(sides[0] - sides[1]) / (2 * h) < mp.mpf(10) ** -24


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "y -> 1000 + 3 y": lambda f: f.assign(y=1000 + 3 * f["y"]),
    "x -> 2000 + x": lambda f: f.assign(x=2000 + f["x"]),
    "x -> -5 x": lambda f: f.assign(x=-5 * f["x"]),
    "permuted rows": lambda f: f.sample(frac=1, random_state=3).reset_index(drop=True),
    "relabelled levels": lambda f: f.assign(g=f["g"].map(dict(zip("abcde", "zyxwv", strict=True)))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_with_a_known_answer(change: str) -> None:
    """Coordinates, order of rows and names of levels carry no information (changes exact in float64)."""
    frame = data(7)
    frame["y"], frame["x"] = np.round(frame["y"] * 2**20) / 2**20, np.round(frame["x"] * 2**20) / 2**20
    before = certify(build("y ~ x + (x | g)", frame), "REML")
    after = certify(build("y ~ x + (x | g)", CHANGES[change](frame)), "REML")
    c = 3 if change.startswith("y") else 1
    k = -5 if "-5" in change else 1
    d = 2000 if "2000" in change else 0

    def pair(effect: Any, term: str, group: str | None = None) -> tuple[mp.mpf, mp.mpf]:
        return value(before.number(effect, term, group)), value(after.number(effect, term, group))

    def near(a: mp.mpf, b: mp.mpf) -> None:
        assert abs(a - b) <= abs(a) * mp.mpf(10) ** -25

    near(*(v * s for v, s in zip(pair("fixed", "x"), (c, k), strict=True)))
    near(*(v * s for v, s in zip(pair("ran_pars", "var__x", "g"), (c**2, k**2), strict=True)))
    old, new = pair("ran_pars", "cov__(Intercept).x", "g")
    slope = pair("ran_pars", "var__x", "g")[1]
    near(old * c**2, new * k + d * slope)
    near(*(v * s for v, s in zip(pair("ran_pars", "var__Observation", "Residual"), (c**2, 1), strict=True)))
    n, p = len(frame), 2
    old, new = pair("loglik", "loglik")
    near(old - (n - p) * mp.log(c), new + mp.log(abs(k)))
    names = dict(zip("abcde", "zyxwv", strict=True)) if change.startswith("rel") else {v: v for v in "abcde"}
    for level, name in names.items():
        a = value(before.number("ran_vals", "x", "g", (level,)))
        near(a * c, value(after.number("ran_vals", "x", "g", (name,))) * k)


def stationary() -> tuple[Sums, Stationary]:
    """sleepstudy, proven."""
    sums = Sums.of(Structure.of(case("sleepstudy")))
    reference = Reference.polished(case("sleepstudy"), "REML")
    psi = [L @ L.T for L in reference.criterion.factors(reference.best.psi, reference.best.sigma2)]
    with precision(sums.bits):
        found = prove(sums, "REML", *chart(psi, [1e-9]))
    assert isinstance(found, Stationary)
    return sums, found


@pytest.mark.parametrize(("shift", "radius", "proven"), [(0.0, 1e-20, True), (1e-18, 1e-20, False)])
def test_a_wrong_box_is_not_proven(shift: float, radius: float, proven: bool) -> None:
    """A box beside the optimum, however close, must fail; the same box around it must not."""
    sums, found = stationary()
    with precision(sums.bits):
        middle = [(v + shift).mid() for v in found.box]
        first = found.chart.first(middle)
        point = evaluate(sums, "REML", found.chart.psi(middle))
        H = point.hessian(first, found.chart.second()).mid()
        Y = H.inv().mid()
        step = [sum((Y[i, j] * g for j, g in enumerate(point.gradient(first))), arb(0)) for i in range(3)]
        again = enclosed(sums, "REML", found.chart, middle, [arb(radius)] * 3, Y, step)
    assert (again.why == "") == proven
    assert proven or "Krawczyk" in again.why


def test_a_saddle_is_not_proven() -> None:
    """Zero slope variance in sleepstudy || is stationary and 43 worse; leaving it finds the optimum."""
    model = case("sleepstudy-uncorrelated")
    sums = Sums.of(Structure.of(model))
    with precision(sums.bits):
        found = prove(sums, "REML", *chart([np.array([[1.4]]), np.array([[0.0]])], [1e-9, 1e-9]))
        assert isinstance(found, Stationary)
        assert found.chart.ranks == (1, 0)
        assert "more variance lowers" in found.why
        ends = [module.Candidate(float(found.value), tuple(floats(G) for G in found.point.psi))]
        lower = module.prove_all(sums, "REML", ends).proven
    assert len(lower) == 1
    assert float(found.value - lower[0].value) == pytest.approx(42.8, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_bimodal_data_have_two_optima_and_a_global_proof(method: str) -> None:
    """Theta = 0 (-83.53490) and 34.6 (-78.48623), REML: lme4's default returns the second."""
    found = certify(case("bimodal"), method)
    assert (found.status, found.proof) == ("singular", "global")
    assert len(found.optima) == 2
    assert all(o.proven for o in found.optima)
    if method == "REML":
        assert [o.criterion.double for o in found.optima] == pytest.approx([-83.53490, -78.48623], abs=5e-6)
        assert float(found.optima[1].relative[0].double) ** 0.5 == pytest.approx(34.6, abs=0.05)


def test_branch_and_bound_finds_what_the_search_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were only the upper optimum of the bimodal data found, it must not be called global."""
    search = module.candidates
    monkeypatch.setattr(module, "candidates", lambda *a: (search(*a)[0][1:], ()))
    found = certify(case("bimodal"), "REML")
    assert found.status == "singular"
    assert found.number("loglik", "loglik").double == pytest.approx(83.53490 / 2, abs=5e-6)


def upper() -> tuple[Sums, Stationary]:
    """The bimodal data's upper optimum."""
    sums = Sums.of(Structure.of(case("bimodal")))
    with precision(sums.bits):
        found = prove(sums, "REML", *chart([np.array([[1199.0]])], [1e-9]))
    assert isinstance(found, Stationary)
    assert not found.why
    return sums, found


def test_a_maximum_is_not_proven() -> None:
    """Between the bimodal data's minima the gradient vanishes once more; Krawczyk alone would accept it."""
    sums, _ = upper()
    with precision(sums.bits):
        grid = np.geomspace(1.0, 1000.0, 60)
        search = Search(sums, "REML", arb(0), arb(0))
        top = grid[int(np.argmax([float(search.value_at(float(t))) for t in grid]))]
        found = prove(sums, "REML", *chart([np.array([[top]])], [1e-9]))
    assert isinstance(found, Stationary)
    assert "Hessian" in found.why


def test_an_interval_with_the_optimum_is_never_excluded() -> None:
    """Excluded too easily, any local optimum would be called global."""
    sums, found = upper()
    with precision(sums.bits):
        search = Search(sums, "REML", found.point.psi[0][0, 0], found.value)
        for low, high in ((1190.0, 1210.0), (100.0, 1e5), (0.0, 2000.0)):
            middle = (low + high) / 2
            assert not search.excluded(low, high, middle, search.value_at(middle))
        assert search.excluded(1250.0, 1251.0, 1250.5, search.value_at(1250.5))
        far = search.tail(1.0)
        assert far is not None
        assert far > 1199


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + w + (1 | g)", "y ~ x + (0 + x | g)"])
def test_the_tail_bound_is_the_regression_on_groups(formula: str) -> None:
    """Too large a residual sum of squares would cut the search off where a lower optimum may still come."""
    frame = data(7).assign(w=lambda f: (f["g"] < "c").astype(float))
    model = build(formula, frame)
    sums = Sums.of(Structure.of(model))
    term = model.random[0]
    wide = np.column_stack([model.X, np.eye(len(term.levels))[term.index] * term.Z])
    rest = model.y - wide @ np.linalg.lstsq(wide, model.y)[0]
    with precision(sums.bits):
        bound = residual(sums)
    assert bound is not None
    assert float(bound) / sums.structure.unit**2 == pytest.approx(rest @ rest, rel=1e-9)


def correlated() -> pd.DataFrame:
    """Slopes exactly .7 of the intercepts, little noise: the optimum has correlation 1."""
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(15), 8), np.tile(np.linspace(-1, 1, 8), 15)
    u = rng.normal(size=15)[g]
    return pd.DataFrame({"y": u + 0.7 * u * x + rng.normal(size=120), "x": x, "g": g})


def test_a_correlation_of_one_is_proven_in_a_chart_of_rank_one() -> None:
    """On the boundary the full factor has no isolated optimum: only the reduced one can be proven."""
    found = certify(build("y ~ x + (x | g)", correlated()), "REML")
    assert found.status == "singular"
    assert found.optima[0].ranks == (1,)
    a, c, b = (
        value(found.number("ran_pars", n, "g")) for n in ("var__(Intercept)", "cov__(Intercept).x", "var__x")
    )
    assert abs(a * b - c**2) < mp.mpf(10) ** -25
    assert found.number("theta", "x", "g").value == "0"
    assert -2 * found.number("loglik", "loglik").double == pytest.approx(
        Reference.polished(build("y ~ x + (x | g)", correlated()), "REML").best.value, abs=1e-9
    )


def test_borderline_zero_variance_is_undecided() -> None:
    """MSB = MSW exactly: the optimum is at zero and Gamma is zero, too; there is no strict proof."""
    frame = pd.DataFrame({"y": [-1.0, 1, 0, 2, -2, 0], "g": list("aabbcc")})
    found = certify(build("y ~ 1 + (1 | g)", frame), "REML")
    assert found.status == "undecided"
    assert "borderline" in found.why
    assert found.rows == ()


@pytest.mark.parametrize(
    ("y", "why"),
    [
        ([1.0, 1, 2, 2, 4, 4], "sigma|residual|rows"),
        ([3.0, 3, 3, 3, 3, 3], "sigma|residual|rows|constant"),
    ],
)
def test_zero_residual_variance_is_named(y: list[float], why: str) -> None:
    """The criterion has no minimum; a search would run to the smallest double."""
    found = certify(build("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": list("aabbcc")})), "REML")
    assert found.status == "unidentified"
    assert pd.Series([found.why]).str.contains(why).all()
    assert found.rows == ()
    assert check(found, build("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": list("aabbcc")}))) is None


def test_a_tie_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two optima whose balls overlap: neither is the reference."""
    honest = module.prove_all

    def tied(*given: Any) -> module.Found:
        found = honest(*given)
        low, high = found.proven
        return replace(found, proven=(low, replace(high, value=low.value)))

    monkeypatch.setattr(module, "prove_all", tied)
    found = certify(case("bimodal"), "REML")
    assert (found.status, found.rows, found.bits) == ("undecided", (), module.LADDER[-1])
    assert "tie" in found.why


@pytest.mark.parametrize("limit", ["PROVABLE", "REFINABLE"])
def test_out_of_reach_is_refined_with_an_honest_estimate(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Without a proof the status says so, and the estimate covers the true error."""
    model = case("pastes")
    truth = certify(model, "REML")
    monkeypatch.setattr(module, "PROVABLE", 0)
    monkeypatch.setattr(module, limit, 0)
    found = certify(model, "REML")
    assert (found.status, found.proof) == ("refined", "none")
    assert [r.label for r in found.rows] == [r.label for r in truth.rows]
    for row, right in zip(found.rows, truth.rows, strict=True):
        assert row.number.meets(right.number), row.label
        assert Decimal(row.number.radius) < Decimal("1e-4")
    assert check(found, model) is None


@pytest.mark.parametrize("name", ["sleepstudy", "dyestuff2", "penicillin", "bimodal"])
def test_a_certificate_is_proven_again(name: str) -> None:
    """`--check` starts from the decimals alone."""
    model = case(name)
    assert check(certify(model, "ML", "sha256:1"), model, "sha256:1") is None


def tampered(found: Certificate) -> dict[str, Certificate]:
    """Certificates that say a little more or other than what was proven."""
    first, *rest = found.rows
    other = str(Decimal(first.number.value) * (1 + Decimal("1e-20")))
    wrong = replace(first, number=Number(other, first.number.radius, float(other)))
    best = found.optima[0]
    far = replace(best.relative[0], value=str(Decimal(best.relative[0].value) * 2))
    return {
        "fixed": replace(found, rows=(wrong, *rest)),
        "double": replace(found, rows=(replace(first, number=replace(first.number, double=1.0)), *rest)),
        "labels": replace(found, rows=tuple(rest)),
        "status": replace(found, status="singular"),
        "proof": replace(found, proof="global"),
        "covariances": replace(found, optima=(replace(best, relative=(far, *best.relative[1:])),)),
        "criterion": replace(found, optima=(replace(best, criterion=Number("1743", "1E-27", 1743.0)),)),
        "hash": replace(found, data_hash="sha256:2"),
        "none": replace(found, optima=()),
    }


@pytest.mark.parametrize("what", tampered(certify(case("sleepstudy"), "REML")))
def test_a_tampered_certificate_fails(what: str) -> None:
    """A check that only reads the file would pass all of these."""
    model = case("sleepstudy")
    reason = check(tampered(certify(model, "REML", "sha256:1"))[what], model, "sha256:1")
    assert reason is not None
    assert what in reason


def test_other_data_fail() -> None:
    """One datum changed by one ulp is another certificate."""
    model = case("sleepstudy")
    y = model.y.copy()
    y[7] = np.nextafter(y[7], 1e9)
    assert check(certify(model, "REML"), replace(model, y=y)) is not None


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["(1 | g)", "(x | g)", "(1 | g) + (1 | h)"]),
    st.sampled_from(METHODS),
)
def test_never_above_float64(seed: int, random: str, method: str) -> None:
    """On any small data: an optimum as low as the float64 search's, proven again, or no rows at all."""
    model = build(f"y ~ x + {random}", small(seed))
    found = certify(model, method)
    if found.status in ("ok", "singular"):
        polished = Reference.polished(model, method).best.value
        assert -2 * found.number("loglik", "loglik").double <= polished + 1e-7
        assert check(found, model) is None
    else:
        assert not found.rows
        assert found.why
