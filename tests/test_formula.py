"""The grammar, the expansion and what is refused, with where."""

from __future__ import annotations

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import FormulaError
from bridge.formula import Part, parse
from bridge.grammar import (
    Binary,
    Call,
    Expr,
    Group,
    Name,
    Number,
    Unary,
    deparse,
    number_text,
    parse_expression,
)


def labels(part: Part) -> str:
    """``1 + x + x:z``: the intercept and the terms."""
    terms = [":".join(deparse(v) for v in term) for term in part.terms]
    return " + ".join([str(int(part.intercept)), *terms])


@pytest.mark.parametrize(
    ("right", "terms"),
    [
        # by R 4.2.2's terms.formula
        ("b + a:b", "1 + b + b:a"),
        ("a:b + b", "1 + b + a:b"),
        ("a*b*c - a:b:c", "1 + a + b + c + a:b + a:c + b:c"),
        ("(a + b + c)^2", "1 + a + b + c + a:b + a:c + b:c"),
        ("a/b/c", "1 + a + a:b + a:b:c"),
        ("(a + b)/c", "1 + a + b + a:b:c"),
        ("a + b %in% a", "1 + a + a:b"),
        ("a:b:a", "1 + a:b"),
        ("a**2", "1 + a"),
        ("a - 1", "0 + a"),
        ("a - 1 + 1", "1 + a"),
        ("-1 + a", "0 + a"),
        ("a - 0 + b", "1 + a + b"),
        ("a + b - a", "1 + b"),
        ("a - (a - b)", "1"),
        ("0 + (a + 1)", "1 + a"),
        ("-a + b", "1 + b"),
        ("a*b - (a + b)", "1 + a:b"),
        ("log(a + 1)*b", "1 + log(a + 1) + b + log(a + 1):b"),
        ("I(a^2) + I( a ^2 )", "1 + I(a^2)"),
        ("größe + `größe` + `b`", "1 + größe + b"),
    ],
)
def test_expansion(right: str, terms: str) -> None:
    """Terms, their order or the order inside them are not those of R's terms.formula."""
    assert labels(parse(f"y ~ {right}").fixed) == terms


@pytest.mark.parametrize(
    ("right", "bars"),
    [
        # by lme4 1.1-31's findbars
        ("(1 | a/b/c)", ["1 | c:b:a", "1 | b:a", "1 | a"]),
        ("(1 | a:b/c)", ["1 | c:a:b", "1 | a:b"]),
        ("(x || a/b)", ["1 | b:a", "1 | a", "0 + x | b:a", "0 + x | a"]),
        ("(x*z || g)", ["1 | g", "0 + x | g", "0 + z | g", "0 + x:z | g"]),
        ("(0 + x + z || g)", ["0 + x | g", "0 + z | g"]),
        ("(x + (1 | g))", ["1 | g"]),
        ("(1 | `my g`) + (1 | `my g`:b)", ["1 | my g", "1 | `my g`:b"]),
        ("(log(x) | g)", ["1 + log(x) | g"]),
    ],
)
def test_random_terms(right: str, bars: list[str]) -> None:
    """``||`` and ``/`` are expanded otherwise than by lme4, or the group is called otherwise."""
    assert [f"{labels(bar.part)} | {bar.group}" for bar in parse(f"y ~ {right}").random] == bars


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("y ~ x + (1 | g", 9, "unbalanced parenthesis: it is never closed"),
        ("y ~ x + 1 | g)", 14, 'unbalanced parenthesis: ")" without "("'),
        ("y ~ log(x + 1", 8, "unbalanced parenthesis"),
        ("", 1, "the formula is empty"),
        ("~ x", 1, "there is no response"),
        ("y + x", 6, "there is no ~"),
        ("y ~ ", 5, "ends where a column is expected"),
        ("y ~ x ~ z", 7, "a second ~"),
        ("y ~ .", 5, "'.' (all other columns) is not supported"),
        ("y ~ x z", 7, "an operator such as + is missing"),
        ("y ~ x + + ", 11, "ends where a column is expected"),
        ("y ~ x * * z", 9, "a column, number or parenthesis is expected, not *"),
        ("y ~ offset(x)", 5, "offset() is not in a formula here: give its column by --offset"),
        ("cbind(a, b) ~ x", 1, "a model has one response"),
        ("poly(y, 2) ~ x", 1, "cannot be the response"),
        ("y ~ x + y", 9, "is the response and cannot be a term"),
        ("y ~ x + 'z'", 9, "text in quotes"),
        ("y ~ a b 'z", 9, "is not part of the language"),
        ("y ~ system('x')", 5, "system() is not in the language"),
        ("y ~ __import__('os')", 5, "'_' is not part of the language"),
        ("y ~ import('os')", 5, "import() is not in the language"),
        ("y ~ I(x2<-system('touch owned'))", 9, "'<' is not part of the language"),
        ("y ~ x; z", 6, "';' is not part of the language"),
        ("y ~ x$z", 6, "'$' is not part of the language"),
        ("y ~ `x", 5, "the backtick is never closed"),
        ("y ~ `a\\q`", 7, "is not an escape"),
        ("y ~ 2 * x", 5, "2 cannot be a term"),
        ("y ~ x + 2", 9, "2 cannot be a term"),
        ("y ~ x^z", 7, "the power of a term is a whole number"),
        ("y ~ x * -z", 9, "a sign cannot stand here"),
        ("y ~ x | g", 7, "put a random term in parentheses"),
        ("y ~ x * (1 | g)", 9, "a random term can only be added"),
        ("y ~ x - (1 | g)", 12, "a random term cannot be subtracted"),
        ("y ~ (1 | g | h)", 12, "a second bar"),
        ("y ~ ((1 | g) | h)", 9, "a random term inside"),
        ("y ~ (0 | g)", 8, "no effect is left of the bar"),
        ("y ~ (1 | factor(g))", 10, "factor() cannot group"),
        ("y ~ (1 | g + h)", 12, "a group is a column"),
        ("y ~ (1 | g:g)", 10, "crossed with itself"),
        ("y ~ (1 | 1)", 10, "a group is a column"),
        ("y ~ I(x > 1)", 9, "'>' is not part of the language"),
        ("y ~ I(x:z)", 8, ": is not arithmetic"),
        ("y ~ log(poly(x, 2))", 9, "poly() can only stand alone"),
        ("y ~ log(x, z)", 5, "log() takes a column and a number as its base"),
        ("y ~ exp(x, 2)", 5, "exp() takes one argument"),
        ("y ~ poly(x, 0)", 13, "the degree of poly() is a whole number"),
        ("y ~ poly(x, 2, raw = 1)", 22, "raw of poly() is TRUE or FALSE"),
        ("y ~ poly(x, 2, simple = TRUE)", 5, "poly() takes a column, a degree and raw"),
        ("y ~ scale(x, center = 3)", 5, "scale() takes one column"),
        ("y ~ factor(x + 1)", 5, "factor() takes one column"),
        ("y ~ factor(x, levels = z)", 5, "factor() takes one column"),
        ("y ~ TRUE", 5, "TRUE is a word of R"),
        ("y ~ log()", 9, "is expected, not )"),
        ("y ~ (a+b+c+d+e+f+g+h+i+j+k)^9", 29, "more than 500 terms"),
        ("y ~ " + "(" * 500 + "x", 105, "nested more than 100 deep"),
        ("y ~ " + "-" * 500 + "x", 105, "nested more than 100 deep"),
        ("y ~ " + "x" * 5000 + "+ x" * 3000, 1, "longer than 4000 words"),
        ("y ~ I(" + "x+" * 1000 + "x)", 208, "more than 100 operators in a row"),
        ("y ~ " + "x:" * 1000 + "x", 206, "more than 100 operators in a row"),
    ],
)
def test_refused(text: str, position: int, reason: str) -> None:
    """What is outside the language is accepted, crashes, or is refused at the wrong place."""
    with pytest.raises(FormulaError) as caught:
        parse(text)
    message = str(caught.value)
    assert reason in message
    assert f"position {position} (at " in message
    assert "\n" not in message


