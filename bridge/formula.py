"""Formula: a parsed formula in lme4's language, its terms expanded as R's ``terms.formula`` does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import product
from typing import NoReturn

from bridge.grammar import (
    ERRORS,
    FACTORS,
    LOGICAL,
    TRANSFORMS,
    Binary,
    Call,
    Expr,
    Group,
    Name,
    Number,
    Parser,
    Unary,
    deparse,
    fail,
)

Term = tuple[Expr, ...]
Bits = frozenset[int]
MOST_TERMS = 500
INTERCEPT: Bits = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """An expanded right-hand side.

    Attributes
    ----------
    intercept : bool
    variables : tuple of Expr
        In order of appearance, those deleted again (``- x``) included, as in R.
    terms : tuple of Term
        By degree, then by appearance; inside a term in the order of `variables`.
    """

    intercept: bool
    variables: tuple[Expr, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One random-effects term, ``/`` and ``||`` already expanded.

    `group` is lme4's name; `factors` are the columns crossed, in the name's order.
    """

    part: Part
    group: str
    factors: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Errors:
    """How residuals are not independent with one variance: ``varIdent(1 | g)`` or ``corAR1(t | g)``.

    `position` is the column t of a series' steps, None for strata.
    """

    kind: str
    position: Name | None
    group: Name

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.kind}({self.position.text if self.position else 1} | {self.group.text})"


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula; equal whatever the spacing, redundant parentheses and backticks."""

    text: str = field(compare=False)
    response: Expr
    fixed: Part
    random: tuple[Bar, ...]
    errors: Errors | None = None

    @property
    def intercept(self) -> bool:
        """Whether the fixed part has one."""
        return self.fixed.intercept


def parse(text: str) -> Formula:
    """Parse and expand a formula in lme4's language.

    Raises
    ------
    FormulaError
        Outside the grammar; the message has the position (counted from 1) and what stands there.
    """
    response, right = Parser(text).formula()
    check_variable(text, response, response=True)
    expander = _Expander(text, bars=True)
    fixed = expander.part(right)
    if response in fixed.variables:
        at = next(v.at for v in fixed.variables if v == response)
        fail(text, at, f"{deparse(response)} is the response and cannot be a term too; remove it here")
    return Formula(text, response, fixed, tuple(expander.bars), expander.errors)


def columns(tree: object) -> list[str]:
    """Columns that a parsed formula, or a part of one, names."""
    if isinstance(tree, Name):
        return [tree.text]
    parts = (
        tree
        if isinstance(tree, tuple)
        else [getattr(tree, f.name) for f in fields(tree)]
        if is_dataclass(tree)
        else []
    )
    return list(dict.fromkeys(name for part in parts for name in columns(part)))


def taken(formula: Formula) -> list[str]:
    """Columns taken as they are: neither to group by alone, nor inside ``factor()`` or ``ordered()``."""
    parts = [formula.fixed, *(bar.part for bar in formula.random)]
    free = [
        v for part in parts for v in part.variables if not (isinstance(v, Call) and v.function in FACTORS)
    ]
    return columns((formula.response, *free, formula.errors.position if formula.errors else ()))


def check_variable(text: str, tree: Expr, response: bool = False) -> None:
    """Refuse what is not a column or a call of the language with fitting arguments."""
    match tree:
        case Name():
            return
        case Call(function, _, _, at) if function in ("poly", *FACTORS):
            if response:
                fail(text, at, f"{function}() cannot be the response; it must be one numeric column")
            _check_special(text, tree)
        case _:
            _check_arithmetic(text, tree)


def _check_special(text: str, call: Call) -> None:
    name, args, options = call.function, call.args, dict(call.options)
    if name in FACTORS:
        if len(args) != 1 or options or not isinstance(args[0], Name):
            fail(text, call.at, f"{name}() takes one column and nothing else")
        return
    degree = args[1] if len(args) == 2 else options.pop("degree", Number("1"))
    raw = options.pop("raw", Number("FALSE"))
    if len(args) not in (1, 2) or options or len(call.options) != len(dict(call.options)):
        fail(text, call.at, "poly() takes a column, a degree and raw = TRUE or FALSE")
    if not isinstance(degree, Number) or degree.text in LOGICAL or degree.value not in range(1, 26):
        fail(text, degree.at or call.at, "the degree of poly() is a whole number from 1 to 25")
    if not isinstance(raw, Number) or raw.text not in LOGICAL:
        fail(text, raw.at, "raw of poly() is TRUE or FALSE")
    _check_arithmetic(text, args[0])


def _check_arithmetic(text: str, tree: Expr) -> None:
    match tree:
        case Name() | Number():
            return
        case Group(inner) | Unary(_, inner):
            _check_arithmetic(text, inner)
        case Binary(op, left, right, at):
            if op not in ("+", "-", "*", "/", "^"):
                fail(text, at, f"{op} is not arithmetic; + - * / ^ are")
            _check_arithmetic(text, left)
            _check_arithmetic(text, right)
        case Call(function, args, options, at):
            keys = {key for key, _ in options}
            if function == "scale":
                flags = all(isinstance(v, Number) and v.text in LOGICAL for _, v in options)
                if len(args) != 1 or not keys <= {"center", "scale"} or len(keys) < len(options) or not flags:
                    fail(text, at, "scale() takes one column, and center or scale = TRUE or FALSE")
            elif function == "log" and args and len(args) + len(options) == 2:
                base = options[0][1] if options else args[1]
                if not keys <= {"base"} or not isinstance(base, Number):
                    fail(text, at, "log() takes a column and a number as its base")
            elif function not in TRANSFORMS:
                fail(text, at, f"{function}() can only stand alone as a term, not inside another function")
            elif len(args) != 1 or options:
                fail(text, at, f"{function}() takes one argument without a name")
            _check_arithmetic(text, args[0])


class _Expander:
    """One right-hand side to its terms; a term is the set of its variables' positions."""

    def __init__(self, text: str, bars: bool = False) -> None:
        self.text = text
        self.variables: list[Expr] = []
        self.intercept = True
        self.collects = bars
        self.bars: list[Bar] = []
        self.errors: Errors | None = None

    def fail(self, tree: Expr, reason: str) -> NoReturn:
        fail(self.text, tree.at, reason)

    def part(self, tree: Expr) -> Part:
        bits = sorted(self.sum(tree, True), key=len)
        terms = tuple(tuple(self.variables[i] for i in sorted(b)) for b in bits)
        return Part(self.intercept, tuple(self.variables), terms)

    def sum(self, tree: Expr, plus: bool) -> list[Bits]:
        """Terms of a sum, where 0, 1 and random terms may stand; `plus` is False under a minus."""
        operands: list[tuple[str, Expr]] = []
        while isinstance(tree, Binary) and tree.op in ("+", "-"):
            operands.append((tree.op, tree.right))
            tree = tree.left
        found = self.summand(tree, plus)
        for op, operand in reversed(operands):
            added = self.summand(operand, plus == (op == "+"))
            found = self.union(found, added, operand) if op == "+" else _without(found, added)
        return found

    def summand(self, tree: Expr, plus: bool) -> list[Bits]:
        match tree:
            case Number(text) if text.removesuffix("L") in ("0", "1"):
                self.intercept = plus == (text[0] == "1")
                return []
            case Group(Binary("|" | "||") as bar):
                self.bar(bar, plus)
                return []
            case Call(function) if function in ERRORS:
                self.residual(tree, plus)
                return []
            case Group(inner):
                return self.sum(inner, plus)
            case Unary(op, operand):
                added = self.summand(operand, plus == (op == "+"))
                return added if op == "+" else []
            case Binary("+" | "-"):
                return self.sum(tree, plus)
        return self.terms(tree)

    def terms(self, tree: Expr) -> list[Bits]:
        """Terms of an expression in which only columns may stand."""
        match tree:
            case Call(function) if function in ERRORS:
                self.fail(tree, f"{function}() can only be added: ... + {function}(...)")
            case Name() | Call():
                check_variable(self.text, tree)
                if tree not in self.variables:
                    self.variables.append(tree)
                return [frozenset([self.variables.index(tree)])]
            case Group(Binary("|" | "||")):
                self.fail(tree, "a random term can only be added: ... + (1 | g)")
            case Group(inner):
                return self.terms(inner)
            case Binary("^", left, right):
                return self.power(left, right)
            case Binary("+", left, right):
                return self.union(self.terms(left), self.terms(right), tree)
            case Binary("-", left, right):
                return _without(self.terms(left), self.terms(right))
            case Binary(":" | "*" | "/" | "%in%" as op, left, right):
                return self.cross(op, self.terms(left), self.terms(right), tree)
            case Binary("|" | "||"):
                self.fail(tree, "put a random term in parentheses: (x | g)")
            case Number():
                self.fail(tree, f"{tree.text} cannot be a term; only 0 or 1, added or subtracted, can")
        return self.fail(tree, "a sign cannot stand here; write I(-x) for arithmetic")

    def cross(self, op: str, left: list[Bits], right: list[Bits], at: Expr) -> list[Bits]:
        both = [a | b for a, b in product(left, right)]
        if op == ":":
            return self.union([], both, at)
        if op == "*":
            return self.union(self.union(left, right, at), both, at)
        if op == "/":
            every = INTERCEPT.union(*left)
            return self.union(left, [every | b for b in right], at)
        every = INTERCEPT.union(*right)
        return self.union([], [a | every for a in left], at)

    def power(self, left: Expr, right: Expr) -> list[Bits]:
        if not isinstance(right, Number) or right.text in LOGICAL or right.value not in range(1, 1000):
            self.fail(right, "the power of a term is a whole number; write I(x^2) for arithmetic")
        base = self.terms(left)
        found = base
        for _ in range(int(right.value) - 1):
            grown = self.union([], [a | b for a, b in product(found, base)], right)
            if set(grown) == set(found):
                break
            found = grown
        return found

    def union(self, left: Iterable[Bits], right: Iterable[Bits], at: Expr) -> list[Bits]:
        merged = list(dict.fromkeys([*left, *right]))
        if len(merged) > MOST_TERMS:
            self.fail(at, f"more than {MOST_TERMS} terms; lower the power or cross fewer columns")
        return merged

    def bar(self, tree: Binary, plus: bool) -> None:
        if not self.collects:
            self.fail(tree, "a random term inside a random term")
        if not plus:
            self.fail(tree, "a random term cannot be subtracted; leave it out")
        if isinstance(tree.left, Binary) and tree.left.op in ("|", "||"):
            self.fail(tree, "a second bar; a random term has one")
        groups = [self.group(g) for g in _nested(tree.right)]
        part = _Expander(self.text).part(tree.left)
        parts = [part] if tree.op == "|" else _separate(part)
        if not part.intercept and not part.terms:
            self.fail(tree, "no effect is left of the bar; write (1 | g) or (0 + x | g)")
        for each in parts:
            for name, factors in groups:
                self.bars.append(Bar(each, name, factors))

    def residual(self, call: Call, plus: bool) -> None:
        """``varIdent(1 | g)`` or ``corAR1(t | g)``, once in the fixed part."""
        usage = "varIdent(1 | g)" if call.function == "varIdent" else "corAR1(t | g), t the column of steps"
        if not self.collects or not plus:
            self.fail(call, f"{call.function}() is of the residuals: add it, outside the random terms")
        if self.errors is not None:
            self.fail(call, f"residuals are {self.errors.text} already; leave one of the two out")
        match call:
            case Call("varIdent", (Binary("|", Number("1"), Name() as group),), ()):
                self.errors = Errors(call.function, None, group)
            case Call("corAR1", (Binary("|", Name() as position, Name() as group),), ()):
                self.errors = Errors(call.function, position, group)
            case _:
                self.fail(call, f"write {usage}")

    def group(self, tree: Expr) -> tuple[str, tuple[Name, ...]]:
        factors = tuple(self.crossed(tree))
        for factor in factors:
            if factors.count(factor) > 1:
                self.fail(factor, f"{factor.text} is crossed with itself; name it once")
        # lme4 deparses: a lone symbol has no backticks, a call has. c:(b:a) as c:b:a, its newer spelling.
        return (tree.text if isinstance(tree, Name) else ":".join(map(deparse, factors))), factors

    def crossed(self, tree: Expr) -> list[Name]:
        match tree:
            case Name():
                return [tree]
            case Group(inner):
                return self.crossed(inner)
            case Binary(":", left, right):
                return [*self.crossed(left), *self.crossed(right)]
            case Call(function):
                self.fail(tree, f"{function}() cannot group; name a column, it is a factor already")
        return self.fail(tree, "a group is a column, a:b (crossed) or a/b (nested)")


def _without(found: list[Bits], removed: list[Bits]) -> list[Bits]:
    return [bits for bits in found if bits not in removed]


def _separate(part: Part) -> list[Part]:
    """``(F || g)`` as lme4 1.1: one term each, a factor stays one correlated block."""
    alone = [Part(True, (), ())] if part.intercept else []
    return alone + [Part(False, term, (term,)) for term in part.terms]


def _nested(tree: Expr) -> list[Expr]:
    """``a/b/c`` as lme4 expands it: ``c:b:a``, ``b:a``, ``a``."""
    if isinstance(tree, Group) and isinstance(tree.inner, Binary | Name):
        return _nested(tree.inner) if _has_slash(tree.inner) else [tree.inner]
    if not (isinstance(tree, Binary) and tree.op == "/"):
        return [tree]
    outer = _nested(tree.left)
    return [Binary(":", tree.right, outer[0], tree.at), *outer]


def _has_slash(tree: Expr) -> bool:
    return isinstance(tree, Binary) and tree.op == "/"
