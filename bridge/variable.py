"""Variables as R would hold them: numeric columns and factors, read from a pandas data frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import DataError
from bridge.grammar import number_text

if TYPE_CHECKING:
    import pandas as pd

Matrix = NDArray[np.float64]
Codes = NDArray[np.intp]

LARGEST = 1e150
"""Largest size of a numeric column, and one over its smallest."""


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
    dtype : pandas.CategoricalDtype or None
        The one with exactly these levels, if there is one already: making it takes pandas .2 ms.
    """

    label: str
    codes: Codes
    levels: tuple[str, ...]
    ordered: bool = False
    logical: bool = False
    dtype: pd.CategoricalDtype | None = None

    def missing(self) -> NDArray[np.bool_]:
        """Rows without a value."""
        return np.asarray(self.codes < 0)

    def take(self, rows: NDArray[np.bool_]) -> Factor:
        """The rows, without levels that do not occur in them."""
        codes = self.codes[rows]
        used = np.bincount(codes[codes >= 0], minlength=len(self.levels)) > 0
        if used.all():
            return Factor(self.label, codes, self.levels, self.ordered, self.logical, self.dtype)
        rank = np.append(np.cumsum(used) - 1, -1)
        levels = tuple(level for level, u in zip(self.levels, used, strict=True) if u)
        return Factor(self.label, rank[codes], levels, self.ordered, self.logical)

    def categorical(self) -> pd.Categorical:
        """As pandas has it."""
        import pandas as pd

        if self.dtype is None:
            return pd.Categorical.from_codes(self.codes, list(self.levels), ordered=self.ordered)
        return pd.Categorical.from_codes(self.codes, dtype=self.dtype, validate=False)


Variable = Numeric | Factor


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
    text = all(isinstance(c, str) for c in categories)
    ordered = bool(series.dtype.ordered)
    return Factor(label, codes, levels, ordered, dtype=series.dtype if text else None)


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
    size = float(np.nanmax(np.abs(values), initial=0.0))
    if size > LARGEST or 0 < size < 1 / LARGEST:
        raise DataError(f"{where} has values of size {size:.2g}, whose squares no double holds; rescale it")
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
        try:
            return _numeric(pd.to_numeric(series), label, where)
        except OverflowError:
            raise DataError(f"{where} has an integer beyond 1.8e308; mend or remove the row") from None
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
        same = variable.ordered or not ordered
        dtype = variable.dtype if same else None
        return Factor(label, variable.codes, variable.levels, variable.ordered or ordered, dtype=dtype)
    gone = variable.missing()
    source = variable.values[:, 0] if variable.exact is None else variable.exact
    uniques, inverse = np.unique(source[~gone], return_inverse=True)
    levels = tuple(label_text(u) for u in uniques.tolist())
    if len(set(levels)) < len(levels):
        raise DataError(f"{where} has two values that are both written {_repeated(levels)}; round them")
    codes = np.full(len(gone), -1, dtype=np.intp)
    codes[~gone] = inverse
    return Factor(label, codes, levels, ordered)
