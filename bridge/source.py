"""Source: a user's table, each column that a formula names read once and checked."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.coding import evaluate
from bridge.errors import DataError
from bridge.grammar import Expr, Name
from bridge.variable import Factor, Numeric, Variable, as_factor, read

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, slots=True)
class Columns:
    """The response, variables of all parts, grouping factors, weights and offset, over the same rows."""

    y: Numeric
    variables: dict[Expr, Variable]
    groups: dict[Name, Factor]
    known: dict[str, Numeric]

    def missing(self) -> NDArray[np.bool_]:
        """Rows (n,) with a missing value in any of them."""
        columns = (self.y, *self.variables.values(), *self.groups.values(), *self.known.values())
        return np.asarray(np.logical_or.reduce([c.missing() for c in columns]))

    def take(self, rows: NDArray[np.bool_]) -> Columns:
        """The rows that are True."""
        return Columns(
            self.y.take(rows),
            {k: v.take(rows) for k, v in self.variables.items()},
            {k: v.take(rows) for k, v in self.groups.items()},
            {k: v.take(rows) for k, v in self.known.items()},
        )


class Source:
    """The user's data frame, each column read once."""

    def __init__(self, frame: pd.DataFrame, name: str) -> None:
        self.frame, self.name = frame, name
        self.seen: dict[str, Variable] = {}
        if frame.columns.has_duplicates:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise DataError(f'{name}: column "{twice}" is there twice; rename one')
        if not len(frame):
            raise DataError(f"{name}: there are no rows")

    def column(self, name: str) -> Variable:
        """A column as the variable that R would make of it; DataError if there is none of that name."""
        if name not in self.seen:
            if name not in self.frame.columns:
                raise DataError(f'{self.name}: no column "{name}"; {self.advice(name)}')
            self.seen[name] = read(self.frame[name], name, f'{self.name}: column "{name}"')
        return self.seen[name]

    def advice(self, name: str) -> str:
        """What the user may have meant."""
        names = [str(c) for c in self.frame.columns]
        close = get_close_matches(name, names, n=3, cutoff=0.5)
        close = close or [c for c in names if c.lower() == name.lower()]
        if close:
            return "did you mean " + " or ".join(f'"{c}"' for c in close) + "?"
        return f"there are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"

    def response(self, tree: Expr) -> Numeric:
        """The left-hand side; DataError if it is not numeric."""
        variable = evaluate(tree, self.column, self.name)
        if isinstance(variable, Factor):
            kind = "logical" if variable.logical else "text or categorical"
            raise DataError(f"{self.name}: the response {variable.label} is {kind}; it must be numeric")
        return variable

    def known(self, role: str, name: str) -> Numeric:
        """The column of weights or of the offset: what comes with each row and is not estimated."""
        variable, where = self.column(name), f'{self.name}: column "{name}"'
        if isinstance(variable, Factor):
            kind = "logical" if variable.logical else "text or categorical"
            raise DataError(f"{where} is {kind}; as {role} it must be numeric")
        low = variable.values[:, 0] <= 0
        if role == "weights" and low.any():
            row = int(np.argmax(low))
            value = f"{variable.values[row, 0]:g} in row {row + 1}"
            raise DataError(f"{where} is {value}; weights must be above 0: mend it or leave the row out")
        return variable

    def grouping(self, factor: Name) -> Factor:
        """A column to group by."""
        where = f'{self.name}: column "{factor.text}"'
        return as_factor(self.column(factor.text), factor.text, where)
