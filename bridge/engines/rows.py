"""Rows: arrays in the model's own order as tidy rows. Adapters put an engine's numbers into that order."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

from bridge.fit import Row
from bridge.model import Matrix, Model, RandomTerm, Vector


def fixed(
    model: Model, beta: Vector, std_error: Vector, df: Iterable[float | None] | None = None
) -> list[Row]:
    """Coefficients (p,), their standard errors (p,) and denominator df, if the engine has them."""
    numbers = zip(model.names, beta, std_error, df or [None] * model.p, strict=True)
    return [Row("fixed", name, float(b), std_error=float(se), df=d) for name, b, se, d in numbers]


def covariance(term: RandomTerm, G: Matrix) -> list[Row]:
    """One term's G (k, k), variance scale: ``var__`` for the diagonal, ``cov__`` for the upper triangle."""
    rows = []
    for i, first in enumerate(term.names):
        rows.append(Row("ran_pars", f"var__{first}", float(G[i, i]), term.group))
        for j, second in enumerate(term.names[i + 1 :], i + 1):
            rows.append(Row("ran_pars", f"cov__{first}.{second}", float(G[i, j]), term.group))
    return rows


def residual(sigma2: float) -> Row:
    """The residual variance."""
    return Row("ran_pars", "var__Observation", float(sigma2), "Residual")


def blups(term: RandomTerm, b: Matrix) -> list[Row]:
    """One term's conditional means (levels, k), in the order of ``term.levels``."""
    levels = [level for level in term.levels for _ in term.names]
    names, size = term.names * len(term.levels), len(levels)
    ends = repeat(term.group, size), levels, repeat(None, size), repeat(None, size)
    columns = zip(repeat("ran_vals", size), names, b.ravel().tolist(), *ends, strict=True)
    return list(map(Row._make, columns))
