"""Why a model is ill-posed: each reason found, with its names, and none invented."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.identification import problems
from bridge.model import build


def frame(n: int = 30, seed: int = 5) -> pd.DataFrame:
    """Columns from which every kind of ill-posed model can be made."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, n))
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": x,
            "z": z,
            "both": x + z,
            "near": x + 1e-6 * z,
            "zero": 0.0,
            "year": 2000.0 + np.arange(n) % 10,
            "g": np.arange(n) % 6,
            "same": [f"g{i % 6}" for i in range(n)],
            "h": np.arange(n) // 6,
            "pair": np.arange(n) // 2,
            "row": np.arange(n),
            "one": "all",
            "F": np.array(list("abc"))[np.arange(n) % 3],
        }
    )


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("y ~ x + (1 | one)", ["one has one level (all)"]),
        ("y ~ x + (1 | row)", ["every level of row has a single row (30 levels, 30 rows)"]),
        ("y ~ x + (1 | g:h)", ["every level of g:h has a single row"]),
        ("y ~ x + (x | pair)", ["2 random effects ((Intercept), x) for each of 15 levels of pair are 30"]),
        ("y ~ factor(g) + x + (1 | g)", ["the fixed effects fit every level of g already"]),
        ("y ~ factor(g) * x + (x | g)", ["the fixed effects fit every level of g already"]),
        ("y ~ x + (1 | g) + (x | same)", ["g and same make the same groups"]),
        ("y ~ x + z + both + (1 | g)", ["both is a linear combination of x, z;"]),
        ("y ~ I(x + 1e9) + z + I(both + 1e9) + (1 | g)", ["I(both + 1e+09) is a linear combination of"]),
        ("y ~ both + x + z + (1 | g)", ["z is a linear combination of both, x;"]),
        ("y ~ x + zero + (1 | g)", ["zero is zero in every row"]),
        ("y ~ x + I(zero + 3) + (1 | g)", ["I(zero + 3) is constant"]),
        (
            "y ~ year + I(2*year + 1) + (1 | g)",
            ["I(2 * year + 1) is a linear combination of (Intercept), year"],
        ),
        ("y ~ 0 + F + I(zero + 1) + (1 | g)", ["I(zero + 1) is a linear combination of Fa, Fb, Fc"]),
        (
            "y ~ x + both + z + I(x - z) + (1 | g)",
            ["z is a linear", "I(x - z) is a linear combination of x, both"],
        ),
        ("I(0*x + 7) ~ x + (1 | g)", ["response I(0 * x + 7) is constant"]),
        ("I(3*x - 1) ~ x + (1 | g)", ["response I(3 * x - 1) is fitted exactly"]),
        ("I(1e9 + 3*x + g^2) ~ x + (1 | g)", ["is fitted exactly"]),
        ("I(1e-9*g - h) ~ (1 | g) + (1 | h)", ["is fitted exactly"]),
        ("I(g*x) ~ z + (x | g)", ["is fitted exactly"]),
        ("I(g^2) ~ 0 + (1 | g)", ["is fitted exactly"]),
        ("I(3*x - 1) ~ x", ["is fitted exactly"]),
    ],
)
def test_found(formula: str, says: list[str]) -> None:
    """An ill-posed model passes, or the reason lacks the names."""
    found = problems(build(formula, frame()))
    assert len(found) == len(says)
    for reason, words in zip(found, says, strict=True):
        assert words in reason


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | g)",
        "y ~ x + (x | g)",
        "y ~ x + near + (1 | g)",
        "y ~ year + I(year^2) + (1 | g)",
        "I(1e9 + y) ~ x + (1 | g)",
        "y ~ I(1e12 + x) + (1 | g)",
        "I(1e-9*y) ~ I(1e9*x) + (1 | g)",
        "I(1e5*g + y) ~ (1 | g)",
        "y ~ (1 | g) + (1 | h)",
        "y ~ (1 | g) + (0 + x | same)",
        "y ~ factor(g) + (0 + x | g)",
        "y ~ x + (1 | pair)",
        "y ~ (1 | g) + (1 | pair)",
        "y ~ F * x + (0 + F | h)",
        "y ~ x",
        "y ~ 0 + (1 | g)",
    ],
)
def test_none_invented(formula: str) -> None:
    """A model that can be fitted is refused."""
    assert problems(build(formula, frame())) == ()


def test_more_effects_than_rows() -> None:
    """N <= p passes."""
    found = problems(build("y ~ F * (x + z) + (1 | g)", frame(9)))
    assert found[0].startswith("there are 9 rows for 9 fixed effects")


def test_saturated_by_two_terms() -> None:
    """Terms that each have fewer columns than rows, and together fit anything, pass as well-posed."""
    data = frame(12).assign(a=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], b=[0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6])
    found = problems(build("y ~ (1 | a) + (1 | b)", data))
    assert len(found) == 1
    assert "can fit any 12 values" in found[0]


def test_many_levels_take_no_dense_matrix() -> None:
    """Memory grows with rows x levels: 50 GB here."""
    rng = np.random.default_rng(2)
    n, q = 120_000, 50_000
    data = pd.DataFrame({"y": rng.normal(size=n), "g": rng.permutation(np.arange(n) % q)})
    assert problems(build("y ~ (1 | g)", data)) == ()
    assert "fitted exactly" in problems(build("I(g * 2) ~ (1 | g)", data))[0]
