"""Columns and names of the fixed part against R's model.matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.coding import orthogonal
from bridge.errors import DataError, ModelError
from bridge.model import build
from tests.matrices import Case, answers, fixed_cases, mixed_cases


@pytest.mark.needs_r
@pytest.mark.parametrize("case", fixed_cases() + mixed_cases(), ids=lambda case: case.id)
def test_matrix(case: Case) -> None:
    """A column is named, placed, coded or computed otherwise than in R."""
    model, answer = case.model(), answers()[case.id]
    assert model.names == answer.names
    np.testing.assert_allclose(model.X, answer.X, rtol=1e-12, atol=1e-12)


def test_orthogonal_is_the_published_table() -> None:
    """contr.poly(4): the coefficients of Fisher and Yates' table, normalised."""
    table = np.array([[-3, -1, 1, 3], [1, -1, -1, 1], [-1, 3, -3, 1]]).T / np.sqrt([20, 4, 20])
    np.testing.assert_allclose(orthogonal(np.arange(4.0), 3), table, atol=1e-15)


def frame(**columns: object) -> pd.DataFrame:
    """A few rows with a response, a group and these columns."""
    return pd.DataFrame({"y": np.arange(6.0), "g": list("aabbcc"), **columns})


@pytest.mark.parametrize(
    ("formula", "columns", "levels"),
    [
        ("y ~ v", {"v": ["b", "B", "é", "a", "Z", "10"]}, ("vB", "vZ", "va", "vb", "vé")),
        (
            "y ~ factor(v)",
            {"v": [10, 9, 1, 2, 100000, 1]},
            ("factor(v)2", "factor(v)9", "factor(v)10", "factor(v)100000"),
        ),
        (
            "y ~ factor(v)",
            {"v": [1e5, 0.1, 0.1, 2, 1 / 3, 2]},
            ("factor(v)0.333333333333333", "factor(v)2", "factor(v)1e+05"),
        ),
        ("y ~ v", {"v": pd.array([True, False, None, True, False, True], dtype="boolean")}, ("vTRUE",)),
        ("y ~ v", {"v": np.array([True, False, None, True, False, True], dtype=object)}, ("vTRUE",)),
        (
            "y ~ factor(v)",
            {"v": [2**53, 2**53 + 1, 2**53, 2**53, 2**53, 2**53]},
            ("factor(v)9007199254740993",),
        ),
    ],
)
def test_levels(formula: str, columns: dict[str, object], levels: tuple[str, ...]) -> None:
    """Text not in code-point order, numbers not in numeric order, or labels not as R writes them."""
    assert build(formula, frame(**columns)).names[1:] == levels


@pytest.mark.parametrize(
    ("formula", "columns", "error", "says"),
    [
        ("y ~ log(v)", {"v": [1.0, 2, 0, 1, 1, 1]}, DataError, r"log\(v\) is infinite in row 3"),
        ("y ~ sqrt(v)", {"v": [1.0, -2, 0, 1, 1, 1]}, DataError, r"sqrt\(v\) is undefined in row 2"),
        ("y ~ log(g)", {}, ModelError, 'column "g" is a factor, arithmetic needs numbers'),
        ("y ~ I(2)", {}, ModelError, r"I\(2\) is a constant"),
        ("y ~ poly(v, 2)", {"v": [1, 1, 2, 2, 1, 1]}, ModelError, "not below its 2 distinct values"),
        ("y ~ poly(v, 2)", {"v": [1, np.nan, 2, 3, 1, 1]}, DataError, "needs every value"),
        ("y ~ v", {"v": [1, "a", 2, 3, 1, 1]}, DataError, "mixes values of type int, str"),
        ("y ~ v", {"v": pd.date_range("2020", periods=6)}, DataError, "make it numeric, text or categorical"),
        ("y ~ v", {"v": [1, np.inf, 2, 3, 1, 1]}, DataError, 'column "v" is infinite in row 2'),
        ("y ~ v", {"v": [np.nan] * 6}, DataError, 'column "v" has no value, all 6 are missing'),
        ("y ~ v", {"v": [None] * 6}, DataError, 'column "v" has no value, all 6 are missing'),
        (
            "y ~ v",
            {"v": pd.Categorical([1, 1, 2, 2, 1, 1], categories=[1, 2, "1"])},
            DataError,
            "both written '1'",
        ),
    ],
)
def test_refused(formula: str, columns: dict[str, object], error: type[Exception], says: str) -> None:
    """A value that cannot be coded as R would goes through, or the message does not say where it is."""
    with pytest.raises(error, match=says):
        build(formula, frame(**columns))
