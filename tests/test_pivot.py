"""A term eliminated from a large unit: the same criterion, and all that follows, as without."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge import certify, estimates, pivot, structure
from bridge.certification import digits
from bridge.criterion import Criterion
from bridge.denominator import KenwardRoger, satterthwaite
from bridge.errors import ModelError
from bridge.model import Model, build
from bridge.newton import descend, hessian
from bridge.structure import Structure
from tests import naive
from tests.test_criterion import small

FORMULAS = {
    "intercepts": "y ~ x + (1 | s) + (1 | d) + (1 | h)",
    "slopes of another": "y ~ x + (1 | s) + (x | d)",
    "slope": "y ~ x + (0 + x | s) + (1 | d)",
    "no fixed effects but one": "y ~ 1 + (1 | s) + (1 | d)",
}


def crossed(formula: str, weights: str = "") -> Model:
    """Three hundred rows, forty levels crossed with nine within three, one level with x = 0 throughout."""
    rng = np.random.default_rng(3)
    n = 300
    s, d = rng.integers(40, size=n), rng.integers(9, size=n)
    x = np.where(s == 7, 0.0, rng.normal(2, 1, n))
    y = 10 + x + rng.normal(0, 0.5, 40)[s] + rng.normal(0, 0.8, 9)[d] + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "x": x, "s": s.astype(str), "d": d.astype(str), "h": (d % 3).astype(str)})
    frame["w"] = rng.uniform(0.2, 4, n)
    return build(formula, frame, weights=weights or None)


def both(model: Model, monkeypatch: pytest.MonkeyPatch, largest: float = 5000) -> tuple[Structure, Structure]:
    """Without and with a pivot."""
    whole = Structure.of(model)
    monkeypatch.setattr(structure, "LARGEST", largest)
    monkeypatch.setattr(pivot, "ROWS", 50)
    less = Structure.of(model)
    assert all(bucket.pivot is None for bucket in whole.buckets)
    assert less.buckets[0].pivot is not None
    return whole, less


def close(a: object, b: object, size: float = 1e-10) -> bool:
    """Within `size` of the largest entry."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return bool(
        np.max(np.abs(a - b), initial=0.0) <= size * max(float(np.max(np.abs(b), initial=0.0)), 1e-300)
    )


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("weights", ["", "w"])
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_nothing_depends_on_the_way(
    formula: str, weights: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large crossed model would be judged by another criterion than a small one.

    Worst seen: 8e-12, a BLUP at ten times the residual's standard deviation.
    """
    model = crossed(formula, weights)
    criteria = [Criterion(one, method) for one in both(model, monkeypatch)]
    for scale in (0.0, 0.01, 1.0, 10.0):
        factors = tuple(
            scale * (0.3 * np.tril(np.ones((k, k))) + 0.7 * np.eye(k))
            for k in (term.Z.shape[1] for term in model.random)
        )
        a, b = (criterion.at(factors) for criterion in criteria)
        whole, less = criteria
        assert abs(a.value - b.value) <= a.bound
        assert close(less.beta(b), whole.beta(a))
        assert close(less.phi(b), whole.phi(a))
        assert close(hessian(less, b), hessian(whole, a))
        pairs = [(c.gradient(p), c.blups(p), c.floors(p)) for c, p in ((less, b), (whole, a))]
        for mine, right in zip(*pairs, strict=True):
            assert all(close(x, z) for x, z in zip(mine, right, strict=True))


def test_value_equals_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways could be wrong together; this is the density in 50 digits."""
    model = build("y ~ x + (1 | g) + (1 | h)", small())
    psi = (np.array([[0.6]]), np.array([[2.5]]))
    less = both(model, monkeypatch, 200)[1]
    for method in ("REML", "ML"):
        value, point = Criterion(less, method).unprofiled(psi, 1.9)
        assert abs(value - naive.evaluate(model, method, psi, 1.9)["value"]) <= point.bound


def test_degrees_of_freedom_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Satterthwaite's and Kenward-Roger's columns would be others: each moment enters."""
    model = crossed(FORMULAS["intercepts"])
    whole, less = (Criterion(one, "REML") for one in both(model, monkeypatch))
    psi = tuple(np.array([[v]]) for v in (0.25, 0.64, 0.1))
    assert close(satterthwaite(less, psi, 1.1), satterthwaite(whole, psi, 1.1))
    kr = [KenwardRoger.of(criterion, psi, 1.1) for criterion in (less, whole)]
    assert close(kr[0].std_error, kr[1].std_error)
    assert close(kr[0].df, kr[1].df)


def test_a_descent_ends_at_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boundary and Gamma test go through the eliminated term, too: h has no variance here."""
    model = crossed(FORMULAS["intercepts"])
    ends = [
        descend(Criterion(one, "REML"), tuple(np.eye(1) for _ in model.random))[0]
        for one in both(model, monkeypatch)
    ]
    assert abs(ends[0].value - ends[1].value) <= ends[0].bound
    for a, b in zip(ends[0].factors, ends[1].factors, strict=True):
        assert abs(a[0, 0] - b[0, 0]) < 1e-8


def test_what_is_too_large_still_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory would run out without a word."""
    monkeypatch.setattr(structure, "LARGEST", 500)
    with pytest.raises(ModelError, match=r"300 rows are linked by crossed factors through 52 levels"):
        Structure.of(crossed(FORMULAS["intercepts"]))


@pytest.mark.parametrize(("formula", "weights"), [("intercepts", "w"), ("slopes of another", "")])
def test_extended_precision_meets_what_is_proven(
    formula: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty digits of a certificate that is too large for a proof would be digits of something else."""
    model = crossed(FORMULAS[formula], weights)
    proven = certify.certify(model, "REML")
    assert proven.proven
    monkeypatch.setattr(structure, "LARGEST", 5000)
    monkeypatch.setattr(certify, "PROVABLE", 0.0)
    monkeypatch.setattr(certify, "REFINABLE", 0.0)
    monkeypatch.setattr(estimates, "MODES", 0)
    refined = certify.certify(model, "REML")
    assert (refined.status, refined.bits, digits(refined)) == ("refined", 192, 30)
    for row in refined.rows:
        assert row.number.meets(proven.number(row.effect, row.term, row.group, row.level)), row.label
    assert certify.check(refined, model) is None


@pytest.mark.slow
@pytest.mark.needs_r
def test_insteval() -> None:
    """The criterion at lme4's optimum of its own data would not be lme4's deviance, 237721.76877449."""
    from tests.benchmarks.race import insteval

    model = build("y ~ service + (1 | s) + (1 | d) + (1 | dept)", insteval())
    criterion = Criterion(Structure.of(model), "ML")
    theta = (0.27646408721, 0.43735312438, 0.06669725640)
    sigma2 = 1.17749**2
    value = criterion.at(criterion.factors(tuple(np.array([[t**2 * sigma2]]) for t in theta), sigma2)).value
    assert value == pytest.approx(237721.76877449, abs=1e-7)
