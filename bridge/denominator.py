"""Denominator: degrees of freedom of each coefficient's t, and Kenward and Roger's standard errors.

At an engine's own (Psi, sigma2), from the derivatives of the criterion and of Phi; shares nothing
with R. Each rule is what its package computes, so that the package can be held to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bridge.criterion import Criterion, Factors, Point, root
from bridge.derivatives import Derivatives, Moments, triangles
from bridge.model import Matrix, Model, RandomTerm, Vector

ZERO = 1e-4
"""Diagonal entry of Lambda below which a variance counts as zero; lme4's isSingular() has the same."""
CONDITION = 1e-7
"""Ratio of the eigenvalues of an information matrix below which it counts as singular."""


def interior(point: Point, hessian: Matrix) -> bool:
    """Whether no variance is zero and the criterion is curved upwards in every direction of theta."""
    values = np.linalg.eigvalsh(hessian)
    smallest = min(float(np.min(np.abs(np.diag(root(L @ L.T))))) for L in point.factors)
    return bool(smallest >= ZERO and values[0] > CONDITION * values[-1])


def satterthwaite(criterion: Criterion, psi: Factors, sigma2: float) -> Vector:
    """Satterthwaite's df as lmerTest has them, 2 v^2 / g'A g, for each coefficient (p,); NaN if undefined.

    v = Phi_kk, g its gradient by (theta, sigma), theta as lme4's, and A twice the inverse Hessian of
    the deviance by (theta, sigma), REML's or ML's as the fit was. Without a definition where a
    variance is zero or the Hessian is not positive definite: theta is then no interior parameter.

    Parameters
    ----------
    psi : tuple of (k, k) arrays
        Covariances, variance scale, user's coordinates.
    sigma2 : float
        Residual variance, user's scale.

    Notes
    -----
    Fai & Cornelius (1996), doi 10.1080/00949659608811740; Kuznetsova, Brockhoff & Christensen (2017),
    doi 10.18637/jss.v082.i13. Away from an optimum the result depends on the parameters chosen.
    """
    structure = criterion.structure
    inward = [c.inverse for c in structure.terms]
    factors = tuple(T @ root(G / sigma2) for T, G in zip(inward, psi, strict=True))
    point = criterion.at(factors)
    if not factors:
        return np.full(structure.model.p, math.nan)
    inner = criterion.at(criterion.factors(psi, sigma2))
    curved = Derivatives.of(criterion, inner, triangles(inner.factors))
    if not interior(inner, curved.hessian(inner.r2, criterion.nu)):
        return np.full(structure.model.p, math.nan)
    found = Derivatives.of(criterion, point, [(t, inward[t] @ E) for t, E in triangles(factors)])
    s2, nu = sigma2 * structure.unit**2, criterion.nu
    s = math.sqrt(s2)
    mixed = (-2 * found.r2 / s2 / s)[:, None]
    last = 6 * point.r2 / s2**2 - 2 * nu / s2
    H = np.block([[found.log_det2 + found.r22 / s2, mixed], [mixed.T, np.array([[last]])]])
    half = structure.fixed.T @ np.linalg.pinv(point.RX)
    v = np.sum(half**2, axis=1)
    slopes = np.einsum("ikk->ik", found.phi0)
    g = np.concatenate([slopes, (2 * v / s)[None]])
    scale = 1 / np.sqrt(np.abs(np.diag(H)))
    values, vectors = np.linalg.eigh(H * np.outer(scale, scale))
    if values[0] <= 0:
        return np.full(structure.model.p, math.nan)
    spread = np.sum((vectors.T @ (scale[:, None] * g)) ** 2 / values[:, None], axis=0)
    return np.asarray(v**2 / spread)


