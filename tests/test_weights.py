"""Weights and offset, from a column to a verdict: against mpmath, closed forms, R, and equal models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import bridge
from bridge import balls, engines
from bridge.audit import align, audit
from bridge.case import Case
from bridge.catalogue import session
from bridge.certificate import Number, read, write
from bridge.certify import certify, check
from bridge.cli import app
from bridge.criterion import Criterion
from bridge.entry import Entry
from bridge.errors import BridgeError, DataError
from bridge.generate import Design
from bridge.identification import problems
from bridge.model import Model, build
from bridge.reference import Reference
from bridge.resources import find
from bridge.run import key
from bridge.structure import Structure
from bridge.sums import Sums
from tests import naive

SIZES = (3, 4, 5, 6, 7)
FORMULA = "y ~ x + (x | g)"


def table(seed: int = 1, origin: float = 0.0) -> pd.DataFrame:
    """25 rows in five groups, with weights w and an offset o."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(5), SIZES)
    n = len(g)
    x, w, o = rng.normal(size=n) + origin, rng.choice([1, 2, 4, 0.5], n), 10 * rng.normal(size=n)
    b = rng.normal(size=(5, 2))
    y = o + 1 + b[g, 0] + (x - origin) * b[g, 1] + rng.normal(size=n) / np.sqrt(w)
    h = np.arange(n) % 3
    return pd.DataFrame(
        {"y": y, "x": x, "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h], "w": w, "o": o}
    )


def model(formula: str = FORMULA, frame: pd.DataFrame | None = None, w: str = "w", o: str = "o") -> Model:
    """The model of a table with weights and an offset."""
    return build(formula, table() if frame is None else frame, weights=w, offset=o)


def distance(a: Number, b: Number, factor: int = 1) -> mp.mpf:
    """Of b from a times a factor, relative to b."""
    with mp.workdps(60):
        return abs(mp.mpf(a.value) * factor - mp.mpf(b.value)) / max(abs(mp.mpf(b.value)), mp.mpf(10) ** -30)


def test_build_puts_columns_where_engines_look() -> None:
    """An engine would be given another row's weight, or none."""
    frame = table()
    frame.loc[2, "w"] = frame.loc[5, "o"] = np.nan
    kept = frame.drop(index=[2, 5])
    made = model(frame=frame)
    assert made.dropped == 2
    assert made.weights is not None
    assert made.offset is not None
    np.testing.assert_array_equal(made.weights, kept["w"])
    np.testing.assert_array_equal(made.offset, kept["o"])
    np.testing.assert_array_equal(made.data[made.spelling.weights], kept["w"])
    np.testing.assert_array_equal(made.data[made.spelling.offset], kept["o"])
    passed = build(FORMULA, frame, weights="w", offset="o", missing="pass")
    assert passed.data[passed.spelling.weights].isna().tolist() == frame["w"].isna().tolist()
    with pytest.raises(ValueError, match="read-only"):
        made.weights[0] = 1.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "is 0 in row 4; weights must be above 0"),
        (-2.5, "is -2.5 in row 4; weights must be above 0"),
        (np.inf, "is infinite in row 4"),
        (1e200, "rescale it"),
        ("much", "is text or categorical; as weights it must be numeric"),
    ],
)
def test_what_no_weight_can_be_is_named(value: object, words: str) -> None:
    """The criterion would be NaN, or that of another model."""
    frame = table().astype({"w": object})
    frame.loc[3, "w"] = value
    frame["w"] = frame["w"].astype(str) if value == "much" else frame["w"].astype(float)
    with pytest.raises(DataError) as caught:
        build(FORMULA, frame, weights="w", name="trial.csv")
    assert str(caught.value).startswith('trial.csv: column "w" ')
    assert words in str(caught.value)


def test_an_offset_may_be_negative_but_is_a_number() -> None:
    """A factor's codes would be taken off the response."""
    with pytest.raises(DataError, match='column "g" is text or categorical; as offset it must be numeric'):
        model(o="g")
    with pytest.raises(DataError, match='no column "weigth"'):
        model(w="weigth")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["REML", "ML"]), st.sampled_from([0.0, 2000.0]))
