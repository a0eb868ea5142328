"""Plan: what replicates of one design have in common, and the sums of each that a fit needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.engines.numpy import unfit
from bridge.engines.orthogonal import level_bases, levelled, orthonormal, sums
from bridge.engines.products import Term, layout
from bridge.errors import ModelError
from bridge.fit import Method
from bridge.model import Matrix, Model, Vector


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """A design in coordinates without units or origins; its rows are sorted by level.

    Attributes
    ----------
    n, p, q, k, nu : int
        Rows, fixed effects, levels, random effects of a level, n - p (REML) or n (ML).
    order : (n,) int array
        Places of the sorted rows in the user's.
    starts : (q,) int array
        First sorted row of each level.
    X : (n, p) array
        Orthonormal; coefficients = T times those of its columns, plus the mean of y over `constant`.
    where, constant : int or None, float
        Constant column of the user's X, and its value.
    Q, R : (n, k), (k, k, q) arrays
        Z_l = Q_l R_l.
    C, outside, E : (k, q, p), (n, p), (p, p) arrays
        Products of Q_l with X, X outside the spans of the Q_l, and its products.
    basis : (d, k, k) array
        Lambda = sum theta_i basis_i.
    U : (k, k) array
        b = U b', G = U G' U', back to the user's coordinates.
    added : float
        What the scales of X add to the REML criterion.
    """

    model: Model
    method: Method
    n: int
    p: int
    q: int
    k: int
    nu: int
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    X: Matrix
    T: Matrix
    where: int | None
    constant: float
    Q: Matrix
    R: Matrix
    C: Matrix
    outside: Matrix
    E: Matrix
    terms: tuple[Term, ...]
    basis: Matrix
    U: Matrix
    added: float

    @property
    def reml(self) -> bool:
        """Whether the criterion is REML's."""
        return self.method == "REML"

    @classmethod
    def of(cls, model: Model, method: Method) -> Plan:
        """Plan of a model; its y is not looked at.

        Raises
        ------
        ModelError
            More than one grouping factor, weights, an offset, or a design that identifies nothing.
        """
        if len({term.group for term in model.random}) != 1:
            raise ModelError(f"{model.formula}: fits in batches need one grouping factor")
        if model.weights is not None or model.offset is not None:
            raise ModelError(f"{model.formula}: fits in batches take no weights and no offset")
        if model.residual is not None:
            raise ModelError(f"{model.formula}: fits in batches take no {model.residual.kind}()")
        if reason := unfit(model):
            raise ModelError(f"{model.formula}: {reason}")
        X, T, logs, where = orthonormal(model.X)
        if not np.isfinite(logs).all():
            names = ", ".join(np.array(model.names)[~np.isfinite(logs)])
            raise ModelError(f"fixed effects are linearly dependent: {names} can be left out")
        terms, (block,), columns = layout(model, None)
        index, q = model.random[0].index, block.q
        order = np.argsort(index, kind="stable")
        level = index[order]
        Q, R = level_bases(np.concatenate(columns)[:, order], level, q)
        X = X[:, order]
        C = sums(Q[:, None] * X, level, q)
        outside = X - levelled(Q, C, level)
        U = np.zeros((block.k, block.k))
        for term in terms:
            U[term.at, term.at] = term.T
        reml = method == "REML"
        return cls(
            model=model,
            method=method,
            n=model.n,
            p=model.p,
            q=q,
            k=block.k,
            nu=model.n - model.p if reml else model.n,
            order=order,
            starts=np.searchsorted(level, np.arange(q)),
            X=X.T,
            T=T,
            where=where,
            constant=1.0 if where is None else float(model.X[0, where]),
            Q=Q.T,
            R=R,
            C=np.ascontiguousarray(C.swapaxes(1, 2)),
            outside=outside.T,
            E=outside @ outside.T,
            terms=terms,
            basis=block.basis,
            U=U,
            added=2 * float(logs.sum()) if reml else 0.0,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Sums:
    """All that the criterion needs of r responses, each scaled by its residual's.

    Attributes
    ----------
    c : (k, q, r) array
        Products of Q_l with the residuals of y on X.
    Exy, Eyy : (p, r), (r,) arrays
        Their products outside the spans of the Q_l.
    beta : (p, r) array
        Coefficients = beta + scale T times those in the coordinates used here.
    scale : (r,) array
    """

    plan: Plan
    c: Matrix
    Exy: Matrix
    Eyy: Vector
    beta: Matrix
    scale: Vector

    @classmethod
    def of(cls, plan: Plan, Y: Matrix) -> Sums:
        """Of responses Y (r, n), rows in the user's order."""
        y = Y[:, plan.order]
        beta = np.zeros((plan.p, len(y)))
        if plan.where is not None:
            mean = y.mean(1)
            y -= mean[:, None]
            beta[plan.where] = mean / plan.constant
        for _ in range(2):
            step = y @ plan.X
            y -= step @ plan.X.T
            beta += plan.T @ step.T
        scale = np.sqrt((y * y).sum(1) / plan.nu)
        y /= np.where(scale > 0, scale, np.nan)[:, None]
        c = np.stack([np.add.reduceat(y * z, plan.starts, axis=1).T for z in plan.Q.T])
        counts = np.diff([*plan.starts, plan.n])
        for z, part in zip(plan.Q.T, c, strict=True):
            y -= z * np.repeat(part.T, counts, axis=1)
        return cls(plan, c, plan.outside.T @ y.T, (y * y).sum(1), beta, scale)

    def take(self, at: NDArray[np.intp]) -> Sums:
        """Of some of the responses."""
        return Sums(
            self.plan, self.c[..., at], self.Exy[:, at], self.Eyy[at], self.beta[:, at], self.scale[at]
        )

    def moments(self) -> Matrix:
        """Theta (d, r) by the method of moments: cov(b_l) - mean (Z_l'Z_l)^-1, as a start."""
        plan = self.plan
        d, r = len(plan.basis), len(self.scale)
        row, column = (
            plan.basis.reshape(d, -1).argmax(1) // plan.k,
            plan.basis.reshape(d, -1).argmax(1) % plan.k,
        )
        unit = np.broadcast_to((row == column).astype(float)[:, None], (d, r)).copy()
        R = np.moveaxis(plan.R, -1, 0)
        if plan.n <= plan.q * plan.k or np.linalg.cond(R).max() > 1e3 or plan.q <= plan.k + 1:
            return unit
        inverse = np.linalg.inv(R)
        b = np.einsum("qab,bqr->aqr", inverse, self.c)
        within = np.maximum(self.Eyy / (plan.n - plan.q * plan.k), 1e-300)
        noise = np.einsum("qab,qcb->ac", inverse, inverse) / plan.q
        G = np.einsum("aqr,bqr->rab", b, b) / (plan.q - plan.reml) / within[:, None, None] - noise
        for term in plan.terms:
            at = slice(term.at.start, term.at.stop)
            w, V = np.linalg.eigh(G[:, at, at])
            w = np.maximum(w, np.maximum(1e-3 * w[:, -1:], 1e-3))
            L = np.linalg.cholesky((V * w[:, None]) @ V.swapaxes(1, 2))
            unit[term.theta] = L[:, term.tril[0], term.tril[1]].T
        return np.where(np.isfinite(unit), unit, 1.0)

    @property
    def constant(self) -> Vector:
        """Added to the criterion (r,): scales of y and X."""
        nu = self.plan.nu
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2 * nu * np.log(self.scale) + self.plan.added + nu * (1 + math.log(2 * math.pi / nu))
