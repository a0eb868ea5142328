"""Model: a formula met with data. What every engine, and the referee, works from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
    """

    formula: str
    fixed: str
    random: tuple[tuple[str, tuple[str, ...]], ...]
    fixed_names: dict[str, str]
    random_names: tuple[dict[str, str], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """Everything that an engine needs, with R's semantics and lme4's names.

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

    @property
    def n(self) -> int:
        """Rows used."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Fixed-effect columns."""
        return self.X.shape[1]