def test_criterion_is_that_of_its_definition(seed: int, method: str, origin: float) -> None:
    """Float64 or balls would judge by another density than that with R = sigma2 W^-1 and mean X beta + o.

    Worst of 300 draws: 3.4e-13 in float64 (x + 2000 among them), 6e-15 (1 + origin) in a BLUP, 0 in balls.
    """
    frame = table(seed, origin)
    for formula in (FORMULA, "y ~ x + (1 | g) + (1 | h)"):
        made = model(formula, frame)
        criterion = Criterion(Structure.of(made), method)
        psi = tuple(np.eye(t.Z.shape[1]) * 0.3 for t in made.random)
        right = naive.evaluate(made, method, psi, 0.7)
        value, point = criterion.unprofiled(psi, 0.7)
        assert value == pytest.approx(float(right["value"]), abs=1e-11)
        ball = balls.unprofiled(Sums.of(criterion.structure), method, psi, 0.7)
        assert float(ball.rad()) < 1e-30
        assert float(ball) == pytest.approx(float(right["value"]), abs=1e-13, rel=1e-15)
        np.testing.assert_allclose(
            criterion.blups(point)[0], np.array(right["blups"][0], float), atol=1e-12 * (1 + origin)
        )


def test_complete_pooling_is_weighted_least_squares() -> None:
    """Without random terms the criterion would not be the closed form."""
    frame, made = table(), model("y ~ x")
    root = np.sqrt(frame["w"].to_numpy())
    X = np.column_stack([np.ones(25), frame["x"]])
    beta, rss = np.linalg.lstsq(root[:, None] * X, root * (frame["y"] - frame["o"]).to_numpy(), rcond=None)[
        :2
    ]
    point = Reference.polished(made, "ML")
    value = 25 * (1 + np.log(2 * np.pi * rss[0] / 25)) - np.sum(np.log(frame["w"]))
    assert -2 * point.loglik == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-12)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_equal_weights_change_sigma2_alone(method: str) -> None:
    """A weight of 4 in all rows would move beta, G or the log-likelihood: n log 4 must cancel exactly."""
    frame = table().assign(w=4.0)
    weighted, plain = (
        certify(model(frame=frame, o=""), method),
        certify(model(frame=frame, w="", o=""), method),
    )
    assert weighted.status == plain.status
    for a, b in zip(weighted.rows, plain.rows, strict=True):
        assert (a.effect, a.term) == (b.effect, b.term)
        if a.effect == "theta":
            continue
        factor = 1 if a.term != "var__Observation" else 4
        assert distance(b.number, a.number, factor) < 1e-27, a.label


@pytest.mark.parametrize("weights", ["", "w"])
def test_an_offset_is_a_shift_of_the_response(weights: str) -> None:
    """The certificate would not be that of y less its offset, exactly."""
    frame = table().round({"y": 3, "o": 3}).assign(o=lambda f: np.round(f["o"]) * 64)
    frame["y"] = np.round(frame["y"] * 1024) / 1024
    shifted = frame.assign(y=frame["y"] - frame["o"])  # sums of multiples of 2^-10: no rounding
    one = certify(model("y ~ x + (1 | g)", frame, w=weights), "REML")
    other = certify(model("y ~ x + (1 | g)", shifted, w=weights, o=""), "REML")
    assert one.proof == other.proof == "global"
    assert all(distance(a.number, b.number) < 1e-27 for a, b in zip(one.rows, other.rows, strict=True))


def test_a_certificate_is_of_its_columns(tmp_path: Path) -> None:
    """A certificate made with other weights would be held to be one of this model."""
    frame = table().assign(v=lambda f: f["w"] * f["w"])
    made = certify(model(frame=frame), "ML", "hash")
    assert check(made, model(frame=frame), "hash") is None
    assert "weights: v is not the certificate's w" in str(check(made, model(frame=frame, w="v"), "hash"))
    assert "offset: none is not the certificate's o" in str(check(made, model(frame=frame, o=""), "hash"))
    write(tmp_path / "certified.parquet", [made])
    (again,) = read(tmp_path / "certified.parquet")
    assert again.about == (FORMULA, "w", "o", "hash")
    swapped = replace(made, weights="v")
    assert "is not the proven" in str(check(swapped, model(frame=frame, w="v"), "hash"))


