"""Model against lme4's lFormula; aliases against R's own names; what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.errors import DataError, ModelError
from bridge.model import RandomTerm, build
from tests.matrices import Case, answers, fixed_cases, holes, mixed_cases, plain

EVERY = fixed_cases() + mixed_cases()


def spread(term: RandomTerm) -> np.ndarray:
    """Z over levels, coefficient fastest, as lme4 has it."""
    n, k = term.Z.shape
    dense = np.zeros((n, k * len(term.levels)))
    for j in range(k):
        dense[np.arange(n), term.index * k + j] = term.Z[:, j]
    return dense


@pytest.mark.needs_r
@pytest.mark.parametrize("case", mixed_cases(), ids=lambda case: case.id)
def test_random_terms(case: Case) -> None:
    """A random term has another group name, coefficient, level or column than in lme4."""
    theirs = {(term.group, term.names): term for term in answers()[case.id].terms}
    model = case.model()
    assert {(term.group, term.names) for term in model.random} == set(theirs)
    for term in model.random:
        other = theirs[term.group, term.names]
        assert tuple(":".join(level) for level in term.levels) == other.levels
        np.testing.assert_allclose(spread(term), other.Z, rtol=1e-12, atol=1e-12)


@pytest.mark.needs_r
@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.id)
def test_spelling(case: Case) -> None:
    """R, given the aliased formula and data, makes other coefficients or columns than the Model has."""
    model = case.model()
    ours = [(model.names, model.X), *((t.names, t.Z) for t in model.random)]
    translations = [model.spelling.fixed_names, *model.spelling.random_names]
    for (names, matrix), translation, (r_names, r_matrix) in zip(
        ours, translations, answers()[case.id].aliased, strict=True
    ):
        assert set(translation) == set(r_names)
        assert sorted(translation.values()) == sorted(names)
        order = [names.index(translation[name]) for name in r_names]
        np.testing.assert_allclose(matrix[:, order], r_matrix, rtol=1e-12, atol=1e-12)


def test_order_of_random_terms() -> None:
    """Terms are not in the order of the formula, or || and / not in lme4's."""
    model = build("y ~ (1 | h) + (x || g/h)", plain())
    assert [(t.group, t.names) for t in model.random] == [
        ("h", ("(Intercept)",)),
        ("h:g", ("(Intercept)",)),
        ("g", ("(Intercept)",)),
        ("h:g", ("x",)),
        ("g", ("x",)),
    ]
    assert model.random[1].factors == ("h", "g")
    assert model.spelling.random[1][1] == (model.spelling.random[0][1][0], model.spelling.random[2][1][0])


def test_missing_rows() -> None:
    """Rows with a missing value enter y, X or Z, are miscounted, or are lost from ``pass`` data."""
    frame = holes()
    omit, given = (build("y ~ x + F + (1 | g)", frame, missing=m) for m in ("omit", "pass"))
    assert (omit.dropped, omit.n, len(omit.data)) == (5, 43, 43)
    assert (given.dropped, given.n, len(given.data)) == (5, 43, 48)
    assert int(given.data.isna().any(axis=1).sum()) == 5
    assert omit.names == ("(Intercept)", "x", "Fmid")
    np.testing.assert_array_equal(given.data.dropna()["v0"], omit.y)


def test_kinds_of_alias_columns() -> None:
    """Levels, their order or ordered-ness are lost on the way to the engines."""
    data = build("y ~ O + U + B + (1 | g)", plain()).data
    assert list(data) == ["v0", "v1", "v2", "v3", "v4"]
    assert data["v1"].cat.ordered
    assert [list(data[c].cat.categories) for c in ("v2", "v3", "v4")] == [
        ["z", "x", "v"],
        ["FALSE", "TRUE"],
        ["1", "2", "9", "10", "33", "100"],
    ]


