"""Model: a formula met with data. What every engine, and the referee, works from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bridge.coding import Design, Key, design, evaluate
from bridge.errors import DataError, ModelError
from bridge.formula import Bar, Errors, Formula, Part, parse
from bridge.grammar import Expr, Name, deparse
from bridge.residual import Residual, residual
from bridge.source import Columns, Source
from bridge.variable import Factor, Numeric, Variable

if TYPE_CHECKING:
    import pandas as pd

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class RandomTerm:
    """One random-effects term ``(columns | group)``, all its coefficients correlated.

    ``(x || g)`` is two of these with the same `group`, as in lme4.

    Attributes
    ----------
    group : str
        lme4's name of the grouping factor: ``g``, ``b:a`` (``(1 | a/b)`` gives ``b:a`` and ``a``).
    factors : tuple of str
        The data columns crossed to make the groups, in the order of `group`.
    names : tuple of str, length k
        Coefficient names, lme4's.
    Z : (n, k) array
        The term's columns, one row an observation, *not* spread over levels.
    index : (n,) int array
        Level of each row, 0 <= index < len(levels).
    levels : tuple of tuple of str
        One tuple of labels per level, in the order of `factors`.
    """

    group: str
    factors: tuple[str, ...]
    names: tuple[str, ...]
    Z: Matrix
    index: NDArray[np.intp]
    levels: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Spelling:
    """The model under syntactic aliases, for engines that read a formula and a data frame.

    Attributes
    ----------
    formula : str
        lme4's language over aliases, fully expanded: ``v0 ~ 1 + v1 + v1:v2 + (1 + v1 | v3)``.
    fixed : str
        The fixed part alone: ``v0 ~ 1 + v1 + v1:v2``.
    random : tuple of (str, tuple of str)
        Per random term: right-hand side (``1 + v1``, ``0 + v2``) and the aliases of `factors`.
    fixed_names : dict
        Coefficient name as R spells it over aliases -> the model's name.
    random_names : tuple of dict
        The same for each random term.
    weights, offset : str
        Alias of their column; empty if the model has none.
    errors : Errors or None
        How residuals depart from independence with one variance; the last summand of `formula`.
    """

    formula: str
    fixed: str
    random: tuple[tuple[str, tuple[str, ...]], ...]
    fixed_names: dict[str, str]
    random_names: tuple[dict[str, str], ...]
    weights: str = ""
    offset: str = ""
    errors: Errors | None = None

    @property
    def plain(self) -> str:
        """`formula` without the errors."""
        return self.formula if self.errors is None else self.formula.removesuffix(f" + {self.errors.text}")


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """Everything that an engine needs, with R's semantics and lme4's names. Its arrays are read-only.

    Attributes
    ----------
    formula : str
        As the user wrote it.
    response : str
    y : (n,) array
    X : (n, p) array
    names : tuple of str, length p
        Fixed-effect names: ``(Intercept)``, ``SexFemale``, ``age:SexFemale``, ``F.L``.
    random : tuple of RandomTerm
        In the order of the formula; empty for complete pooling.
    data : pandas.DataFrame
        The same rows under aliases (``v0``, ``v1``, ...): the response, the variables of the
        fixed part with their transformations already applied (``log(x)`` is a numeric column,
        ``poly(x, 2)`` two, see `spelling`), grouping factors as Categorical with levels in order.
    spelling : Spelling
        The formula over the columns of `data`.
    dropped : int
        Rows left out because of missing values.
    missing : {"omit", "pass"}
        ``pass``: `data` still has the rows with missing values; y, X and Z never do.
    weights : (n,) array or None
        Precision weights, as lme4's: the residual variance of row i is sigma2 / weights[i].
    offset : (n,) array or None
        Known part of the mean, on the response's scale.
    weights_column, offset_column : str
        The user's names of their columns; empty if there is none.
    residual : Residual or None
        Where errors are not independent with one variance (bridge.residual).
    """

    formula: str
    response: str
    y: Vector
    X: Matrix
    names: tuple[str, ...]
    random: tuple[RandomTerm, ...]
    data: pd.DataFrame
    spelling: Spelling
    dropped: int = 0
    missing: str = "omit"
    weights: Vector | None = None
    offset: Vector | None = None
    weights_column: str = ""
    offset_column: str = ""
    residual: Residual | None = None

    @property
    def n(self) -> int:
        """Rows used."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Fixed-effect columns."""
        return int(self.X.shape[1])

    @property
    def known_mean(self) -> Vector | float:
        """The offset, 0 if there is none."""
        return 0.0 if self.offset is None else self.offset

    @property
    def error_names(self) -> tuple[str, ...]:
        """Parameters of the errors; empty for plain ones."""
        return () if self.residual is None else self.residual.names

    @property
    def total_weight(self) -> float:
        """Sum of the weights; n if there are none."""
        return float(self.n) if self.weights is None else float(np.sum(self.weights))


