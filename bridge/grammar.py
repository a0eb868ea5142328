"""The grammar of lme4's formula language: text -> frozen tree, and back as R deparses it.

Nothing is ever evaluated as code: `bridge.coding` walks the tree with numpy. docs/formula.md has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from bridge.errors import FormulaError

RESERVED = frozenset(
    {"if", "else", "repeat", "while", "function", "for", "next", "break", "in", "TRUE", "FALSE", "NULL"}
    | {"Inf", "NaN", "NA", "NA_integer_", "NA_real_", "NA_character_", "NA_complex_"}
)
TRANSFORMS = ("I", "log", "log2", "log10", "log1p", "exp", "sqrt", "abs")
FACTORS = ("factor", "as.factor", "ordered")
ERRORS = ("varIdent", "corAR1")
FUNCTIONS = (*TRANSFORMS, "scale", "poly", *FACTORS, *ERRORS)
LOGICAL = ("TRUE", "FALSE")
DEEPEST = 100
LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Name:
    """A column of the data."""

    text: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A number or TRUE or FALSE; `text` as R deparses it (``0.50`` is ``0.5``, ``100000`` is ``1e+05``)."""

    text: str
    at: int = field(default=0, compare=False)

    @property
    def value(self) -> float:
        """As a double; TRUE is 1."""
        return float(self.text == "TRUE") if self.text in LOGICAL else float(self.text.removesuffix("L"))


@dataclass(frozen=True, slots=True)
class Group:
    """Parentheses, kept because R's names keep them: ``I((x + 1)^2)``."""

    inner: Expr
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x`` or ``+x``."""

    op: str
    operand: Expr
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands; `at` is where the operator stands."""

    op: str
    left: Expr
    right: Expr
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the whitelist; `options` are named arguments in the order written."""

    function: str
    args: tuple[Expr, ...]
    options: tuple[tuple[str, Expr], ...] = ()
    at: int = field(default=0, compare=False)


Expr = Name | Number | Group | Unary | Binary | Call


def parse_expression(text: str) -> Expr:
    """Parse one expression (no ``~``) to its tree, unexpanded."""
    parser = Parser(text)
    tree = parser.expression()
    parser.finish()
    return tree


def fail(text: str, at: int, reason: str) -> NoReturn:
    """Raise the FormulaError for position `at` (from 0) of `text`, on one line."""
    line = re.sub(r"\s", " ", text)
    near = line[at : at + 20].rstrip() or "the end"
    line = line if len(line) <= 200 else line[:200] + " ..."
    raise FormulaError(f'formula "{line}", position {at + 1} (at {near}): {reason}')


def syntactic(name: str) -> bool:
    """Whether R reads the name without backticks."""
    return name not in RESERVED and re.fullmatch(r"(?:[^\W\d_]|\.(?!\d))[\w.]*", name) is not None


def quoted(name: str) -> str:
    """The name as R deparses it inside a call or a term label."""
    if syntactic(name):
        return name
    for raw, escape in (("\\", "\\\\"), ("`", "\\`"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        name = name.replace(raw, escape)
    return f"`{name}`"


def number_text(value: float) -> str:
    """A double as R prints it with 15 significant digits: fixed unless scientific is shorter."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.14e}".split("e")
    digits = mantissa.rstrip("0").rstrip(".")
    power = int(exponent)
    scientific = f"{digits}e{power:+03d}"
    decimals = max(len(digits.lstrip("-").replace(".", "")) - 1 - power, 0)
    fixed = f"{float(f'{value:.14e}'):.{decimals}f}"
    return fixed if len(fixed) <= len(scientific) else scientific


def deparse(tree: Expr) -> str:
    """The expression as R's ``deparse`` spells it; coefficient names are made of it."""
    match tree:
        case Name(text):
            return quoted(text)
        case Number(text):
            return text
        case Group(inner):
            return f"({deparse(inner)})"
        case Unary(op, operand):
            return op + deparse(operand)
        case Binary(op, left, right):
            space = "" if op in (":", "^", "/") else " "
            return f"{deparse(left)}{space}{op}{space}{deparse(right)}"
        case Call(function, args, options):
            named = [f"{key} = {deparse(value)}" for key, value in options]
            return f"{function}({', '.join([*map(deparse, args), *named])})"


