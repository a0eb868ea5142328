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
from bridge.levels import Levels, constant_within, covered, levels, random_part
from bridge.leverage import Grouping, Leverage, leverage
from bridge.model import Model, Vector
from bridge.screen import Screen, screen


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
    printed : (p,) array
        What lm prints, as if rows were independent: sqrt s2 [(X'WX)^-1]_kk, s2 its residual variance.
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
    sigma2_total : float
        v, the mean diagonal of V.
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
    printed: Vector
    levels: tuple[Levels, ...]
    residual: Vector
    design: Vector
    efficiency: Vector
    icc: float
    sigma2_total: float
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
    def closed(self) -> bool:
        """Whether weights are 1 / (tau2 + sigma2 / n): one random intercept, X constant within clusters."""
        one = len(self.levels) == 1 and self.levels[0].names == ("(Intercept)",)
        plain = one and self.model.weights is None and self.clusters is not None
        return plain and constant_within(self.model.X, self.leverage.unit)

    def grouping(self, levels: Levels) -> Grouping:
        """The random effects that these are the levels of."""
        return next(g for g in self.leverage.groupings if g.group == levels.group)

    @property
    def fitted(self) -> Vector:
        """X beta + Z b + offset, (n,): where partial pooling puts each row."""
        given = np.zeros(self.model.n) if self.model.offset is None else self.model.offset
        return np.asarray(given + self.model.X @ self.beta + random_part(self.leverage))

    @property
    def pooled(self) -> Vector:
        """Each row of y moved as its cluster is, (n,): `fitted` plus the row's residual within its cluster.

        That is from the regression on X and Z in the cluster's own rows, so X'W of it is zero, and lm on
        these gives lm's coefficients. Where X is constant within clusters and only the intercept is random
        it is ``y - raw mean + pooled mean``. Without independent clusters: the fitted values.
        """
        if self.clusters is None:
            return self.fitted
        model = self.model
        half = np.sqrt(np.ones(model.n) if model.weights is None else model.weights)
        both = np.column_stack([model.X, *(term.Z for term in model.random)])
        own = half * (model.y - self.fitted)
        order = np.argsort(self.leverage.unit, kind="stable")
        starts = np.flatnonzero(np.diff(self.leverage.unit[order])) + 1
        for rows in np.split(order, starts):
            columns = half[rows, None] * both[rows]
            own[rows] -= columns @ np.linalg.lstsq(columns, own[rows], rcond=1e-12)[0]
        return np.asarray(self.fitted + own / half)

    def refit(self, y: Vector) -> Vector:
        """Coefficients of lm with another response, (p,)."""
        given = self.fitted if self.model.offset is None else self.fitted - self.model.offset
        known = self.leverage.lm.T @ given
        moved = y if self.model.offset is None else y - self.model.offset
        return np.asarray(known + self.leverage.lm.T @ (moved - given))

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
    parts = [levels(model, found, g, noise, v) for g in found.groupings]
    outer = [g for g, lv in zip(found.groupings, parts, strict=True) if lv.independent]
    return Pooling(
        model=model,
        psi=psi,
        sigma2=sigma2,
        leverage=found,
        beta=found.beta,
        beta_lm=found.beta_lm,
        std_error=np.sqrt(variance),
        std_error_lm=np.sqrt(true),
        printed=np.sqrt(found.naive * _residual(model, found.beta_lm)),
        levels=tuple(sorted(parts, key=lambda lv: not lv.independent)),
        residual=found.mixed.T**2 @ noise / variance,
        design=variance / (v * found.naive),
        efficiency=variance / true,
        icc=float(1 - np.mean(noise) / v),
        sigma2_total=v,
        screen=screen(model, found, outer[0] if outer else None, noise),
    )


def _residual(model: Model, beta: Vector) -> float:
    """Residual variance of lm."""
    y = model.y if model.offset is None else model.y - model.offset
    e2 = (y - model.X @ beta) ** 2
    return float(np.sum(e2 if model.weights is None else model.weights * e2)) / (model.n - model.p)
