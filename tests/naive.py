"""The criterion by its definition, dense, in 50-digit arithmetic: slow, naive and independent.

-2 logLik = n log 2 pi + log|V| + e'V^-1 e, beta = (X'V^-1X)^-1 X'V^-1 y, and for REML
(n - p) log 2 pi + log|V| + log|X'V^-1X| + e'V^-1 e; V = sum_t Z_t (I x G_t) Z_t' + sigma2 W^-1;
y is less its offset. Under varIdent an entry of W^-1 has its stratum's ratio squared; corAR1 has
sigma2 Phi^|t - t'| within a series.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp

from bridge.model import Model

DIGITS = 50


def errors(model: Model, sigma2: float, at: tuple[Any, ...]) -> mp.matrix:
    """Their covariance; `at` holds their parameters, if they have any."""
    weights = [1.0] * model.n if model.weights is None else model.weights.tolist()
    R = mp.diag([mp.mpf(sigma2) / mp.mpf(w) for w in weights])
    if model.residual is not None and model.residual.kind == "varIdent":
        ratio = [mp.mpf(1), *map(mp.mpf, at)]
        for i, stratum in enumerate(model.residual.index.tolist()):
            R[i, i] *= ratio[stratum] ** 2
    elif model.residual is not None:
        series, step = model.residual.index.tolist(), model.residual.position.tolist()
        for i in range(model.n):
            for j in range(model.n):
                if series[i] == series[j]:
                    R[i, j] = mp.mpf(sigma2) * mp.mpf(at[0]) ** abs(step[i] - step[j])
    return R


def covariance(model: Model, psi: tuple[Any, ...], sigma2: float, at: tuple[Any, ...] = ()) -> mp.matrix:
    """V, entry by entry."""
    V = errors(model, sigma2, at)
    for term, G in zip(model.random, psi, strict=True):
        for i in range(model.n):
            for j in range(model.n):
                if term.index[i] == term.index[j]:
                    for a in range(len(G)):
                        for b in range(len(G)):
                            V[i, j] += (
                                mp.mpf(float(term.Z[i, a])) * mp.mpf(G[a][b]) * mp.mpf(float(term.Z[j, b]))
                            )
    return V


def evaluate(
    model: Model, method: str, psi: tuple[Any, ...], sigma2: float, at: tuple[Any, ...] = ()
) -> dict[str, Any]:
    """Criterion, beta, Phi and every BLUP at (Psi, sigma2), as mpmath numbers."""
    with mp.workdps(DIGITS):
        V = covariance(model, psi, sigma2, at)
        X = mp.matrix([[mp.mpf(float(v)) for v in row] for row in model.X])
        known = [0.0] * model.n if model.offset is None else model.offset.tolist()
        y = mp.matrix([mp.mpf(float(v)) - mp.mpf(o) for v, o in zip(model.y, known, strict=True)])
        inverse = V**-1
        XVX = X.T * inverse * X
        phi = XVX**-1
        beta = phi * (X.T * inverse * y)
        e = y - X * beta
        value = mp.log(mp.det(V)) + (e.T * inverse * e)[0]
        nu = model.n
        if method == "REML":
            nu -= model.p
            value += mp.log(mp.det(XVX))
        value += nu * mp.log(2 * mp.pi)
        weighted = inverse * e
        blups = []
        for term, G in zip(model.random, psi, strict=True):
            k = term.Z.shape[1]
            per_level = []
            for level in range(len(term.levels)):
                rows = [i for i in range(model.n) if term.index[i] == level]
                s = [sum(mp.mpf(float(term.Z[i, a])) * weighted[i] for i in rows) for a in range(k)]
                per_level.append([sum(mp.mpf(G[a][c]) * s[c] for c in range(k)) for a in range(k)])
            blups.append(per_level)
        return {"value": value, "beta": beta, "phi": phi, "blups": blups}
