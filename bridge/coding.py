"""Columns of a design with R's semantics: variables met with data, contrasts, interactions, names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import DataError, ModelError
from bridge.formula import Part
from bridge.grammar import FACTORS, Binary, Call, Expr, Group, Name, Number, Unary, deparse, number_text

if TYPE_CHECKING:
    import pandas as pd

Matrix = NDArray[np.float64]
Codes = NDArray[np.intp]
Key = tuple[str, str]
MOST_ENTRIES = 100_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Numeric:
    """A numeric variable: one column, or several (``poly``).

    Attributes
    ----------
    label : str
        R's spelling, the stem of coefficient names.
    values : (n, k) array
        NaN where missing.
    suffixes : tuple of str, length k
        What R appends to `label`: ``("",)``, or ``("1", "2")``.
    exact : (n,) array or None
        The integers that `values` came from, so that large identifiers stay apart.
    """

    label: str
    values: Matrix
    suffixes: tuple[str, ...] = ("",)
    exact: NDArray[Any] | None = None

    def missing(self) -> NDArray[np.bool_]:
        """Rows without a value."""
        return np.asarray(np.isnan(self.values).any(axis=1))

    def take(self, rows: NDArray[np.bool_]) -> Numeric:
        """The rows."""
        return Numeric(self.label, self.values[rows], self.suffixes)


@dataclass(frozen=True, eq=False, slots=True)
class Factor:
    """A categorical variable.

    Attributes
    ----------
    label : str
    codes : (n,) int array
        -1 where missing.
    levels : tuple of str
    ordered : bool
        Coded by ``contr.poly`` instead of ``contr.treatment``.
    logical : bool
        R's logical; its levels are FALSE and TRUE.
    """

    label: str
    codes: Codes
    levels: tuple[str, ...]
    ordered: bool = False
    logical: bool = False

    def missing(self) -> NDArray[np.bool_]:
        """Rows without a value."""
        return np.asarray(self.codes < 0)

    def take(self, rows: NDArray[np.bool_]) -> Factor:
        """The rows, without levels that do not occur in them."""
        codes = self.codes[rows]
        used = np.bincount(codes[codes >= 0], minlength=len(self.levels)) > 0
        levels = self.levels
        if not used.all():
            rank = np.append(np.cumsum(used) - 1, -1)
            codes = rank[codes]
            levels = tuple(level for level, u in zip(levels, used, strict=True) if u)
        return Factor(self.label, codes, levels, self.ordered, self.logical)


Variable = Numeric | Factor
Reader = Callable[[str], Variable]


def read(series: pd.Series[Any], label: str, where: str) -> Variable:
    """A column of a data frame as R would hold it.

    Strings become factors with levels in code-point order; Categorical keeps its order; booleans
    are logicals.

    Raises
    ------
    DataError
        Infinite, entirely missing, of mixed or unsupported type; the message begins with `where`.
    """
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        variable: Variable = _categorical(series, label, where)
    elif pd.api.types.is_bool_dtype(dtype):
        variable = _logical(series.to_numpy(object), label)
    elif pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        variable = _numeric(series, label, where)
    elif pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
        variable = _object(series, label, where)
    else:
        raise DataError(f"{where} is of type {dtype}; make it numeric, text or categorical")
    if len(series) and variable.missing().all():
        raise DataError(f"{where} has no value, all {len(series)} are missing; leave it out or fill it")
    return variable


def _categorical(series: pd.Series[Any], label: str, where: str) -> Factor:
    categories = series.dtype.categories.tolist()
    levels = tuple(label_text(c) for c in categories)
    if len(set(levels)) < len(levels):
        raise DataError(f"{where} has two levels that are both written {_repeated(levels)}; rename one")
    codes = np.asarray(series.array.codes, dtype=np.intp)
    return Factor(label, codes, levels, bool(series.dtype.ordered))


def _logical(values: NDArray[Any], label: str) -> Factor:
    import pandas as pd

    gone = np.asarray(pd.isna(values))
    codes = np.where(gone, 0, values).astype(np.intp)
    codes[gone] = -1
    return Factor(label, codes, ("FALSE", "TRUE"), logical=True)


def _numeric(series: pd.Series[Any], label: str, where: str) -> Numeric:
    raw = series.to_numpy() if isinstance(series.dtype, np.dtype) else None
    if raw is None:
        gone = series.isna().to_numpy()
        kind = np.int64 if series.dtype.kind in "iu" else np.float64
        raw = series.fillna(0).to_numpy(dtype=kind)
        values = np.where(gone, np.nan, raw).astype(np.float64)
    else:
        values = raw.astype(np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite)) + 1
        raise DataError(f"{where} is infinite in row {row}; mend the value or leave the row out")
    return Numeric(label, values[:, None], exact=raw if raw.dtype.kind in "iu" else None)


def _object(series: pd.Series[Any], label: str, where: str) -> Variable:
    import pandas as pd

    codes, uniques = pd.factorize(series.to_numpy(object), sort=False)
    kinds = {type(u) for u in uniques}
    if kinds <= {str}:
        levels = sorted(uniques)
        rank = np.empty(len(levels) + 1, dtype=np.intp)
        place = {level: i for i, level in enumerate(levels)}
        rank[:-1] = [place[u] for u in uniques]
        rank[-1] = -1
        return Factor(label, rank[codes], tuple(levels))
    if kinds <= {bool, np.bool_}:
        return _logical(series.to_numpy(object), label)
    if all(isinstance(u, int | float | np.number) and not isinstance(u, bool) for u in uniques):
        return _numeric(pd.to_numeric(series), label, where)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"{where} mixes values of type {names}; make it all text or all numbers")


def label_text(value: object) -> str:
    """A level's label as R's ``as.character`` writes it."""
    if isinstance(value, bool | np.bool_):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float | np.floating):
        return number_text(float(value))
    return str(value)


def _repeated(labels: Sequence[str]) -> str:
    return repr(next(label for label in labels if labels.count(label) > 1))


def as_factor(variable: Variable, label: str, where: str, ordered: bool = False) -> Factor:
    """What R's ``factor()`` makes of it: numbers in numeric order, factors as they are."""
    if isinstance(variable, Factor):
        return Factor(label, variable.codes, variable.levels, variable.ordered or ordered)
    gone = variable.missing()
    source = variable.values[:, 0] if variable.exact is None else variable.exact
    uniques, inverse = np.unique(source[~gone], return_inverse=True)
    levels = tuple(label_text(u) for u in uniques.tolist())
    if len(set(levels)) < len(levels):
        raise DataError(f"{where} has two values that are both written {_repeated(levels)}; round them")
    codes = np.full(len(gone), -1, dtype=np.intp)
    codes[~gone] = inverse
    return Factor(label, codes, levels, ordered)


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
        if isinstance(variable, Numeric):
            return Numeric(label, variable.values, exact=variable.exact)
        return Factor(label, variable.codes, variable.levels, variable.ordered, variable.logical)
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
    from bridge.grammar import walk

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
        raise ModelError(f"{where}: the degree of {label} is not below its {len(np.unique(x))} distinct values")
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