def test_long_sums_are_no_nesting() -> None:
    """A formula of many columns is refused or overflows the stack."""
    names = [f"x{i}" for i in range(400)]
    assert len(parse("y ~ " + " + ".join(names)).fixed.terms) == 400


@pytest.mark.parametrize(
    ("value", "text"),
    # by R 4.2.2's deparse
    [
        (100000.0, "1e+05"),
        (123456.0, "123456"),
        (0.1, "0.1"),
        (1e-4, "1e-04"),
        (0.00012, "0.00012"),
        (1 / 3, "0.333333333333333"),
        (1e15, "1e+15"),
        (123456789012.0, "123456789012"),
        (2.50, "2.5"),
        (1e-300, "1e-300"),
        (-1e5, "-1e+05"),
        (0.0, "0"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    """A number in a name is not written as R writes it."""
    assert number_text(value) == text


def test_spacing_means_nothing() -> None:
    """Equal formulas differ for their spacing, backticks or parentheses."""
    assert parse("y~x*(z)+(`x`||g/h)") == parse(" y ~ (x * z)\n + ( x || g / h ) ")
    assert parse("y ~ x") != parse("y ~ z")


NAMES = (
    st.text(string.ascii_letters + "._ é`\\\n'(|0", min_size=1, max_size=6)
    .filter(lambda s: s != ".")
    .map(Name)
)
NUMBERS = st.floats(0, 1e30).map(lambda v: Number(number_text(v)))
FUNCTIONS = st.sampled_from(["I", "log", "exp", "abs", "scale"])


def larger(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    """Expressions around expressions."""
    grouped = st.one_of(NAMES, NUMBERS, inner.map(Group))
    return st.one_of(
        inner.map(Group),
        st.builds(Binary, st.sampled_from("+-*/:^|"), grouped, grouped),
        st.builds(Unary, st.sampled_from("+-"), grouped),
        st.builds(Call, FUNCTIONS, st.tuples(inner), st.just((("base", Number("2")),)) | st.just(())),
    )


@given(st.recursive(NAMES | NUMBERS, larger, max_leaves=8))
def test_round_trip(tree: Expr) -> None:
    """Deparsing loses something, or a name or number is read otherwise than it is written."""
    assert parse_expression(deparse(tree)) == tree


@given(st.text("yxg ~+-*/:^|()`0129.,=I\n'\\%inpoly", max_size=40))
def test_any_text(text: str) -> None:
    """Some text crashes the parser instead of being parsed or refused."""
    with suppress(FormulaError):
        assert parse(text).text == text