def test_a_certificate_from_before_there_were_weights() -> None:
    """Certificates that were shipped would have to be made again."""
    from bridge.certificate import from_record, to_record

    record = json.loads(json.dumps(to_record(certify(model(w="", o=""), "ML"))))
    for field in ("weights", "offset"):
        del record["facts"][field]
    assert from_record(record).about == (FORMULA, "", "", "")


def test_ignored_weights_are_found_out() -> None:
    """An engine that drops weights or offset in silence would be called right."""
    numpy = engines.get("numpy")
    full = model()
    for blind in (model(w=""), model(o="")):
        fit = numpy.fit(blind, "REML", "tight")
        answer = align(full, fit)
        found = audit(Criterion(Structure.of(full), "REML"), answer, fit, numpy)
        score = max(c.difference for c in found.checks if c.quantity == "self: X'R^-1e")
        assert score > 0.01
    fit = numpy.fit(full, "REML", "tight")
    found = audit(Criterion(Structure.of(full), "REML"), align(full, fit), fit, numpy)
    assert max(c.difference for c in found.checks) < 1e-9


def test_data_hash_alone_is_no_name(tmp_path: Path) -> None:
    """A fit or optimum stored without weights would be returned for the same data with them."""
    frame, store, formula = table(), tmp_path / "store", "y ~ x + w + o + (1 | g)"
    runs: list[dict[str, str]] = [{}, {"weights": "w"}, {"offset": "o"}]
    entries = [Entry.of_data(frame, formula, **run) for run in runs]
    assert len({entry.data_hash for entry in entries}) == 1
    assert len({entry.place("REML", "partial") for entry in entries}) == 3
    found = [bridge.compare(frame, formula, engines=["numpy"], store=store, **run) for run in runs]
    assert [a.exit_code for a in found] == [0, 0, 0]
    with session(tmp_path / "other") as referee:  # one worker for all three
        said = referee.judge([replace(e, name=str(i)) for i, e in enumerate(entries)], engines=["numpy"])
    assert [j.verdict.passes for j in said.judgements] == [True] * 3
    slopes = [next(r.estimate for r in j.fit.rows if r.term == "o") for j in said.judgements]
    assert slopes[2] == pytest.approx(slopes[0] - 1, abs=1e-9)
    assert abs(slopes[1] - slopes[0]) > 1e-3


def test_keys_know_the_columns() -> None:
    """Two tasks that differ in their weights alone would share a stored fit."""
    from bridge.run import Task

    task = Task("t", table(), "h", FORMULA, "REML", "numpy")
    names = {
        key(t, {}).name for t in (task, replace(task, weights="w"), replace(task, offset="w"), replace(task))
    }
    assert len(names) == 3


def test_what_weights_do_not_mend() -> None:
    """A model that cannot be identified would be fitted because it has weights or an offset."""
    frame = table()
    known = frame.assign(y=frame["o"] + 3)
    assert problems(model(frame=known)) == (
        "response y less offset o is constant, so the residual variance is zero; use one that varies",
    )
    single = frame.assign(g=[f"g{i}" for i in range(25)])
    (reason,) = problems(model("y ~ x + (1 | g)", single))
    assert "only the weights could tell its variance from the residual's" in reason
    (reason,) = problems(model("y ~ x + (1 | g)", single.assign(w=3.0)))
    assert "cannot be told from the residual's" in reason


@pytest.mark.parametrize(
    ("engine", "columns", "words"),
    [
        ("glmmTMB", {"w": "w", "o": ""}, "likelihood weights, not precision weights"),
        ("nlme", {"w": "", "o": "o"}, "has no offset"),
        ("statsmodels", {"w": "w", "o": ""}, "MixedLM has no weights"),
        ("statsmodels", {"w": "", "o": "o"}, "MixedLM has no offset"),
        ("ols", {"w": "", "o": "o"}, "OLS and WLS have no offset"),
    ],
)
def test_who_cannot_says_so(engine: str, columns: dict[str, str], words: str) -> None:
    """An engine that means something else by a weight, or nothing by an offset, would be called wrong."""
    assert words in str(engines.get(engine).supports(model(**columns), "REML"))


