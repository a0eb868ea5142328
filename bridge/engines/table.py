"""Table: the model as a formula and a data frame that any engine with formulas reads, and the way back.

Engines differ in how they code factors and paste crossed labels; the model has R's coding. So a
coefficient that is no plain numeric column enters as a column of its own, and crossed factors as one
factor. What comes back is joined by name and label: what is missing stays missing, what is foreign is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.engines import rows
from bridge.fit import Row
from bridge.model import Matrix, Model, Vector

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str, str, str]

Fixed = Mapping[str, tuple[float, float, float | None]]
"""Alias to estimate, standard error and denominator df."""
Entries = Mapping[Key, float]
"""Covariances by (group, term, term), in either order; BLUPs by (group, level, term)."""


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A model spelled for formula-reading engines.

    Attributes
    ----------
    model : Model
    data : pandas.DataFrame
        A copy: `Model.data` and the columns added.
    fixed : str
        ``v0 ~ 1 + v1 + v6``.
    random : tuple of (str, str)
        Right-hand side and group of each term: ``("1 + v1", "v3")``.
    names : dict
        Alias of a fixed coefficient to its name.
    random_names : tuple of dict
        The same for each random term, in its column order.
    """

    model: Model
    data: pd.DataFrame
    fixed: str
    random: tuple[tuple[str, str], ...]
    names: dict[str, str]
    random_names: tuple[dict[str, str], ...]

    @classmethod
    def of(cls, model: Model) -> Table:
        """Spell a model."""
        import pandas as pd

        frame = model.data.copy()
        kept = np.flatnonzero(frame.notna().all(axis=1))
        known: dict[bytes, str] = {}

        def added(values: Vector | pd.Categorical) -> str:
            alias = f"v{len(frame.columns)}"
            frame[alias] = pd.Series(values, index=frame.index[kept])
            return alias

        def spelled(aliases: Mapping[str, str], columns: Matrix, order: tuple[str, ...]) -> dict[str, str]:
            alias_of = {name: alias for alias, name in aliases.items()}
            found = {}
            for name, column in zip(order, columns.T, strict=True):
                alias = alias_of[name]
                if alias != "(Intercept)" and (alias not in frame or frame[alias].dtype == "category"):
                    content = column.tobytes()  # a slope's column is that of the fixed part
                    alias = known[content] = known.get(content) or added(column)
                found[alias] = name
            return found

        names = spelled(model.spelling.fixed_names, model.X, model.names)
        random, random_names = [], []
        spellings = zip(model.random, model.spelling.random, model.spelling.random_names, strict=True)
        for term, (_, factors), aliases in spellings:
            found = spelled(aliases, term.Z, term.names)
            labels = [":".join(level) for level in term.levels]
            crossed = len(factors) > 1
            group = added(pd.Categorical.from_codes(term.index, labels)) if crossed else factors[0]
            random.append((_right(found), group))
            random_names.append(found)
        return cls(model, frame, f"v0 ~ {_right(names)}", tuple(random), names, tuple(random_names))

    @property
    def formula(self) -> str:
        """The whole formula in lme4's language."""
        return " + ".join([self.fixed, *(f"({right} | {group})" for right, group in self.random)])

    def rows(self, fixed: Fixed, covariances: Entries, blups: Entries, sigma2: float) -> tuple[Row, ...]:
        """An engine's numbers over aliases, variance scale, as rows; those with foreign labels keep them."""
        found = [
            Row("fixed", self.names.get(alias, alias), estimate, std_error=std_error, df=df)
            for alias, (estimate, std_error, df) in fixed.items()
        ]
        pairs = dict(self._pairs())
        for (group, a, b), value in covariances.items():
            term, name = pairs.get((group, a, b), (f"cov__{a}.{b}", group))
            found.append(Row("ran_pars", term, value, name))
        found.append(rows.residual(sigma2))
        modes = dict(self._modes())
        for (group, label, alias), value in blups.items():
            term, name, level = modes.get((group, label, alias), (alias, group, (label,)))
            found.append(Row("ran_vals", term, value, name, level))
        return tuple(found)

    def _pairs(self) -> Iterator[tuple[Key, tuple[str, str]]]:
        """Term and group of a row, by an engine's key of it."""
        for term, (_, group), names in zip(self.model.random, self.random, self.random_names, strict=True):
            aliases = list(names)
            for i, a in enumerate(aliases):
                yield (group, a, a), (f"var__{names[a]}", term.group)
                for b in aliases[i + 1 :]:
                    labels = f"cov__{names[a]}.{names[b]}", term.group
                    yield (group, a, b), labels
                    yield (group, b, a), labels

    def _modes(self) -> Iterator[tuple[Key, tuple[str, str, tuple[str, ...]]]]:
        """Term, group and level of a row, by an engine's key of it."""
        for term, (_, group), names in zip(self.model.random, self.random, self.random_names, strict=True):
            for level in term.levels:
                for alias, name in names.items():
                    yield (group, ":".join(level), alias), (name, term.group, level)


def _right(names: Mapping[str, str]) -> str:
    intercept = "(Intercept)" in names
    return " + ".join(["1" if intercept else "0", *(a for a in names if a != "(Intercept)")])
