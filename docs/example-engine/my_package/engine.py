"""One random effect per group, y = X beta + z b[g] + e, profiled over theta = sd(b) / sigma."""

import numpy as np
from scipy.optimize import minimize_scalar

from bridge.engines import rows
from bridge.engines.attempt import attempt, versions
from bridge.fit import Fit


class MyEngine:
    name, language, family = "my-engine", "Python", "any"
    std_error, df, pooling = "phi", "none", "partial"

    def version(self):
        return {"my-package": "0.1", **versions(self.name, "numpy", "scipy")}

    def supports(self, model, method):
        if len(model.random) != 1 or model.random[0].Z.shape[1] != 1:
            return "it fits one random effect: a single term with one column"
        return None if model.weights is None and model.offset is None else "it has no weights, no offset"

    def fit(self, model, method, profile):
        return attempt(Fit(self.name, method, profile, n=model.n), lambda: solve(model, method))


def solve(model, method):
    X, (n, p), (term,) = model.X, model.X.shape, model.random
    g, z, q, df = term.index, term.Z[:, 0], len(term.levels), n - p if method == "REML" else n
    if not 1 < q < n or n <= p or np.linalg.matrix_rank(X / np.linalg.norm(X, axis=0)) < p:
        raise ValueError("the data do not identify the model")
    near = np.linalg.lstsq(X, model.y, rcond=None)[0]  # y - X near keeps the digits of a large mean
    XY = np.column_stack([X, model.y - X @ near])
    zz, zXY = np.bincount(g, z * z, q), np.array([np.bincount(g, z * c, q) for c in XY.T]).T

    def whitened(theta):  # triangle R of V^-1/2 [X y] = QR, and the deviance
        w = np.sqrt(1 + theta**2 * zz)
        R = np.linalg.qr(XY - z[:, None] * (theta**2 / (w * (w + 1)))[g, None] * zXY[g], mode="r")
        deviance = 2 * np.log(w).sum() + df * (1 + np.log(2 * np.pi * R[p, p] ** 2 / df))
        return R, deviance + (2 * np.log(np.abs(np.diag(R)[:p])).sum() if method == "REML" else 0)

    grid = np.exp(np.linspace(-9, 9, 61)) / np.sqrt(zz.mean())  # wide and fine enough for two optima
    start = int(np.argmin([whitened(theta)[1] for theta in grid]))
    bounds = np.log(grid[max(start - 1, 0)]), np.log(grid[min(start + 1, 60)])
    best = minimize_scalar(lambda u: whitened(np.exp(u))[1], bounds=bounds, options={"xatol": 1e-10})
    theta = 0.0 if whitened(0.0)[1] <= best.fun + 1e-9 else np.exp(best.x)
    R, deviance = whitened(theta)
    root, sigma2 = np.linalg.inv(R[:p, :p]), R[p, p] ** 2 / df
    step = root @ R[:p, p]
    b = theta**2 / (1 + theta**2 * zz) * (zXY[:, p] - zXY[:, :p] @ step)
    found = rows.fixed(model, near + step, np.sqrt(sigma2 * (root**2).sum(axis=1)))
    found += rows.covariance(term, np.array([[theta**2 * sigma2]]))
    found += [rows.residual(sigma2), *rows.blups(term, b[:, None])]
    return {"rows": tuple(found), "loglik": -deviance / 2, "sigma": sigma2**0.5, "converged": start < 60}