def walk(tree: Expr) -> Iterator[Expr]:
    """The tree's nodes, itself first."""
    yield tree
    match tree:
        case Group(inner):
            yield from walk(inner)
        case Unary(_, operand):
            yield from walk(operand)
        case Binary(_, left, right):
            yield from walk(left)
            yield from walk(right)
        case Call(_, args, _):
            for arg in args:
                yield from walk(arg)


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?L?)
    |(?P<name>(?:[^\W\d_]|\.(?!\d))[\w.]*)
    |(?P<quoted>`(?:[^`\\]|\\.)+`)
    |(?P<string>"[^"]*"|'[^']*')
    |(?P<op>\|\||%in%|\*\*|[-+*/^:~|(),=])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"\\": "\\", "`": "`", "n": "\n", "t": "\t", "r": "\r"}
_STRENGTH = {"|": 1, "||": 1, "+": 2, "-": 2, "*": 3, "/": 3, "%in%": 4, ":": 5}
_SIGN, _POWER = 6, 7
SUM = ("+", "-")


@dataclass(frozen=True, slots=True)
class Token:
    """A lexeme: `kind` is number, name, word (reserved), string, op or end."""

    kind: str
    text: str
    at: int


def tokens(text: str) -> list[Token]:
    """Split a formula into lexemes, ``end`` last; ``**`` is read as ``^``, as R does."""
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            fail(text, at, _stray(text[at]))
        kind, lexeme = str(match.lastgroup), match.group()
        if kind == "quoted":
            kind, lexeme = "name", _unquoted(text, at, lexeme)
        elif kind == "name" and lexeme in RESERVED:
            kind = "word"
        if kind != "space":
            found.append(Token(kind, "^" if lexeme == "**" else lexeme, at))
        at = match.end()
    return [*found, Token("end", "", len(text))]


def _stray(char: str) -> str:
    if char == "`":
        return "the backtick is never closed, or nothing is inside"
    return f"{char!r} is not part of the language; put a column's name in backticks if it has one"


