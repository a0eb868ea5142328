"""Design: the draws are the documented ones, to the bit, and the truth goes along."""

import math

import numpy as np
import pyarrow.parquet
import pytest

from bridge.data import content_hash, normalise, read
from bridge.errors import CaseError, StoreError
from bridge.generate import Design

UNBALANCED = {
    "seed": 89,
    "intercept": 1.0,
    "residual_sd": 2.0,
    "clusters": {"sizes": [4, 150, 120, 8, 100, 5, 130, 140, 110, 6], "sd": 0.6},
    "predictors": [{"name": "x", "level": "cluster", "kind": "binary", "effect": 0.5}],
}
EVERYTHING = {
    "seed": 7,
    "response": "score",
    "intercept": -1.0,
    "residual_sd": 0.5,
    "clusters": {
        "name": "school",
        "number": 4,
        "size": 6,
        "slopes": ["time"],
        "covariance": [[4.0, 0.6], [0.6, 0.25]],
    },
    "predictors": [
        {"name": "time", "kind": "sequence", "start": 2.0, "step": 0.5, "effect": 0.1},
        {"name": "ses", "level": "cluster", "kind": "normal", "mean": 3.0, "sd": 2.0, "effect": 0.2},
        {"name": "u", "kind": "uniform", "low": -1.0, "effect": 0.3},
    ],
    "factors": [
        {"name": "rater", "levels": 3, "sd": 0.7},
        {"name": "item", "levels": 5, "sd": 0.8, "layout": "random"},
        {"name": "pupil", "levels": 2, "sd": 0.9, "layout": "nested"},
    ],
}


def test_unbalanced_is_the_published_recipe():
    """The case at seed 89 would not be the data on which statsmodels returns +inf."""
    sizes = [4, 150, 120, 8, 100, 5, 130, 140, 110, 6]
    rng = np.random.default_rng(89)
    cluster = np.repeat(np.arange(10), sizes)
    x = (np.arange(10) % 2)[cluster]
    u = rng.normal(0, 0.6, 10)
    y = 1 + 0.5 * x + u[cluster] + rng.normal(0, 2, sum(sizes))
    frame = Design.from_table(UNBALANCED).draw().frame
    assert np.array_equal(frame["y"], y)
    assert np.array_equal(frame["x"], x)
    assert np.array_equal(frame["cluster"].cat.codes, cluster)
    assert list(frame["cluster"].cat.categories)[::9] == ["c01", "c10"]


def test_draws_follow_the_documented_order():
    """Another order of draws would change every generated case."""
    rng = np.random.default_rng(7)
    school, within = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    time = 2 + 0.5 * within
    ses = rng.normal(3, 2, 4)[school]
    u = rng.uniform(-1, 1, 24)
    item = rng.integers(5, size=24)
    b = rng.standard_normal((4, 2)) @ np.linalg.cholesky([[4, 0.6], [0.6, 0.25]]).T
    raters, items, pupils = rng.normal(0, 0.7, 3), rng.normal(0, 0.8, 5), rng.normal(0, 0.9, 8)
    residual = rng.normal(0, 0.5, 24)
    y = -1 + 0.1 * time + 0.2 * ses + 0.3 * u + b[school, 0] + b[school, 1] * time
    y = y + raters[np.arange(24) % 3] + items[item] + pupils[2 * school + within % 2] + residual

    drawn = Design.from_table(EVERYTHING).draw()
    assert drawn.frame["score"].to_numpy() == pytest.approx(y, rel=0, abs=1e-14)
    values = {(row.group, row.level, row.term): row.estimate for row in drawn.truth}
    assert values["school", ("s2",), "time"] == pytest.approx(b[1, 1], abs=1e-15)
    assert values["item", ("i5",), "(Intercept)"] == items[4]
    assert values["pupil:school", ("p2", "s3"), "(Intercept)"] == pupils[5]