def test_the_frame_is_left_alone() -> None:
    """Building changes the user's data, or the Model changes with them later."""
    frame = plain()
    before = frame.copy()
    model = build("y ~ x * F + (x | g)", frame)
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(ValueError, match="read-only"):
        model.X[:] = 0
    model.data["v0"] = 0.0
    pd.testing.assert_frame_equal(frame, before)


def small(**columns: object) -> pd.DataFrame:
    """A few rows with a response, a group and these columns."""
    return pd.DataFrame({"y": np.arange(4.0), "g": list("aabb"), "h": list("abab"), **columns})


@pytest.mark.parametrize(
    ("formula", "frame", "error", "says"),
    [
        ("y ~ Reactoin", small(Reaction=1.0), DataError, 'no column "Reactoin"; did you mean "Reaction"'),
        ("y ~ q", small(), DataError, 'no column "q"; there are y, g, h'),
        ("g ~ y", small(), DataError, "response g is text or categorical; it must be numeric"),
        ("b ~ y", small(b=[True, False, True, True]), DataError, "response b is logical"),
        ("y ~ 1", small().iloc[:0], DataError, "there are no rows"),
        ("y ~ x + z", small(x=[1, np.nan] * 2, z=[np.nan, 1] * 2), DataError, "every one of the 4 rows"),
        ("y ~ g", pd.concat([small(), small()["g"]], axis=1), DataError, 'column "g" is there twice'),
        ("y ~ c", small(c="only"), ModelError, r"factor c has one level \('only'\)"),
        ("y ~ (0 + c | g)", small(c="only"), ModelError, "factor c has one level"),
        ("y ~ (1 | g) + (1 | g)", small(), ModelError, r"\(Intercept\) varies by g twice"),
        ("y ~ (1 | g:h) + (y2 | h:g)", small(y2=1.0), ModelError, r"\(Intercept\) varies by h:g twice"),
        ("y ~ a + a1", small(a=list("xyyx"), a1=1.0, ay=2.0), None, ""),
        (
            "y ~ a + ay",
            small(a=list("xyyx"), ay=2.0),
            ModelError,
            "two coefficients of the fixed part are both called ay",
        ),
        (
            "y ~ (1 | p:q)",
            small(p=["a:b", "a", "c", "c"], q=["c", "b:c", "d", "e"]),
            ModelError,
            "two groups of p:q are both called a:b:c; rename a column or level",
        ),
    ],
)
def test_refused(formula: str, frame: pd.DataFrame, error: type[Exception] | None, says: str) -> None:
    """Bad data go through, come out as another class, or with a message that lacks the name or the fix."""
    if error is None:
        assert build(formula, frame).names == ("(Intercept)", "ay", "a1")
        return
    with pytest.raises(error, match=says) as caught:
        build(formula, frame, name="trial.csv")
    assert "\n" not in str(caught.value)


def test_message_names_the_data() -> None:
    """The message does not say which file it is about."""
    with pytest.raises(DataError, match=r"^trial\.csv: "):
        build("y ~ q", small(), name="trial.csv")


def test_code_in_names_is_not_run(tmp_path, monkeypatch) -> None:
    """A column's name is evaluated as code."""
    monkeypatch.chdir(tmp_path)
    name = "I(x2<-system('touch owned'))"
    frame = small(**{name: np.arange(4.0)[::-1], "__import__('os').system('touch owned')": 1.5})
    model = build(f"y ~ `{name}` + (`{name}` | g) + `__import__('os').system('touch owned')`", frame)
    assert model.names == ("(Intercept)", f"`{name}`", "`__import__('os').system('touch owned')`")
    assert model.spelling.formula == "v0 ~ 1 + v1 + v2 + (1 + v1 | v3)"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [1e155, 1e300, 1e-162, 1e-300])
def test_values_whose_squares_overflow_are_refused(scale: float) -> None:
    """They would be called constant, or end in an error of linear algebra."""
    frame = plain()
    frame["y"] = np.linspace(1, 2, len(frame)) * scale
    with pytest.raises(DataError, match="rescale it"):
        build("y ~ 1 + (1 | g)", frame)
