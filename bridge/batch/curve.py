"""Curve: the profiled criterion of many replicates, with exact derivatives, at a cost without n.

Along theta_i, V / sigma2 moves by Z G_i Z', G_i = basis_i Lambda' + Lambda basis_i'; the derivatives are
those of `bridge.engines.deviance`, for one eliminated factor: sums over levels of products of
F_l = Z_l'V_l^-1 Z_l, U_l = Z_l'V_l^-1 X (X whitened by V) and a_l = Z_l'P y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.batch import lanes
from bridge.batch.plan import Sums
from bridge.model import Matrix, Vector

Place = NDArray[np.intp] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """Where the elimination stands at theta (d, r).

    Attributes
    ----------
    factor : (k, k, r) array
        Lambda.
    F : (k, k, q, r) array
    D : (k, p + 1, q, r) array
        U_l and a_l.
    B : (p, p, r) array
        B'B = (X'V^-1X)^-1.
    tail : (p, r) array
        Coefficients.
    r2, value : (r,) arrays
    """

    factor: Matrix
    F: Matrix
    D: Matrix
    B: Matrix
    tail: Matrix
    r2: Vector
    value: Vector


@dataclass(frozen=True, eq=False, slots=True)
class Slopes:
    """Sums along directions G_i, X whitened.

    Attributes
    ----------
    trace, push : (d, r) arrays
        tr V^-1 V_i; y'P V_i P y.
    first, pull : (d, p, p, r), (d, p, r) arrays
        X'V^-1 V_i V^-1 X; X'V^-1 V_i P y.
    product, cross : (d, d, r) arrays
        tr V^-1 V_i V^-1 V_j; y'P V_i V^-1 V_j P y.
    second : (d, d, p, p, r) array
        X'V^-1 V_i V^-1 V_j V^-1 X; of (d, d, r), its trace alone.
    """

    trace: Vector
    push: Vector
    first: Matrix
    pull: Matrix
    product: Matrix
    cross: Matrix
    second: Matrix


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The criterion near theta (d, r).

    Attributes
    ----------
    value : (r,) array
    gradient, hessian : (d, r), (d, d, r) arrays
    gamma : (k, k, r) array
        Half the derivative by G / sigma2: positive semidefinite at an optimum on the boundary.
    noise : (r,) array
        Size of the parts that Gamma is the difference of.
    """

    theta: Matrix
    value: Vector
    gradient: Matrix
    hessian: Matrix
    gamma: Matrix
    noise: Vector

    def update(self, at: Place, other: Point, rows: Place) -> None:
        """Take over the `rows` of another Point at places `at`."""
        for name in ("theta", "value", "gradient", "hessian", "gamma", "noise"):
            getattr(self, name)[..., at] = getattr(other, name)[..., rows]


def stage(s: Sums, theta: Matrix, deep: bool = True) -> Stage:
    """The elimination at theta (d, r); not `deep`: the value alone, F and D empty."""
    plan, r = s.plan, theta.shape[-1]
    k, p = plan.k, plan.p
    factor = np.einsum("iab,ir->abr", plan.basis, theta)
    N = np.einsum("abq,bcr->acqr", plan.R, factor)
    M = np.einsum("abqr,cbqr->acqr", N, N)
    for a in range(k):
        M[a, a] += 1.0
    L = lanes.root(M)
    W = lanes.inverse(L)
    A = np.empty((k, p + 1, plan.q, r))
    np.einsum("abqr,bqp->apqr", W, plan.C, out=A[:, :p])
    np.einsum("abqr,bqr->aqr", W, s.c, out=A[:, p])
    S = np.einsum("amqr,anqr->mnr", A, A)
    S[:p, :p] += plan.E[:, :, None]
    S[p, :p] += s.Exy
    S[:p, p] += s.Exy
    S[p, p] += s.Eyy
    H = lanes.root(S)
    r2 = H[p, p] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        value = lanes.logdet(L).sum(0) + s.constant + plan.nu * np.log(r2)
        if plan.reml and p:
            value += lanes.logdet(H[:p, :p])
    value = np.where(np.isnan(value), np.inf, value)
    if not deep:
        return Stage(factor, A[..., :0], A[..., :0], H, H[p, :p], r2, value)
    WR = np.einsum("abqr,bcq->acqr", W, plan.R)
    F = np.einsum("abqr,acqr->bcqr", WR, WR)
    D = np.einsum("abqr,amqr->bmqr", WR, A)
    B = lanes.inverse(H[:p, :p])
    tail = np.einsum("mpr,mr->pr", B, H[p, :p])
    a = D[:, p] - np.einsum("apqr,pr->aqr", D[:, :p], tail)
    D[:, :p] = np.einsum("mpr,apqr->amqr", B, D[:, :p].copy())
    D[:, p] = a
    return Stage(factor, F, D, B, tail, r2, value)


