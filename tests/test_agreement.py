"""`compare` and Agreement: what a Python user sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.agreement import Agreement, compare
from bridge.comparison import Comparison
from bridge.errors import BridgeError, DataError, FormulaError, ModelError
from bridge.fit import Fit
from bridge.verdict import Judgement, Verdict
from tests.front import FORMULA, clusters, program

PYTHON = ("numpy", "ols")


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    """Numpy and ols on a small table."""
    return compare(clusters(), FORMULA, engines=PYTHON)


def judgement(
    verdict: Verdict, *, expected: bool, engine: str = "numpy", rows: tuple[Comparison, ...] = ()
) -> Judgement:
    """A made-up judgement."""
    fit = Fit(engine, "REML", "default")
    return Judgement(
        "case", fit, verdict, "because", 0.0, rows, "ok", None, expected, "" if expected else "because"
    )


def test_table_holds_the_closed_form_of_ols(agreement: Agreement) -> None:
    """The estimates in the table would not be those of the data."""
    frame = clusters()
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    right = np.linalg.lstsq(X, frame["y"].to_numpy())[0]
    rows = agreement.table.query("engine == 'ols' and quantity == 'beta'").set_index("term")
    assert rows["estimate"].to_dict() == pytest.approx({"(Intercept)": right[0], "x": right[1]}, rel=1e-9)
    assert rows["reference"].to_dict() == pytest.approx({"(Intercept)": right[0], "x": right[1]}, rel=1e-9)


def test_table_has_a_row_per_blup(agreement: Agreement) -> None:
    """Levels would be lost, or not be tuples of labels."""
    blups = agreement.table.query("engine == 'numpy' and quantity == 'BLUP'")
    assert set(blups["level"]) == {(f"g{i}",) for i in range(8)}
    assert blups["ok"].all()


def test_verdicts_have_a_row_per_fit(agreement: Agreement) -> None:
    """A fit would be missing from the verdicts, or judged otherwise than in the tuple."""
    assert list(agreement.verdicts["engine"]) == list(PYTHON)
    assert list(agreement.verdicts["verdict"]) == ["AGREE", "AGREE"]
    assert agreement.exit_code == 0


def test_repr_shows_quantities_by_engine(agreement: Agreement) -> None:
    """The prompt would not show numbers, engines and verdicts."""
    text = repr(agreement)
    for part in (
        "numpy",
        "ols (no groups)",
        "var g (Intercept)",
        "BLUPs g (Intercept)",
        "✓ agree",
        "All 2 fits",
    ):
        assert part in text


def test_html_is_escaped() -> None:
    """A column named like a script would run in a notebook."""
    frame = clusters().rename(columns={"x": "<script>alert(1)</script>"})
    page = compare(frame, "y ~ `<script>alert(1)</script>` + (1 | g)", engines=["numpy"])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("judged", "required", "code"),
    [
        ((judgement(Verdict.AGREE, expected=True),), (), 0),
        ((judgement(Verdict.WORSE_OPTIMUM, expected=True),), (), 0),
        ((judgement(Verdict.WORSE_OPTIMUM, expected=False),), (), 1),
        ((judgement(Verdict.UNAVAILABLE, expected=True, engine="lme4"),), (), 0),
        ((judgement(Verdict.UNAVAILABLE, expected=True, engine="lme4"),), ("lme4",), 1),
    ],
    ids=["agrees", "known", "unexpected", "missing", "required"],
)
def test_exit_code(judged: tuple[Judgement, ...], required: tuple[str, ...], code: int) -> None:
    """A disagreement would pass, or a known one fail."""
    assert Agreement(judged, required=required).exit_code == code


def test_the_sentence_speaks_as_the_tables_do() -> None:
    """The same thing would have one name in the table and another below it."""
    kinds = (Verdict.AGREE, Verdict.MULTIMODAL, Verdict.WRONG_COMPUTATION)
    found = Agreement(tuple(judgement(verdict, expected=verdict.passes) for verdict in kinds))
    words = "2 of 3 fits not as expected (1 right, 1 other optimum, 1 with wrong numbers)."
    assert found.sentence.startswith(words)
    assert list(found.verdicts["verdict"]) == [str(verdict) for verdict in kinds]


def test_a_model_that_only_baselines_fit_is_said_to_be_one() -> None:
    """``y ~ x`` would look as if all mixed-model software had fitted it."""
    words = "No mixed-model engine fitted it."
    said = compare(clusters(), "y ~ x", engines=["numpy", "ols"]).sentence
    assert said == f"All 1 fits as expected (1 right). {words}"
    assert words not in compare(clusters(), FORMULA, engines=["numpy", "ols"]).sentence


def test_rows_left_out_are_counted() -> None:
    """Rows with missing values would vanish without a word."""
    frame = clusters()
    frame.loc[[2, 5], "x"] = np.nan
    text = repr(compare(frame, FORMULA, engines=["numpy"]))
    assert f"2 of {len(frame)} rows left out" in text


@pytest.mark.parametrize(
    ("frame", "formula", "error", "says"),
    [
        (clusters().assign(g="one"), FORMULA, ModelError, "g"),
        (clusters().assign(g=[str(i) for i in range(52)]), FORMULA, ModelError, "single row"),
        (clusters().assign(z=lambda d: 2 * d["x"]), "y ~ x + z + (1 | g)", ModelError, "z is"),
        (clusters().assign(y=1.0), FORMULA, ModelError, ""),
        (clusters().assign(y="a"), FORMULA, DataError, "y"),
        (clusters().assign(x=np.inf), FORMULA, DataError, "x"),
        (clusters().assign(x=np.nan), FORMULA, DataError, "x"),
        (clusters(), "y ~ q + (1 | g)", DataError, "q"),
        (clusters(), "y ~ x + (1 | g", FormulaError, ""),
        (clusters().iloc[:0], FORMULA, DataError, "rows"),
        (pd.concat([clusters(), clusters()[["x"]]], axis=1), FORMULA, DataError, "x"),
    ],
    ids=[
        "one level",
        "singletons",
        "rank",
        "constant",
        "text",
        "Inf",
        "NaN",
        "column",
        "bracket",
        "empty",
        "twice",
    ],
)
def test_bad_input_is_one_line(
    frame: pd.DataFrame, formula: str, error: type[BridgeError], says: str
) -> None:
    """Bad input would be fitted, or end in a traceback of a library."""
    with pytest.raises(error) as caught:
        compare(frame, formula, engines=["numpy"])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | g)", "y ~ log(x) + (1 | g)", "y ~ 1 + (1 + x | g)", "x ~ y + (1 | g)"]
)
def test_a_dot_among_numbers_is_no_label(formula: str) -> None:
    """Missing values as SAS writes them would make a coefficient of every value of a column."""
    frame = clusters()
    frame["x"] = [".", *map(str, frame["x"][1:])]
    with pytest.raises(DataError, match=r"'x' is text, but 98 % of its values .* '\.' in row 1"):
        compare(frame, formula, engines=["numpy"])


def test_numbers_as_labels_are_meant_where_the_formula_says_so() -> None:
    """A group or a factor() with numbers among its labels could not be used."""
    frame = clusters().assign(arm=["0", "1", "2", "none"] * 13, g=lambda d: d["g"].str[1:].replace("0", "x"))
    assert compare(frame, "y ~ factor(arm) + (1 | g)", engines=["numpy"]).exit_code == 0
    frame["arm"] = frame["arm"].astype("category")
    assert compare(frame, "y ~ arm + (1 | g)", engines=["numpy"]).exit_code == 0


def test_ill_posed_model_runs_when_it_is_expected() -> None:
    """`expect` would not let an ill-posed model through, or numbers for it would pass."""
    frame = clusters().assign(g=[str(i) for i in range(52)])
    found = compare(frame, FORMULA, engines=PYTHON, expect="unidentified")
    verdicts = dict(zip(found.verdicts["engine"], found.verdicts["verdict"], strict=True))
    assert verdicts["ols"] == "AGREE"
    assert verdicts["numpy"] in ("REFUSED", "UNIDENTIFIED", "UNSUPPORTED")


@pytest.mark.parametrize(
    "arguments",
    [
        {"methods": "REML"},
        {"profiles": ["fast"]},
        {"expect": "fine"},
        {"limit": 0},
        {"limit": float("inf")},
        {"limit": float("nan")},
        {"limit": 1e18},
        {"limit": "5"},
        {"limit": None},
        {"engines": []},
        {"engines": [3]},
        {"store": 3},
        {"methods": None},
        {"profiles": 3},
        {"missing": None},
        {"engines": ["lme5"]},
        {"missing": "drop"},
    ],
    ids=lambda a: next(iter(a)),
)
def test_bad_argument_is_named(arguments: dict[str, object]) -> None:
    """A misspelt argument would be ignored."""
    with pytest.raises(BridgeError) as caught:
        compare(clusters(), FORMULA, **arguments)
    assert str(next(iter(arguments)))[:6] in str(caught.value)


def test_unused_columns_do_not_matter() -> None:
    """A date or an empty column that the formula does not name would stop a comparison."""
    frame = clusters().assign(when=pd.Timestamp("2020-01-01"), empty=np.nan)
    assert compare(frame, FORMULA, engines=["numpy"]).exit_code == 0


def test_works_from_standard_input(tmp_path) -> None:
    """Workers would need an importable, guarded main module."""
    clusters().to_csv(tmp_path / "t.csv", index=False)
    code = f"import bridge\nprint(bridge.compare('t.csv', {FORMULA!r}, engines=['numpy']).sentence)\n"
    done = program("-", cwd=tmp_path, text=code)
    assert done.stdout.strip() == "All 1 fits as expected (1 right).", done.stderr


@pytest.mark.parametrize(
    ("data", "formula", "error"),
    [
        (None, FORMULA, DataError),
        ({"y": [1]}, FORMULA, DataError),
        (np.ones((9, 3)), FORMULA, DataError),
        (clusters(), None, FormulaError),
        (clusters(), 3, FormulaError),
    ],
)
def test_arguments_of_other_types(data: object, formula: object, error: type[Exception]) -> None:
    """A slip of the pen would be a traceback from deep inside."""
    with pytest.raises(error):
        compare(data, formula)


def test_one_engine_by_its_name() -> None:
    """A name without brackets would be taken letter by letter."""
    assert [j.fit.engine for j in compare(clusters(), FORMULA, engines="numpy").judgements] == ["numpy"]