def build(
    formula: str | Formula,
    frame: pd.DataFrame,
    *,
    missing: Literal["omit", "pass"] = "omit",
    name: str = "data",
    weights: str = "",
    offset: str = "",
) -> Model:
    """Meet a formula with data, by R's semantics; rows with a missing value never enter y, X or Z.

    Parameters
    ----------
    formula : str or Formula
        lme4's language (docs/formula.md).
    frame : pandas.DataFrame
        One row an observation.
    missing : {"omit", "pass"}
        Whether `Model.data` leaves such rows out, too, or keeps them.
    name : str
        What messages call the data.
    weights, offset : str
        Columns of precision weights, all above 0, and of a known part of the mean; empty for none.

    Raises
    ------
    FormulaError
        Outside the grammar.
    DataError
        Unknown column, wrong type, Inf, a weight that is not above 0, no rows.
    ModelError
        One level in a factor, a random effect twice, names that collide.
    """
    parsed = parse(formula) if isinstance(formula, str) else formula
    source = Source(frame, name)
    parts = [parsed.fixed, *(bar.part for bar in parsed.random)]
    given = Columns(
        source.response(parsed.response),
        {v: evaluate(v, source.column, name) for part in parts for v in part.variables},
        {f: source.grouping(f) for f in _grouping(parsed)},
        {role: source.known(role, c) for role, c in _known(parsed, weights, offset)},
    )
    gone = given.missing()
    if gone.all():
        raise DataError(f"{name}: every one of the {len(gone)} rows has a missing value; fill a column in")
    kept = given.take(~gone)
    for variable in (v for part in parts for term in part.terms for v in term):
        _check_levels(kept.variables[variable], name)
    n = len(kept.y.values)
    fixed = design(parsed.fixed, kept.variables, n)
    _check_names(fixed.names, "coefficients of the fixed part", name)
    designs = [design(bar.part, kept.variables, n) for bar in parsed.random]
    random = tuple(_random(bar, z, kept, name) for bar, z in zip(parsed.random, designs, strict=True))
    _check_distinct(random)
    errors = None
    if parsed.errors is not None:
        group, position = kept.groups[parsed.errors.group], kept.known.get("position")
        errors = residual(parsed.errors, group, position, name)
        _check_series(errors, random, name)
        if errors.kind == "corAR1" and weights:
            raise ModelError(f"{name}: corAR1() and weights do not go together here; leave one of them out")
    y = kept.y.values[:, 0]
    known = {role: np.ascontiguousarray(column.values[:, 0]) for role, column in kept.known.items()}
    for array in (y, fixed.matrix, *known.values(), *(a for term in random for a in (term.Z, term.index))):
        array.setflags(write=False)
    speller = _Speller(kept, given.take(np.ones(len(gone), dtype=bool)) if missing == "pass" else kept, gone)
    spelling = speller.spell(parsed, fixed, designs)
    return Model(
        formula=parsed.text,
        response=deparse(parsed.response),
        y=y,
        X=fixed.matrix,
        names=fixed.names,
        random=random,
        data=speller.frame(),
        spelling=spelling,
        dropped=int(gone.sum()),
        missing=missing,
        weights=known.get("weights"),
        offset=known.get("offset"),
        weights_column=weights,
        offset_column=offset,
        residual=errors,
    )