def slopes(at: Stage, G: Matrix, whole: bool = False) -> Slopes:
    """`Slopes` along G (d, k, k, r); with `whole` the matrices `second`, else their traces."""
    p = at.D.shape[1] - 1
    GD = np.einsum("iabr,bmqr->iamqr", G, at.D)
    FGD = np.einsum("abqr,ibmqr->iamqr", at.F, GD)
    FG = np.einsum("abqr,ibcr->iacqr", at.F, G)
    moved = np.einsum("amqr,ianqr->imnr", at.D, GD)
    x, fx = GD[:, :, :p], FGD[:, :, :p]
    return Slopes(
        trace=np.einsum("iaaqr->ir", FG),
        push=moved[:, p, p],
        first=moved[:, :p, :p],
        pull=moved[:, :p, p],
        product=np.einsum("iacqr,jcaqr->ijr", FG, FG),
        cross=np.einsum("iaqr,jaqr->ijr", GD[:, :, p], FGD[:, :, p]),
        second=np.einsum("iapqr,jasqr->ijpsr" if whole else "iapqr,japqr->ijr", x, fx),
    )


def directions(s: Sums, factor: Matrix) -> Matrix:
    """G_i (d, k, k, r) at Lambda."""
    half: Matrix = np.einsum("iab,cbr->iacr", s.plan.basis, factor)
    return half + half.swapaxes(1, 2)


def curvature(s: Sums, at: Stage, m: Slopes, weight: Vector) -> tuple[Matrix, Matrix, Matrix, Vector]:
    """Second derivatives by theta of the log-determinants and of r2 times `weight`; Gamma and its noise."""
    plan = s.plan
    left = np.einsum("abqr->abr", at.F)
    right = weight * np.einsum("aqr,bqr->abr", at.D[:, plan.p], at.D[:, plan.p])
    noise = np.einsum("aar->r", left) + np.einsum("aar->r", right)
    logs = -m.product
    if plan.reml:
        U = at.D[:, : plan.p]
        left = left - np.einsum("apqr,bpqr->abr", U, U)
        logs = logs + m.second + m.second.swapaxes(0, 1) - np.einsum("ipsr,jpsr->ijr", m.first, m.first)
    squares = 2 * weight * (m.cross - np.einsum("ipr,jpr->ijr", m.pull, m.pull))
    bent = np.einsum("iab,jcb->ijac", plan.basis, plan.basis)
    bent = bent + bent.swapaxes(2, 3)
    logs = logs + np.einsum("ijac,acr->ijr", bent, left)
    squares = squares - np.einsum("ijac,acr->ijr", bent, right)
    return logs, squares, left - right, noise


def point(s: Sums, theta: Matrix) -> Point:
    """Value, gradient, Hessian and Gamma at theta (d, r)."""
    at = stage(s, theta)
    m = slopes(at, directions(s, at.factor))
    plan, weight = s.plan, s.plan.nu / at.r2
    logs, squares, gamma, noise = curvature(s, at, m, weight)
    gradient = m.trace - weight * m.push
    if plan.reml:
        gradient = gradient - np.einsum("ippr->ir", m.first)
    hessian = logs + squares - weight**2 / plan.nu * np.einsum("ir,jr->ijr", m.push, m.push)
    return Point(theta, at.value, gradient, hessian, gamma, noise)
