"""Levels: what each level of a grouping factor weighs, how far it shrinks, and its own line three ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.leverage import Grouping, Ints, Leverage, sums
from bridge.model import Matrix, Model, Vector


@dataclass(frozen=True, eq=False, slots=True)
class Weights:
    """One estimator's weights, by level of a grouping factor and coefficient.

    Attributes
    ----------
    shift : (levels, p) array
        Change of each coefficient when all responses of a level rise by 1, theta fixed: the sum of the
        row weights.
    share : (levels, p) array
        Sum of absolute row weights as a part of the whole; >= 0, columns sum to 1. With x constant within
        clusters it is ``|shift|`` scaled.
    information : (levels, p) array
        h = [Phi I_j]_kk (lm: [A_j X_j]_kk): columns sum to 1, can be negative, depends on the coding of X.
    variance : (levels, p) array or None
        q = [L_j V_j L_j']_kk / [L V L']_kk, >= 0, columns sum to 1; None where levels are not independent.
    """

    shift: Matrix
    share: Matrix
    information: Matrix
    variance: Matrix | None

    @property
    def effective(self) -> Vector | None:
        """Effective number of clusters 1 / sum q^2 per coefficient, (p,)."""
        return None if self.variance is None else 1 / np.sum(self.variance**2, axis=0)


@dataclass(frozen=True, eq=False, slots=True)
class Levels:
    """A grouping factor's levels: weights, shrinkage, and three estimates of each level's own line.

    Attributes
    ----------
    group : str
    names : tuple of str, length k
        Its random coefficients.
    labels : tuple of str
    rows : (levels,) int array
        Rows of the data.
    independent : bool
        Whether V is block-diagonal over the levels: clusters, the outermost ones of a nested design.
    lm, mixed : Weights
    unweighted : Weights or None
        Every cluster's mean counting the same (ICC -> 1); None unless X is constant within clusters.
    source : (levels, p) array
        Part of Phi_kk that comes from each level's random effects, (L_k Z_l) G (L_k Z_l)' / Phi_kk.
    lean : (levels, p) array
        Its part of lm's coefficient minus the mixed model's: sum of (A - L)(y - X beta) over its rows.
    factor : (levels, k, k) array
        Pooling factor Psi Z_l'V^-1 Z_l: tau2 / (tau2 + sigma2 / n) for a random intercept.
    eigenvalues : (levels, k) array
        Of `factor`, ascending: 0 is complete pooling, 1 none.
    size : (levels,) array
        Effective rows, v 1'V_j^-1 1, v the mean diagonal of V: n / (1 + (n - 1) ICC); NaN if not independent.
    complete, partial, none : (levels, k) arrays
        Level's own coefficients of `names` in lm, in the mixed model, and by its own rows alone (NaN where
        these do not suffice). For a random intercept: means.
    fixed : (levels, k) array
        The part of `partial` that is X beta: what a level is shrunk to.
    """

    group: str
    names: tuple[str, ...]
    labels: tuple[str, ...]
    rows: Ints
    independent: bool
    lm: Weights
    mixed: Weights
    unweighted: Weights | None
    source: Matrix
    lean: Matrix
    factor: Matrix
    eigenvalues: Matrix
    size: Vector
    complete: Matrix
    partial: Matrix
    none: Matrix
    fixed: Matrix


def constant_within(columns: Matrix, index: Ints) -> bool:
    """Whether columns are the same in all rows of a level."""
    first = np.zeros(int(index.max()) + 1, dtype=np.intp)
    first[index[::-1]] = np.arange(len(index))[::-1]
    return bool(np.all(columns == columns[first[index]]))


def random_part(found: Leverage) -> Vector:
    """Z b, (n,)."""
    parts = [np.sum(g.Z * b[g.index], axis=1) for g, b in zip(found.groupings, found.blups, strict=True)]
    return np.asarray(sum(parts))


def covered(rows: Matrix, found: Leverage, noise: Vector) -> Vector:
    """Diagonal of rows' V rows, (p,)."""
    total = rows.T**2 @ noise
    for g in found.groupings:
        total = total + np.sum(_spread(rows, g), axis=0)
    return np.asarray(total)


def _spread(rows: Matrix, g: Grouping) -> Matrix:
    """(levels, p): each level's part of rows' Z G Z' rows."""
    through = sums(rows[:, :, None] * g.Z[:, None, :], g.index, len(g.levels))
    return np.asarray(np.einsum("jpk,kl,jpl->jp", through, g.psi, through))


