"""Columns of a design with R's semantics: transformations, contrasts, interactions, names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bridge.errors import DataError, ModelError
from bridge.formula import Part
from bridge.grammar import FACTORS, Binary, Call, Expr, Group, Name, Number, Unary, deparse, walk
from bridge.variable import Factor, Matrix, Numeric, Variable, as_factor

Reader = Callable[[str], Variable]
Key = tuple[str, str]
MOST_ENTRIES = 100_000_000


def evaluate(tree: Expr, reader: Reader, where: str) -> Variable:
    """A variable of the formula, met with the columns that `reader` gives by name.

    Raises
    ------
    DataError, ModelError
        An argument is not numeric, or the value is undefined or infinite in some row.
    """
    label = deparse(tree)
    if isinstance(tree, Name):
        variable = reader(tree.text)
        return replace(variable, label=label)
    if isinstance(tree, Call) and tree.function in FACTORS and isinstance(tree.args[0], Name):
        name = tree.args[0].text
        return as_factor(reader(name), label, f'{where}: column "{name}"', tree.function == "ordered")
    if isinstance(tree, Call) and tree.function == "poly":
        return _poly(tree, label, reader, where)
    with np.errstate(all="ignore"):
        values = np.asarray(_arithmetic(tree, reader, where), dtype=np.float64)
    if values.ndim == 0:
        raise ModelError(f"{where}: {label} is a constant; a term needs a column")
    _check_defined(values, tree, label, reader, where)
    return Numeric(label, values[:, None])


def _check_defined(values: Matrix, tree: Expr, label: str, reader: Reader, where: str) -> None:
    """R would drop undefined rows with a warning, and stop at infinite ones: both are refused."""
    given = np.ones(len(values), dtype=bool)
    for node in walk(tree):
        if isinstance(node, Name):
            given &= ~reader(node.text).missing()
    bad = given & ~np.isfinite(values)
    if bad.any():
        what = "undefined" if np.isnan(values[bad]).any() else "infinite"
        row = int(np.argmax(bad)) + 1
        raise DataError(f"{where}: {label} is {what} in row {row}; mend the value or leave the row out")


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "I": lambda x: x,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
}


def _arithmetic(tree: Expr, reader: Reader, where: str) -> Any:
    match tree:
        case Number():
            return np.float64(tree.value)
        case Name(text):
            variable = reader(text)
            if isinstance(variable, Factor):
                kind = "logical" if variable.logical else "a factor"
                raise ModelError(f'{where}: column "{text}" is {kind}, arithmetic needs numbers')
            return variable.values[:, 0]
        case Group(inner):
            return _arithmetic(inner, reader, where)
        case Unary(op, operand):
            value = _arithmetic(operand, reader, where)
            return -value if op == "-" else value
        case Binary(op, left, right):
            return _OPERATORS[op](_arithmetic(left, reader, where), _arithmetic(right, reader, where))
        case Call("scale", args, options):
            return _scale(_arithmetic(args[0], reader, where), dict(options))
        case Call("log", args, options) if len(args) + len(options) == 2:
            base = _arithmetic(options[0][1] if options else args[1], reader, where)
            return np.log(_arithmetic(args[0], reader, where)) / np.log(base)
        case Call(function, args, _):
            return _PLAIN[function](_arithmetic(args[0], reader, where))


def _scale(values: Matrix, options: Mapping[str, Expr]) -> Matrix:
    """R's ``scale``: over the values that are there; not centred, it divides by the root mean square."""
    yes = Number("TRUE")
    if options.get("center", yes) == yes:
        values = values - np.nanmean(values)
    if options.get("scale", yes) == yes:
        values = values / np.sqrt(np.nansum(values**2) / (np.isfinite(values).sum() - 1))
    return values


def _poly(call: Call, label: str, reader: Reader, where: str) -> Numeric:
    options = dict(call.options)
    wanted = call.args[1] if len(call.args) == 2 else options.get("degree", Number("1"))
    assert isinstance(wanted, Number)
    degree = int(wanted.value)
    x = np.asarray(_arithmetic(call.args[0], reader, where), dtype=np.float64)
    _check_defined(x, call.args[0], label, reader, where)
    suffixes = ("",) if degree == 1 else tuple(str(k) for k in range(1, degree + 1))
    if options.get("raw") == Number("TRUE"):
        return Numeric(label, x[:, None] ** np.arange(1, degree + 1), suffixes)
    if np.isnan(x).any():
        raise DataError(f"{where}: {label} needs every value of its column; leave out the rows without one")
    if degree >= len(np.unique(x)):
        raise ModelError(
            f"{where}: the degree of {label} is not below its {len(np.unique(x))} distinct values"
        )
    return Numeric(label, orthogonal(x, degree), suffixes)


