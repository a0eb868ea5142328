"""Pooling: what each cluster weighs in lm and in the mixed model, and how far it shrinks.

Everything follows from (Psi, sigma2), so it can be had of any engine's answer and compared between engines.
With V = ZGZ' + sigma2 W^-1, Phi = (X'V^-1X)^-1: the mixed model is L = Phi X'V^-1, lm is A = (X'WX)^-1 X'W
(W: precision weights, 1 without any), and both are weighted sums of y. docs/weights.md explains each number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.criterion import Factors
from bridge.errors import ModelError
from bridge.leverage import Grouping, Ints, Leverage, leverage, sums
from bridge.model import Matrix, Model, Vector
from bridge.screen import Screen, screen

ESTIMATORS = ("lm", "mixed", "unweighted")


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


@dataclass(frozen=True, eq=False, slots=True)
class Pooling:
    """Weights and pooling of one model at one (Psi, sigma2).

    Attributes
    ----------
    model : Model
    psi, sigma2
        Variance scale.
    leverage : Leverage
        Row weights.
    beta, beta_lm : (p,) arrays
    std_error, std_error_lm : (p,) arrays
        sqrt Phi_kk, and lm's true one under V, sqrt [A V A']_kk.
    levels : tuple of Levels
        One per grouping factor, independent ones first.
    residual : (p,) array
        Part of Phi_kk that is residual variance; with every `Levels.source` it sums to 1.
    design : (p,) array
        Design effect Phi_kk / (v [(X'WX)^-1]_kk), v the mean diagonal of V.
    efficiency : (p,) array
        Relative efficiency of lm, Phi_kk / [A V A']_kk <= 1.
    icc : float
        1 - residual part of the mean diagonal of V.
    screen : Screen
        Of informative cluster size.
    """

    model: Model
    psi: Factors
    sigma2: float
    leverage: Leverage
    beta: Vector
    beta_lm: Vector
    std_error: Vector
    std_error_lm: Vector
    levels: tuple[Levels, ...]
    residual: Vector
    design: Vector
    efficiency: Vector
    icc: float
    screen: Screen

    @property
    def clusters(self) -> Levels | None:
        """The independent grouping factor; None if factors are crossed."""
        return self.levels[0] if self.levels[0].independent else None

    @property
    def singular(self) -> bool:
        """Whether no random effect varies: the mixed model is lm."""
        return all(not np.any(G) for G in self.psi)

    @property
    def fitted(self) -> Vector:
        """X beta + Z b + offset, (n,): where partial pooling puts each row."""
        given = np.zeros(self.model.n) if self.model.offset is None else self.model.offset
        return np.asarray(given + self.model.X @ self.beta + random_part(self.leverage))

    def coefficient(self, name: str | None = None) -> int:
        """Column of a coefficient; by default the first one constant within clusters that is no intercept.

        Raises
        ------
        ModelError
            There is none of that name.
        """
        names = self.model.names
        if name is not None:
            if name not in names:
                raise ModelError(f'coefficient "{name}": is not in the model; use one of {", ".join(names)}')
            return names.index(name)
        slopes = [k for k, known in enumerate(names) if known != "(Intercept)"]
        constant = [k for k in slopes if constant_within(self.model.X[:, [k]], self.leverage.unit)]
        return (constant or slopes or [0])[0]


def pooling(model: Model, psi: Factors, sigma2: float) -> Pooling:
    """Weights and pooling at given covariances.

    Parameters
    ----------
    psi : tuple of (k, k) arrays
        One per random term, variance scale.
    sigma2 : float
        Residual variance (of a row of weight 1).

    Raises
    ------
    ModelError
        There is no random term, or only one cluster, or crossed factors link more than memory holds.
    """
    if not model.random:
        raise ModelError(f"formula {model.formula!r}: has no random term, so nothing is pooled; add (1 | g)")
    for term in model.random:
        if len(term.levels) < 2:
            only = ":".join(term.levels[0])
            raise ModelError(f"{term.group}: has one level ({only}); weights need two clusters or more")
    found = leverage(model, psi, sigma2)
    noise = sigma2 / (np.ones(model.n) if model.weights is None else model.weights)
    total = noise + sum(np.einsum("nk,kl,nl->n", g.Z, g.psi, g.Z) for g in found.groupings)
    v = float(np.mean(total))
    true = covered(found.lm, found, noise)
    variance = np.diag(found.phi)
    levels = tuple(_levels(model, found, g, noise, v) for g in found.groupings)
    outer = [g for g, lv in zip(found.groupings, levels, strict=True) if lv.independent]
    return Pooling(
        model=model,
        psi=psi,
        sigma2=sigma2,
        leverage=found,
        beta=found.beta,
        beta_lm=found.beta_lm,
        std_error=np.sqrt(variance),
        std_error_lm=np.sqrt(true),
        levels=tuple(sorted(levels, key=lambda lv: not lv.independent)),
        residual=found.mixed.T**2 @ noise / variance,
        design=variance / (v * found.naive),
        efficiency=variance / true,
        icc=float(1 - np.mean(noise) / v),
        screen=screen(model, found, outer[0] if outer else None, noise),
    )


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


def _levels(model: Model, found: Leverage, g: Grouping, noise: Vector, v: float) -> Levels:
    number = len(g.levels)
    units = len(np.unique(found.unit))
    independent = units == number and len(np.unique(found.unit * number + g.index)) == number
    t = found.groupings.index(g)
    y = model.y if model.offset is None else model.y - model.offset
    e = y - model.X @ found.beta
    flat = _unweighted(model, g, noise) if independent else None
    complete, partial, none = _lines(model, found, g, noise, y)
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
) -> tuple[Matrix, Matrix, Matrix]:
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
    return basis @ found.beta_lm, basis @ found.beta + own + project(others), none