@pytest.mark.needs_r
@pytest.mark.parametrize(
    ("engine", "columns"),
    [
        ("lme4", {}),
        ("lme4", {"w": ""}),
        ("lmerTest", {}),
        ("nlme", {"o": ""}),
        ("glmmTMB", {"w": ""}),
        ("lm", {}),
        ("ols", {"o": ""}),
    ],
)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_r_means_the_same(engine: str, columns: dict[str, str], method: str) -> None:
    """The referee's weights or offset would not be R's: its optimum and log-likelihood are R's own."""
    frame = table(3)
    made = model("y ~ x + (1 | g)", frame, **columns)
    adapter = engines.get(engine)
    used = made if adapter.pooling == "partial" else replace(made, random=())
    right = Reference.polished(used, method)
    fit = adapter.fit(made, method, "tight")
    assert fit.status == "ok", fit.reason
    if engine != "ols" or method == "ML":
        assert fit.loglik == pytest.approx(right.loglik, abs=1e-8)
    np.testing.assert_allclose(
        [row.estimate for row in fit.select("fixed")], right.beta, atol=1e-5 * right.std_error.max()
    )
    assert fit.sigma**2 == pytest.approx(right.best.sigma2, rel=1e-5)


def test_a_design_draws_weights_and_an_offset() -> None:
    """Drawn residuals would not have the variance sigma2 / w, or the offset a coefficient."""
    drawn = Design.from_table(
        {
            "seed": 7,
            "residual_sd": 2.0,
            "clusters": {"sizes": [3, 5], "sd": 0.0},
            "predictors": [
                {"name": "w", "kind": "cycle", "values": [1.0, 4.0], "role": "weights"},
                {"name": "o", "kind": "sequence", "start": 5.0, "role": "offset"},
            ],
        }
    )
    made, rng = drawn.draw(), np.random.default_rng(7)
    rng.standard_normal((2, 1))
    w, o = np.array([1, 4, 1, 1, 4, 1, 4, 1.0]), 5 + np.array([0, 1, 2, 0, 1, 2, 3, 4.0])
    np.testing.assert_allclose(made.frame["y"], o + rng.normal(0, 2, 8) / np.sqrt(w), rtol=1e-15)
    assert [row.term for row in made.truth if row.effect == "fixed"] == ["(Intercept)"]
    assert drawn.formula == "y ~ 1 + (1 | cluster)"
    assert drawn.known() == {"weights": "w", "offset": "o"}


def test_weights_that_cannot_be_drawn() -> None:
    """A design would draw weights below 0, or two columns of them."""
    base = {"seed": 7, "icc": 0.5, "clusters": {"sizes": [3, 5]}}
    column = {"name": "w", "kind": "cycle", "values": [1.0, 0.0], "role": "weights"}
    for wrong, words in [
        ([column], "weights must be above 0"),
        ([{**column, "values": []}], "kind cycle needs values"),
        (
            [{**column, "values": [1.0]}, {**column, "name": "v", "values": [1.0]}],
            "two have the role weights",
        ),
    ]:
        with pytest.raises(BridgeError, match=words):
            Design.from_table({**base, "predictors": wrong})


def test_commands_take_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`compare` would judge another model than `add` keeps, or a wrong column end in a traceback."""
    monkeypatch.chdir(tmp_path)
    table().to_csv("trial.csv", index=False)

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, result.output

    known = ("--weights", "w", "--offset", "o")
    code, said = call("compare", "trial.csv", FORMULA, "--engines", "numpy", *known)
    assert code == 0, said
    right = Reference.polished(build(FORMULA, table(), weights="w", offset="o"), "REML")
    assert f"{right.beta[1]:.6g}"[:6] in said
    assert call("add", "trial.csv", FORMULA, "--name", "mine", *known)[0] == 0
    spec = Case.load("cases/mine").spec
    assert (spec.weights, spec.offset) == ("w", "o")
    code, said = call("run", "mine", "--engines", "numpy")
    assert code == 0, said
    code, said = call("compare", "trial.csv", FORMULA, "--weights", "W")
    assert code == 2
    assert "'W'" in said
    assert "Traceback" not in said


def test_an_argument_that_is_no_column() -> None:
    """A vector of weights would be taken for a name, and end in a traceback."""
    with pytest.raises(BridgeError, match=r"weights .*give the name of a column"):
        bridge.compare(table(), FORMULA, weights=[1.0, 2.0])


@pytest.mark.parametrize("name", ["weights", "offset"])
def test_the_bundled_cases_use_them(name: str) -> None:
    """A case would be named for what its model does not have."""
    spec = Case.load(find("cases") / name).spec
    assert getattr(spec, name)