@dataclass(frozen=True, eq=False, slots=True)
class KenwardRoger:
    """Standard errors from the adjusted covariance, sqrt diag Phi_A, and df: (p,) each; NaN if undefined."""

    std_error: Vector
    df: Vector

    @classmethod
    def of(cls, criterion: Criterion, psi: Factors, sigma2: float) -> KenwardRoger:
        """At (Psi, sigma2) of the user's scale, taken for a REML fit.

        W is the inverse of REML's expected information in the entries of Psi and in sigma2, in which V
        is linear, so that it is defined at zero variances too; not where that information is singular.

        Notes
        -----
        Kenward & Roger (1997), doi 10.2307/2533558; Halekoh & Hojsgaard (2014), doi 10.18637/jss.v059.i09.
        For one coefficient their df come down to 2 / A, A = sum W_ij t_i t_j with
        t_i = [Phi P_i Phi]_kk / Phi_kk.
        """
        structure = criterion.structure
        model, point = structure.model, criterion.at(criterion.factors(psi, sigma2))
        m = Moments.of(point, [(t, E + E.T) for t, E in triangles(point.factors)])
        # The tangent space of V has V itself in it, in place of the identity: no n x n trace is needed.
        identity = np.eye(model.p)
        P = -np.concatenate([identity[None], m.first])
        Q = np.empty((len(P), len(P), model.p, model.p))
        Q[0, 0], Q[0, 1:], Q[1:, 0], Q[1:, 1:] = identity, m.first, m.first, m.second
        K = np.block([[np.array([[float(model.n)]]), m.trace[None]], [m.trace[:, None], m.product]])
        information = K - 2 * np.einsum("ijpp->ij", Q) + np.einsum("ipr,jrp->ij", P, P)
        scale = 1 / np.sqrt(np.diag(information))
        values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
        if not values[0] > CONDITION * values[-1]:
            return cls(*[np.full(model.p, math.nan)] * 2)
        W = 2 * np.outer(scale, scale) * ((vectors / values) @ vectors.T)
        U = np.einsum("ij,ijpr->pr", W, Q) - np.einsum("ij,ips,jsr->pr", W, P, P)
        half = structure.fixed.T @ np.linalg.pinv(point.RX)
        v = np.sum(half**2, axis=1)
        t = np.einsum("kp,ipr,kr->ik", half, P, half) / v
        adjusted = v + 2 * np.einsum("kp,pr,kr->k", half, U, half)
        return cls(np.sqrt(adjusted * sigma2), 2 / np.einsum("ij,ik,jk->k", W, t, t))


def containment(model: Model) -> Vector:
    """Inner-outer df, as nlme has them, for each coefficient (p,); NaN where they have no definition.

    A column is estimated in the innermost stratum within whose groups it still varies; a stratum has
    as many df as its groups exceed those of the stratum above, less its columns. The intercept has
    the largest of them. Only nested groups make strata: with crossed ones nlme's df are those of the
    one group of all rows that the model has to be written with.

    Notes
    -----
    Pinheiro & Bates (2000), doi 10.1007/b98882, section 2.4.2.
    """
    chain = _chain(model.random)
    if not chain:
        return np.full(model.p, math.nan)
    constant = np.all(model.X[:1] == model.X, axis=0)
    strata = np.array([max([0, *(q + 1 for q, t in enumerate(chain) if _varies(x, t))]) for x in model.X.T])
    counts = [len(term.levels) for term in chain]
    df = np.diff([0, *counts, model.n]).astype(float)
    df -= np.bincount(strata[~constant], minlength=len(df))
    if constant.any():
        df[0] -= 1
    else:
        df[1:] += 1
    return np.asarray(np.where(constant, df.max(), df[strata]), float)


def _chain(random: Sequence[RandomTerm]) -> list[RandomTerm]:
    """One term of each grouping factor, coarsest first; empty unless each refines the one before."""
    terms = sorted({term.group: term for term in random}.values(), key=lambda term: len(term.levels))
    for coarse, fine in pairwise(terms):
        if len(np.unique(np.column_stack([coarse.index, fine.index]), axis=0)) > len(fine.levels):
            return []
    return terms


def _varies(x: Vector, term: RandomTerm) -> bool:
    """Whether a column takes two values within some level."""
    first = np.empty(len(term.levels))
    first[term.index] = x
    return bool(np.any(first[term.index] != x))