def test_truth_accounts_for_every_row():
    """A random effect under the wrong label: what is left would not be the residual."""
    drawn = Design.from_table(EVERYTHING).draw()
    labels = drawn.frame.astype({"school": str, "rater": str, "item": str, "pupil": str})
    value = {(row.group, row.level, row.term): row.estimate for row in drawn.truth}
    left = []
    for row in labels.to_dict("records"):
        fixed = value[None, None, "(Intercept)"]
        fixed += sum(value[None, None, name] * row[name] for name in ("time", "ses", "u"))
        one = value["school", (row["school"],), "(Intercept)"]
        slope = value["school", (row["school"],), "time"] * row["time"]
        others = value["rater", (row["rater"],), "(Intercept)"] + value["item", (row["item"],), "(Intercept)"]
        nested = value["pupil:school", (row["pupil"], row["school"]), "(Intercept)"]
        left.append(row["score"] - fixed - one - slope - others - nested)
    rng = np.random.default_rng(7)
    rng.normal(size=4)
    rng.uniform(size=24)
    rng.integers(5, size=24)
    rng.normal(size=8 + 3 + 5 + 8)
    assert left == pytest.approx(rng.normal(0, 0.5, 24), rel=0, abs=1e-14)


def test_a_factor_over_another():
    """Each lecturer would lecture in several departments, or the draws of everything else would move."""
    factors = [*EVERYTHING["factors"][:2], {"name": "set", "levels": 2, "over": "item", "sd": 0.4}]
    design = Design.from_table({**EVERYTHING, "factors": factors})
    drawn, plain = design.draw(), Design.from_table({**EVERYTHING, "factors": factors[:2]}).draw()
    item, sets = drawn.frame["item"].cat.codes, drawn.frame["set"].cat.codes
    assert np.array_equal(sets, item % 2)
    assert np.array_equal(item, plain.frame["item"].cat.codes)
    assert design.formula.endswith("(1 | rater) + (1 | item) + (1 | set)")
    assert [row.level for row in drawn.truth if row.group == "set" and row.level] == [("s1",), ("s2",)]
    assert Design.from_table(design.to_table()) == design
    wrong = {
        "over 'maker', no factor before it": {"over": "maker"},
        "keep one": {"over": "item", "layout": "random"},
    }
    for message, change in wrong.items():
        with pytest.raises(CaseError, match=message):
            Design.from_table({**EVERYTHING, "factors": [*factors[:2], factors[2] | change]})


def test_sizes_in_turn():
    """A hundred thousand unequal groups would need a list of a hundred thousand sizes."""
    design = Design.from_table({**UNBALANCED, "clusters": {"number": 7, "sizes": [1, 2, 3], "sd": 0.6}})
    frame = design.draw().frame
    assert frame.groupby("cluster", observed=True).size().tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert Design.from_table(design.to_table()) == design
    many = {**UNBALANCED, "clusters": {"number": 4_000_000, "sizes": [2, 3, 3], "sd": 0.6}}
    with pytest.raises(CaseError, match="10666666 rows are more than the 10000000 that can be drawn"):
        Design.from_table(many)


def test_hashes_are_pinned():
    """A new release would draw other data from the same design."""
    assert (
        content_hash(Design.from_table(UNBALANCED).draw().frame)
        == "sha256:a6f1a35eab006d61e1c9f53cb742cbd6932d72cf8eca4acd31a55885fafc5645"
    )
    assert (
        content_hash(Design.from_table(EVERYTHING).draw().frame)
        == "sha256:a8d4cf353d7d3578dd22b1bdcc5a79dd94f84fa474bffd1a789f4c42ac3b7a83"
    )


def test_icc_splits_the_total_variance():
    """The intraclass correlation of the drawn data would not be the one asked for."""
    design = Design.from_table(
        {"seed": 1, "icc": 0.3, "total_variance": 4.0, "clusters": {"number": 2000, "size": 2}}
    )
    drawn = design.draw()
    stated = {(row.group, row.term): row.estimate for row in drawn.truth if row.effect == "ran_pars"}
    assert stated["cluster", "var__(Intercept)"] == pytest.approx(1.2)
    assert stated["Residual", "var__Observation"] == pytest.approx(2.8)
    pairs = drawn.frame["y"].to_numpy().reshape(2000, 2)
    # The covariance of a pair is tau2; its standard error at J pairs is sqrt((total^2 + tau2^2) / J) = .09.
    assert np.cov(pairs.T)[0, 1] == pytest.approx(1.2, abs=4 * math.sqrt((16 + 1.44) / 2000))