def _weights(
    model: Model, rows: Matrix, found: Leverage, g: Grouping, noise: Vector, independent: bool
) -> Weights:
    number = len(g.levels)
    absolute = sums(np.abs(rows), g.index, number)
    variance = None
    if independent:
        variance = sums(rows**2 * noise[:, None], g.index, number)
        for other in found.groupings:
            home = np.zeros(len(other.levels), dtype=np.intp)
            home[other.index] = g.index
            variance += sums(_spread(rows, other), home, number)
        variance /= np.sum(variance, axis=0)
    return Weights(
        shift=sums(rows, g.index, number),
        share=absolute / np.sum(absolute, axis=0),
        information=sums(rows * model.X, g.index, number),
        variance=variance,
    )


def levels(model: Model, found: Leverage, g: Grouping, noise: Vector, v: float) -> Levels:
    """Of one grouping factor; `noise` is each row's residual variance, `v` the mean diagonal of V."""
    number = len(g.levels)
    units = len(np.unique(found.unit))
    independent = units == number and len(np.unique(found.unit * number + g.index)) == number
    t = found.groupings.index(g)
    y = model.y if model.offset is None else model.y - model.offset
    e = y - model.X @ found.beta
    flat = _unweighted(model, g, noise) if independent else None
    complete, partial, none, fixed = _lines(model, found, g, noise, y)
    size = v * sums(found.ones, g.index, number) if independent else np.full(number, np.nan)
    return Levels(
        group=g.group,
        names=g.names,
        labels=tuple(":".join(level) for level in g.levels),
        rows=np.bincount(g.index, minlength=number),
        independent=independent,
        lm=_weights(model, found.lm, found, g, noise, independent),
        mixed=_weights(model, found.mixed, found, g, noise, independent),
        unweighted=None if flat is None else _weights(model, flat, found, g, noise, independent),
        source=_spread(found.mixed, g) / np.diag(found.phi),
        lean=sums((found.lm - found.mixed) * e[:, None], g.index, number),
        factor=g.psi @ found.seen[t],
        eigenvalues=found.eigenvalues[t],
        size=size,
        complete=complete,
        partial=partial,
        none=none,
        fixed=fixed,
    )


def _unweighted(model: Model, g: Grouping, noise: Vector) -> Matrix | None:
    """Row weights of the regression of cluster means that counts each cluster once."""
    if not constant_within(model.X, g.index):
        return None
    number = len(g.levels)
    X = np.zeros((number, model.p))
    X[g.index] = model.X
    if np.linalg.matrix_rank(X) < model.p:
        return None
    part = 1 / noise
    part = part / sums(part, g.index, number)[g.index]
    return np.asarray(np.linalg.pinv(X).T[g.index] * part[:, None])


def _lines(
    model: Model, found: Leverage, g: Grouping, noise: Vector, y: Vector
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Each level's coefficients of Z under complete, partial and no pooling.

    A column of X that is also one of Z contributes its coefficient; any other, and the random effects of
    other factors (partial pooling), by projection on the level's Z.
    """
    number, k = len(g.levels), len(g.names)
    part = 1 / noise
    Zw = g.Z * part[:, None]
    cross = sums(Zw[:, :, None] * g.Z[:, None, :], g.index, number)
    scale = np.sqrt(np.maximum(np.einsum("jkk->jk", cross), 1e-300))
    unit = cross / (scale[:, :, None] * scale[:, None, :])
    enough = np.linalg.eigvalsh(unit)[:, 0] > 1e-12
    inverse = np.linalg.pinv(unit, rcond=1e-12, hermitian=True) / (scale[:, :, None] * scale[:, None, :])

    def project(v: Vector) -> Matrix:
        return np.asarray(np.einsum("jkl,jl->jk", inverse, sums(Zw * v[:, None], g.index, number)))

    place = {name: i for i, name in enumerate(g.names)}
    basis = np.zeros((number, k, model.p))
    for j, name in enumerate(model.names):
        if name in place and np.array_equal(g.Z[:, place[name]], model.X[:, j]):
            basis[:, place[name], j] = 1.0
        else:
            basis[:, :, j] = project(model.X[:, j])
    # Deviations from the fitted mean, so that a large mean costs no digits.
    none = basis @ found.beta + project(y - model.X @ found.beta)
    none[~enough] = np.nan
    own = found.blups[found.groupings.index(g)]
    others = random_part(found) - np.sum(g.Z * own[g.index], axis=1)
    fixed = basis @ found.beta
    return basis @ found.beta_lm, fixed + own + project(others), none, fixed
