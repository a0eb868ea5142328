"""Residual: errors of another variance in each stratum, or that remember the row before, as nlme has them.

At given parameters such a model is one with independent errors of known weights: rows of a corAR1 series
less phi^d times the row before (d steps back) have variance sigma2 (1 - phi^2d), and the change of rows has
determinant one. So all of the referee's algebra holds for the `settled` model, its criterion included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bridge.errors import DataError, ModelError
from bridge.formula import Errors
from bridge.variable import Factor, Numeric

if TYPE_CHECKING:
    from bridge.certificate import Certificate
    from bridge.model import Model

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Residual:
    """How errors depart from independence with one variance, by parameters that are estimated.

    Attributes
    ----------
    kind : {"varIdent", "corAR1"}
        ``varIdent``: sd of each stratum is a ratio times sigma, that of the first level. ``corAR1``: within
        a series the correlation of rows d steps apart is Phi^d.
    group : str
        The column of strata or series.
    names : tuple of str
        Parameters as rows of a Fit have them: ``ratio__Female``; ``Phi``.
    index : (n,) int array
        Stratum or series of each row.
    before : (n,) int array
        corAR1: the row before in its series; a series' first row has itself.
    position : (n,) int array
        corAR1: the step at which each row was taken.
    at : (len(names),) array or None
        Their values, in a `settled` model.
    raw : Model or None
        What a settled model was made of.
    """

    kind: Literal["varIdent", "corAR1"]
    group: str
    names: tuple[str, ...]
    index: NDArray[np.intp]
    before: NDArray[np.intp]
    position: NDArray[np.intp]
    at: Vector | None = None
    raw: Model | None = None

    @property
    def steps(self) -> NDArray[np.intp]:
        """How many steps lie between each row and the one before (n,); 0 of a first row."""
        return self.position - self.position[self.before]

    @property
    def scale(self) -> str:
        """Name of the scale of `free`."""
        return "log" if self.kind == "varIdent" else "atanh"

    def free(self, at: Vector) -> Vector:
        """Parameters on a scale without bounds: log of a ratio, atanh of Phi."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(at) if self.kind == "varIdent" else np.arctanh(at))

    def bound(self, free: Vector) -> Vector:
        """Inverse of `free`."""
        return np.asarray(np.exp(free) if self.kind == "varIdent" else np.tanh(free))


def residual(errors: Errors, group: Factor, position: Numeric | None, name: str) -> Residual:
    """Errors as the formula has them, met with their columns.

    Raises
    ------
    DataError
        A position that is no whole number, or is there twice in a series.
    ModelError
        One stratum, a stratum of one row, or no series with two rows.
    """
    index, rows = group.codes, np.arange(len(group.codes))
    if position is None:
        if len(group.levels) < 2:
            raise ModelError(f"{name}: {errors.text} needs two levels of {group.label}; leave it out")
        lone = np.flatnonzero(np.bincount(index, minlength=len(group.levels)) < 2).tolist()
        if lone:
            level = group.levels[lone[0]]
            raise ModelError(f"{name}: {group.label} is {level} in one row: it has no variance; merge levels")
        names = tuple(f"ratio__{level}" for level in group.levels[1:])
        return Residual("varIdent", group.label, names, index, rows, np.zeros_like(index))
    place = position.values[:, 0]
    where = f'{name}: column "{position.label}"'
    if odd := np.flatnonzero(place != np.round(place)).tolist():
        raise DataError(
            f"{where} is {place[odd[0]]:g} in row {odd[0] + 1}; {errors.text} needs whole numbers: steps"
        )
    order = np.lexsort([place, index])
    same, gap = np.diff(index[order]) == 0, np.diff(place[order])
    if twice := np.flatnonzero(same & (gap == 0)).tolist():
        row = int(order[twice[0]])
        level = group.levels[index[row]]
        raise DataError(f"{where} is {place[row]:g} twice where {group.label} is {level}; make it once")
    if not same.any():
        raise ModelError(f"{name}: no two rows share a level of {group.label}; leave {errors.text} out")
    before = rows.copy()
    before[order[1:][same]] = order[:-1][same]
    return Residual("corAR1", group.label, ("Phi",), index, before, place.astype(np.intp))


def settled(model: Model, at: Vector) -> Model:
    """The same likelihood with the parameters of its errors given: rows changed and weighted, same names.

    A model with plain errors comes back as it is.
    """
    given = model.residual
    if given is None:
        return model
    known = replace(given, at=np.asarray(at, dtype=float), raw=model)
    w = np.ones(model.n) if model.weights is None else model.weights
    if given.kind == "varIdent":
        return replace(model, weights=w / np.r_[1.0, at][given.index] ** 2, residual=known)
    lag = np.where(given.steps > 0, float(at[0]) ** given.steps, 0.0)

    def moved(rows: Vector) -> Vector:
        return np.asarray(rows - (lag * rows[given.before].T).T)

    return replace(
        model,
        y=moved(model.y),
        X=moved(model.X),
        random=tuple(replace(term, Z=moved(term.Z)) for term in model.random),
        weights=w / (1 - lag**2),
        offset=None if model.offset is None else moved(model.offset),
        residual=known,
    )


def parameters(certificate: Certificate, model: Model) -> Vector:
    """Those of a certificate, nearest doubles; empty for plain errors."""
    return np.array([certificate.number("ran_pars", n, "Residual").double for n in model.error_names])