def test_formula_is_lme4s():
    """The case would be fitted with another model than it was drawn from."""
    assert Design.from_table(UNBALANCED).formula == "y ~ 1 + x + (1 | cluster)"
    assert Design.from_table(EVERYTHING).formula == (
        "score ~ 1 + time + ses + u + (1 + time | school) + (1 | rater) + (1 | item) + (1 | pupil:school)"
    )


@pytest.mark.parametrize("table", [UNBALANCED, EVERYTHING], ids=["unbalanced", "everything"])
def test_table_round_trip(table):
    """A design written to case.toml would come back as another."""
    design = Design.from_table(table)
    assert Design.from_table(design.to_table()) == design


def test_write(tmp_path):
    """Data or truth would not be on disk as drawn."""
    drawn = Design.from_table(EVERYTHING).write(tmp_path)
    assert content_hash(normalise(read(tmp_path / "data.parquet"))) == content_hash(drawn.frame)
    truth = pyarrow.parquet.read_table(tmp_path / "truth.parquet").to_pylist()
    assert [(r["group"], r["level"] and tuple(r["level"]), r["term"], r["estimate"]) for r in truth] == [
        (r.group, r.level, r.term, r.estimate) for r in drawn.truth
    ]
    with pytest.raises(StoreError, match="no such folder"):
        drawn.write(tmp_path / "absent")


def test_perfect_correlation():
    """A singular covariance matrix, the very thing to test engines with, would be refused."""
    table = EVERYTHING | {
        "clusters": EVERYTHING["clusters"] | {"covariance": [[1.0, 0.7], [0.7, 0.7 * 0.7]]},
    }
    truth = Design.from_table(table).draw().truth
    b = {(r.level, r.term): r.estimate for r in truth if r.group == "school" and r.level}
    for school in ("s1", "s2", "s3", "s4"):
        assert b[(school,), "time"] == pytest.approx(0.7 * b[(school,), "(Intercept)"], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": None}, "seed: None"),
        ({"seed": 1.5}, "seed: 1.5"),
        ({"seed": 2**63}, "seed: 9223372036854775808"),
        ({"residual_sd": 1e308}, "residual_sd: 1e+308: must be at most 1e+100"),
        ({"intercept": -1e308}, "intercept: -1e+308"),
        ({"clusters": {"sizes": [3], "sd": 1e308}}, "clusters.sd: 1e+308"),
        ({"clusters": {"number": 10**10, "size": 10**5, "sd": 1.0}}, "10000000 that can be drawn"),
        ({"clusters": {"sizes": [10**7, 1], "sd": 1.0}}, "10000001 rows"),
        (
            {"factors": [{"name": "item", "levels": 2 * 10**6, "layout": "nested", "sd": 1.0}]},
            "item has more than",
        ),
        ({"sead": 1}, "sead: unknown key"),
        ({"icc": 0.5}, "icc"),
        ({"residual_sd": None}, "give icc, or residual_sd"),
        ({"residual_sd": -1.0}, "residual_sd: -1.0"),
        ({"clusters": {"sd": 1.0}}, "clusters: give either sizes"),
        ({"clusters": {"sizes": [3, 0], "sd": 1.0}}, "clusters.sizes[1]: 0"),
        ({"clusters": {"sizes": [3], "slopes": ["x"], "sd": 1.0}}, "covariance"),
        ({"clusters": {"sizes": [3], "slopes": ["z"], "covariance": [[1.0, 0.0], [0.0, 1.0]]}}, "'z'"),
        ({"clusters": {"sizes": [3], "covariance": [[-1.0]]}}, "positive semidefinite"),
        ({"clusters": {"sizes": [3], "covariance": [[1.0, 0.5]]}}, "1 rows of 1"),
        ({"predictors": [{"name": "x", "kind": "binnary"}]}, "predictors[0].kind: 'binnary' is not one of"),
        ({"predictors": [{"name": "y"}]}, "'y' is used twice"),
        ({"predictors": [{"name": "a b"}]}, "predictors[0].name: 'a b'"),
        ({"factors": [{"name": "f", "levels": 3}]}, "factors[0].sd: missing"),
    ],
)
def test_bad_designs(change, words):
    """A mistake in a [generate] table would end in a traceback, or in other data."""
    with pytest.raises(CaseError) as caught:
        Design.from_table(UNBALANCED | change, "my/case.toml")
    assert str(caught.value).startswith("my/case.toml: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