def orthogonal(x: Matrix, degree: int) -> Matrix:
    """Orthonormal polynomials of degrees 1 to `degree`, leading coefficients positive: R's ``poly``.

    formulaic's three-term recurrence, on centred x as in R.
    """
    from formulaic.transforms.poly import poly

    return np.array(poly(x - x.mean(), degree, _state={}), dtype=np.float64)


@dataclass(frozen=True, eq=False, slots=True)
class Coded:
    """The columns by which one variable enters one term: `suffixes` to its label, and `matrix`."""

    label: str
    suffixes: tuple[str, ...]
    matrix: Matrix


def code(variable: Variable, full: bool) -> Coded:
    """A variable's columns: as they are, by contrasts, or (`full`) one indicator a level."""
    if isinstance(variable, Numeric):
        return Coded(variable.label, variable.suffixes, variable.values)
    count = len(variable.levels)
    if count * len(variable.codes) > MOST_ENTRIES:
        raise ModelError(
            f"{variable.label} has {count} levels, too many for fixed columns; group by it or make it numeric"
        )
    if full or not variable.ordered:
        indicators = np.zeros((len(variable.codes), count))
        indicators[np.arange(len(variable.codes)), variable.codes] = 1.0
        first = 0 if full else 1
        return Coded(variable.label, variable.levels[first:], indicators[:, first:])
    table = orthogonal(np.arange(count, dtype=np.float64), count - 1)
    names = tuple({1: ".L", 2: ".Q", 3: ".C"}.get(k, f"^{k}") for k in range(1, count))
    return Coded(variable.label, names, table[variable.codes])


def codings(part: Part, categorical: Mapping[Expr, bool]) -> list[tuple[tuple[Expr, bool], ...]]:
    """R's ``TermCode``: per term, its variables and whether each is coded in full.

    A factor has contrasts iff the term without it is empty or contained in a preceding term; without
    an intercept the first factor of the first term that has one is coded in full.
    """
    sets = [frozenset(term) for term in part.terms]
    plan: list[tuple[tuple[Expr, bool], ...]] = []
    for t, term in enumerate(part.terms):
        margins = {v: sets[t] - {v} for v in term}
        plan.append(
            tuple(
                (v, categorical[v] and bool(margins[v]) and not any(margins[v] <= s for s in sets[:t]))
                for v in term
            )
        )
    if part.intercept:
        return plan
    for t, term in enumerate(part.terms):
        for i, v in enumerate(term):
            if categorical[v]:
                plan[t] = (*plan[t][:i], (v, True), *plan[t][i + 1 :])
                return plan
    return plan


@dataclass(frozen=True, eq=False, slots=True)
class Design:
    """A model matrix with its names.

    Attributes
    ----------
    names : tuple of str, length p
    keys : tuple of frozenset, length p
        Per column its (variable, suffix) pairs: what it is, whatever the order of the variables.
    matrix : (n, p) array
    """

    names: tuple[str, ...]
    keys: tuple[frozenset[Key], ...]
    matrix: Matrix


def design(part: Part, variables: Mapping[Expr, Variable], n: int) -> Design:
    """The model matrix of an expanded formula, as R's ``model.matrix``: first variable fastest."""
    plan = codings(part, {v: isinstance(variables[v], Factor) for v in part.variables if v in variables})
    names: list[str] = ["(Intercept)"] if part.intercept else []
    keys: list[frozenset[Key]] = [frozenset()] if part.intercept else []
    blocks: list[Matrix] = [np.ones((n, 1))] if part.intercept else []
    for term in plan:
        label, key, block = [""], [frozenset[Key]()], None
        for expr, full in term:
            coded = code(variables[expr], full)
            stems = [coded.label + s for s in coded.suffixes]
            label = [f"{a}:{b}" if a else b for b in stems for a in label]
            key = [a | {(coded.label, s)} for s in coded.suffixes for a in key]
            next_block = coded.matrix
            block = next_block if block is None else _products(block, next_block)
        names += label
        keys += key
        if block is not None:
            blocks.append(block)
    matrix = np.concatenate(blocks, axis=1) if blocks else np.empty((n, 0))
    return Design(tuple(names), tuple(keys), matrix)


def _products(fast: Matrix, slow: Matrix) -> Matrix:
    return (slow[:, :, None] * fast[:, None, :]).reshape(len(fast), slow.shape[1] * fast.shape[1])