def _grouping(parsed: Formula) -> list[Name]:
    """Columns that group rows, of random terms and of errors."""
    return [
        *(f for bar in parsed.random for f in bar.factors),
        *([] if parsed.errors is None else [parsed.errors.group]),
    ]


def _known(parsed: Formula, weights: str, offset: str) -> list[tuple[str, str]]:
    """Role and name of the columns that come with each row and are not estimated."""
    position = parsed.errors and parsed.errors.position
    roles = (("weights", weights), ("offset", offset), ("position", position.text if position else ""))
    return [(role, column) for role, column in roles if column]


def _check_series(errors: Residual, random: Iterable[RandomTerm], name: str) -> None:
    for term in random if errors.kind == "corAR1" else ():
        if np.any(term.index != term.index[errors.before]):
            raise ModelError(
                f"{name}: a series of {errors.group} runs through levels of {term.group}; errors can only be "
                "correlated within a level of every random term"
            )


def _check_levels(variable: Variable, name: str) -> None:
    if isinstance(variable, Factor) and len(variable.levels) < 2:
        raise ModelError(
            f"{name}: factor {variable.label} has one level ({variable.levels[0]!r}) in the rows used; "
            "remove it from the formula"
        )


def _check_names(names: Sequence[str], what: str, name: str) -> None:
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ModelError(f"{name}: two {what} are both called {twice}; rename a column or level")


def _check_distinct(random: Iterable[RandomTerm]) -> None:
    seen: set[tuple[frozenset[str], str]] = set()
    for term in random:
        for coefficient in term.names:
            key = frozenset(term.factors), coefficient
            if key in seen:
                raise ModelError(f"{coefficient} varies by {term.group} twice; remove one from the formula")
            seen.add(key)


def _random(bar: Bar, z: Design, kept: Columns, name: str) -> RandomTerm:
    _check_names(z.names, f"coefficients of the random term by {bar.group}", name)
    factors = [kept.groups[f] for f in bar.factors]
    index, levels = factors[0].codes, [(label,) for label in factors[0].levels]
    if len(factors) > 1:
        for factor in factors[1:]:
            # numbered anew at each step, so that many crossed factors cannot overflow
            pairs, index = np.unique(index * len(factor.levels) + factor.codes, return_inverse=True)
            outer, inner = np.divmod(pairs, len(factor.levels))
            levels = [
                (*levels[i], factor.levels[j]) for i, j in zip(outer.tolist(), inner.tolist(), strict=True)
            ]
        _check_names([":".join(level) for level in levels], f"groups of {bar.group}", name)
    names = tuple(f.text for f in bar.factors)
    return RandomTerm(bar.group, names, z.names, z.matrix, np.asarray(index, dtype=np.intp), tuple(levels))