def _unquoted(text: str, at: int, lexeme: str) -> str:
    def plain(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            fail(text, at + match.start(), f"\\{match[1]} is not an escape that is known here")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", plain, lexeme, flags=re.DOTALL)[1:-1]


class Parser:
    """Recursive descent with R's precedences: ``^``, sign, ``:``, ``%in%``, ``* /``, ``+ -``, ``|``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.here = 0
        self.depth = 0
        self.calls = 0
        if len(self.tokens) > LONGEST:
            self.fail(f"longer than {LONGEST} words; shorten it")

    @property
    def token(self) -> Token:
        """The lexeme to be read."""
        return self.tokens[self.here]

    def take(self) -> Token:
        """Read a lexeme."""
        self.here += 1
        return self.tokens[self.here - 1]

    def fail(self, reason: str, at: int | None = None) -> NoReturn:
        """Raise the FormulaError, at the lexeme to be read unless said otherwise."""
        fail(self.text, self.token.at if at is None else at, reason)

    def formula(self) -> tuple[Expr, Expr]:
        """Response and right-hand side."""
        if self.token.kind == "end":
            self.fail("the formula is empty; write one such as y ~ x + (1 | g)")
        if self.token.text == "~":
            self.fail("there is no response before ~; write y ~ x + (1 | g)")
        self.calls += 1
        response = self.expression()
        self.calls -= 1
        if self.token.kind == "end":
            self.fail("there is no ~; write the response, ~, then the terms")
        if self.token.text != "~":
            self.finish()
        self.take()
        right = self.expression()
        self.finish()
        return response, right

    def finish(self) -> None:
        """Nothing may follow."""
        if self.token.text == ")":
            self.fail('unbalanced parenthesis: ")" without "("')
        if self.token.text == "~":
            self.fail("a second ~; a formula has one")
        if self.token.kind != "end":
            self.fail(f"{self.token.text} cannot stand here; an operator such as + is missing")

    def expression(self, floor: int = 1) -> Expr:
        """Operators that bind at least as strongly as `floor`."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"nested more than {DEEPEST} deep; simplify it")
        left, links = self.signed(floor), 0
        while (strength := _STRENGTH.get(self.token.text, 0) * (self.token.kind == "op")) >= floor:
            op = self.take()
            links += self.calls > 0 or op.text not in SUM
            if links > DEEPEST:
                self.fail(f"more than {DEEPEST} operators in a row; simplify it", op.at)
            left = Binary(op.text, left, self.expression(strength + 1), op.at)
        self.depth -= 1
        return left

    def signed(self, floor: int) -> Expr:
        """A sign, an atom or a power."""
        if self.token.kind == "op" and self.token.text in SUM:
            op = self.take()
            return Unary(op.text, self.expression(max(floor, _SIGN)), op.at)
        base = self.atom()
        if self.token.text == "^":
            op = self.take()
            return Binary("^", base, self.expression(_POWER), op.at)
        return base

    def atom(self) -> Expr:
        """A number, a column, a call or parentheses."""
        token = self.take()
        if token.kind == "number":
            integer = token.text.endswith("L")
            value = float(token.text.removesuffix("L"))
            if value == float("inf"):
                self.fail("the number is too large", token.at)
            return Number(number_text(value) + "L" * integer, token.at)
        if token.kind == "name":
            if self.token.text == "(" and self.token.kind == "op":
                return self.call(token)
            if token.text == ".":
                self.fail("'.' (all other columns) is not supported; name the columns", token.at)
            return Name(token.text, token.at)
        if token.text == "(":
            inner = self.expression()
            self.close(token)
            return Group(inner, token.at)
        if token.kind == "end":
            self.fail("the formula ends where a column is expected", token.at)
        if token.kind == "string":
            self.fail("text in quotes is not part of the language; a column goes in backticks", token.at)
        if token.kind == "word":
            self.fail(f"{token.text} is a word of R; put a column of that name in backticks", token.at)
        return self.fail(f"a column, number or parenthesis is expected, not {token.text}", token.at)

    def call(self, name: Token) -> Call:
        """``name(`` is read as a call here and only here; anything but the whitelist is refused."""
        if name.text not in FUNCTIONS:
            self.fail(_unknown(name.text), name.at)
        opening = self.take()
        self.calls += 1
        args: list[Expr] = []
        options: list[tuple[str, Expr]] = []
        while True:
            following = self.tokens[min(self.here + 1, len(self.tokens) - 1)]
            if self.token.kind == "name" and following.text == "=" and following.kind == "op":
                key = self.take().text
                self.take()
                options.append((key, self.option()))
            else:
                if options:
                    self.fail("an argument without a name after one with a name")
                args.append(self.option())
            if self.token.text != ",":
                break
            self.take()
        self.close(opening)
        self.calls -= 1
        return Call(name.text, tuple(args), tuple(options), name.at)

    def option(self) -> Expr:
        """An argument's value."""
        if self.token.kind == "word" and self.token.text in LOGICAL:
            token = self.take()
            return Number(token.text, token.at)
        return self.expression()

    def close(self, opening: Token) -> None:
        """Read the ``)`` that belongs to `opening`."""
        if self.token.kind == "end":
            self.fail('unbalanced parenthesis: it is never closed, add ")"', opening.at)
        if self.token.text != ")":
            self.fail(f'{self.token.text} cannot stand here; an operator or ")" is missing')
        self.take()


def _unknown(function: str) -> str:
    if function == "offset":
        return "offset() is not in a formula here: give its column by --offset, or offset="
    if function == "cbind":
        return "cbind() is not supported: a model has one response"
    return f"{function}() is not in the language; there are {', '.join(FUNCTIONS)}"
