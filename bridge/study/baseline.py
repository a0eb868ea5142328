"""Baseline: what is done in place of a mixed model; all closed forms in y, for many responses at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.model import Matrix, Model, Vector


@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """Least squares of y, or of averages of it, on columns of their own.

    Attributes
    ----------
    name : str
    beta : (p, n) array
        Coefficients = beta y; NaN rows where one is not identified.
    basis : (n, m) array
        Orthonormal columns, over rows of y, of what is fitted.
    averages : (n, rows) array or None
        Maps y to what is regressed; y itself if None.
    gram : (p,) array
        Diagonal of the inverse of the regressors' cross-products.
    df : int
    """

    name: str
    beta: Matrix
    basis: Matrix
    averages: Matrix | None
    gram: Vector
    df: int

    @classmethod
    def of(cls, name: str, model: Model) -> Baseline:
        """``lm``: all rows alike. ``cluster means``: one row a cluster. ``no pooling``: levels fixed."""
        X, p = model.X, model.p
        index, q = model.random[0].index, len(model.random[0].levels)
        D = np.zeros((model.n, q))
        D[np.arange(model.n), index] = 1.0
        averages = None
        if name == "cluster means":
            averages = D / D.sum(0)
            X = averages.T @ X
        elif name == "no pooling":
            X = X - D @ ((D.T @ X) / D.sum(0)[:, None])
        size = np.linalg.norm(model.X, axis=0)
        free = np.linalg.norm(X, axis=0) > 1e-9 * size
        Q, R = np.linalg.qr(X[:, free])
        good = (
            np.abs(R.diagonal()) > 1e-9 * np.abs(R).max(0, initial=1e-300)
            if free.any()
            else np.zeros(0, bool)
        )
        beta, gram = np.full((p, len(X)), np.nan), np.full(p, np.nan)
        if free.any() and good.all():
            inverse = np.linalg.inv(R)
            beta[free], gram[free] = inverse @ Q.T, (inverse**2).sum(1)
        spent = q + int(free.sum()) if name == "no pooling" else int(free.sum())
        if name == "no pooling":
            Q = np.column_stack([Q, D / np.sqrt(D.sum(0))])
        return cls(name, beta, Q, averages, gram, len(X) - spent)

    def estimates(self, Y: Matrix) -> tuple[Matrix, Matrix]:
        """Coefficients and standard errors (r, p) of responses Y (r, n)."""
        if self.averages is not None:
            Y = Y @ self.averages
        residual = Y - (Y @ self.basis) @ self.basis.T
        s2 = (residual * residual).sum(1) / self.df if self.df > 0 else np.full(len(Y), np.nan)
        return Y @ self.beta.T, np.sqrt(s2[:, None] * self.gram)