class _Speller:
    """Gives aliases out, and says what each coefficient over aliases is in the model's names.

    `kept` has the rows that are used, `shown` those that engines get, `gone` which of them differ.
    """

    def __init__(self, kept: Columns, shown: Columns, gone: NDArray[np.bool_]) -> None:
        self.shown, self.gone = shown, gone
        self.columns: list[Vector | Factor] = [shown.y.values[:, 0]]
        self.aliases: dict[Expr, list[Name]] = {}
        self.stems: dict[str, Key] = {}
        self.empty: dict[Expr, Variable] = {}
        for tree, variable in kept.variables.items():
            self.aliases[tree] = [
                self.add(variable, j, shown.variables[tree])
                for j in range(len(variable.suffixes) if isinstance(variable, Numeric) else 1)
            ]
        self.groups = {name: self.new(factor).text for name, factor in shown.groups.items()}
        self.known = {role: self.new(c.values[:, 0]).text for role, c in shown.known.items()}

    def new(self, column: Vector | Factor) -> Name:
        self.columns.append(column)
        return Name(f"v{len(self.columns) - 1}")

    def add(self, variable: Variable, j: int, shown: Variable) -> Name:
        """One alias column; `empty` has it without rows, which is enough for R's names."""
        if isinstance(variable, Numeric) and isinstance(shown, Numeric):
            alias = self.new(shown.values[:, j])
            self.empty[alias] = Numeric(alias.text, np.empty((0, 1)))
            self.stems[alias.text] = (variable.label, variable.suffixes[j])
        else:
            assert isinstance(variable, Factor)
            assert isinstance(shown, Factor)
            alias = self.new(shown)
            none = np.empty(0, dtype=np.intp)
            self.empty[alias] = Factor(alias.text, none, variable.levels, variable.ordered)
            self.stems[alias.text] = (variable.label, "")
        return alias

    def spell(self, parsed: Formula, fixed: Design, designs: Sequence[Design]) -> Spelling:
        right, fixed_names = self.part(parsed.fixed, fixed)
        bars = [self.part(bar.part, z) for bar, z in zip(parsed.random, designs, strict=True)]
        random = tuple(
            (text, tuple(self.groups[f] for f in bar.factors))
            for (text, _), bar in zip(bars, parsed.random, strict=True)
        )
        errors = parsed.errors and self.errors(parsed.errors)
        summands = [f"v0 ~ {right}", *(f"({text} | {':'.join(g)})" for text, g in random)]
        return Spelling(
            formula=" + ".join([*summands, *([errors.text] if errors else [])]),
            fixed=f"v0 ~ {right}",
            random=random,
            fixed_names=fixed_names,
            random_names=tuple(names for _, names in bars),
            weights=self.known.get("weights", ""),
            offset=self.known.get("offset", ""),
            errors=errors,
        )

    def errors(self, errors: Errors) -> Errors:
        """``varIdent(1 | v3)`` or ``corAR1(v4 | v3)``."""
        position = Name(self.known["position"]) if errors.position else None
        return Errors(errors.kind, position, Name(self.groups[errors.group]))

    def part(self, part: Part, made: Design) -> tuple[str, dict[str, str]]:
        """Right-hand side over aliases, and its coefficients' names.

        Where R would code the aliased terms otherwise (``0 + poly(x, 2) + poly(x, 2):f``: each
        column of poly is a term of its own), the columns themselves become numeric variables.
        """
        written = [t for term in part.terms for t in product(*(self.aliases[v] for v in term))]
        order = list(dict.fromkeys(v for term in written for v in term))
        terms = tuple(tuple(sorted(term, key=order.index)) for term in written)
        spelled = design(Part(part.intercept, tuple(order), terms), self.empty, 0)
        origin = dict(zip(made.keys, made.names, strict=True))
        keys = [frozenset((self.stems[a][0], self.stems[a][1] + s) for a, s in key) for key in spelled.keys]
        if set(keys) == set(origin) and len(keys) == len(origin):
            names = {alias: origin[key] for alias, key in zip(spelled.names, keys, strict=True)}
            return _right(part.intercept, [":".join(v.text for v in term) for term in written]), names
        names = {"(Intercept)": "(Intercept)"} if part.intercept else {}
        for name, values in zip(made.names, made.matrix.T, strict=True):
            if name != "(Intercept)":
                names[self.new(self.spread(values)).text] = name
        return _right(part.intercept, [alias for alias in names if alias != "(Intercept)"]), names

    def spread(self, values: Vector) -> Vector:
        """A column over the rows used, over the rows shown."""
        if len(values) == len(self.shown.y.values):
            return values
        full = np.full(len(self.gone), np.nan)
        full[~self.gone] = values
        return full

    def frame(self) -> pd.DataFrame:
        """The aliased columns, factors as Categorical."""
        import pandas as pd

        return pd.DataFrame(
            {
                f"v{i}": column.categorical() if isinstance(column, Factor) else column
                for i, column in enumerate(self.columns)
            },
            copy=False,
        )


def _right(intercept: bool, terms: Sequence[str]) -> str:
    return " + ".join(["1" if intercept else "0", *terms])
