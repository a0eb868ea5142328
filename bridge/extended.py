"""Extended: the criterion in ball arithmetic, to settle a gap that float64 cannot resolve.

Evaluated from the exact values of the stored doubles by another formula than `criterion`'s:
|V| = sigma2^n |I + Psi Z'Z / sigma2| and V^-1 = (I - Z (I + Psi Z'Z/sigma2)^-1 Psi Z'/sigma2) / sigma2,
which needs no square root of Psi and holds for a singular one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bridge.fit import Method
from bridge.model import Matrix, Model
from bridge.structure import components

if TYPE_CHECKING:
    from flint import arb, arb_mat

Factors = tuple[Matrix, ...]
BITS = 200
LARGEST = 400
"""Random effects in one unit beyond which ball arithmetic takes too long (an inverse at 300: 1.3 s)."""


def within_reach(model: Model) -> bool:
    """Whether the largest unit is small enough."""
    units = components(model)
    counts = np.zeros(units.max(initial=0) + 1)
    for term in model.random:
        first = np.unique(term.index, return_index=True)[1]
        np.add.at(counts, units[first], term.Z.shape[1])
    return bool(np.max(counts, initial=0) <= LARGEST and len(counts) <= 20_000)


def criterion(model: Model, method: Method, psi: Factors, sigma2: float, bits: int = BITS) -> arb:
    """Unprofiled criterion at (Psi, sigma2), beta profiled out; user's units, deviance scale.

    Parameters
    ----------
    psi : tuple of (k, k) arrays
        Covariances, variance scale, taken as the exact values of the doubles.

    Returns
    -------
    flint.arb
        A ball that contains the true value.
    """
    from flint import arb, arb_mat, ctx

    before, ctx.prec = ctx.prec, bits
    try:
        s2 = arb(sigma2)
        p = model.p
        log_V = s2.log() * model.n
        inner = arb_mat(p + 1, p + 1)
        units = components(model)
        order = np.argsort(units, kind="stable")
        bounds = np.flatnonzero(np.r_[True, np.diff(units[order]) > 0])
        for rows in np.split(order, bounds[1:]):
            Z, G = _unit(model, rows, psi)
            D = _exact(np.column_stack([model.X[rows], model.y[rows]]))
            inner += D.transpose() * D
            if Z.ncols():
                Zt = Z.transpose()
                GZt = G * Zt * (1 / s2)
                M = GZt * Z + arb_mat(
                    Z.ncols(), Z.ncols(), [int(i == j) for i in range(Z.ncols()) for j in range(Z.ncols())]
                )
                log_V += M.det().log()
                inner -= (Zt * D).transpose() * M.solve(GZt * D)
        total = arb_mat([[inner[i, j] / s2 for j in range(p + 1)] for i in range(p + 1)])
        XX = arb_mat([[total[i, j] for j in range(p)] for i in range(p)])
        Xy = arb_mat([[total[i, p]] for i in range(p)])
        quadratic = total[p, p] - (Xy.transpose() * XX.solve(Xy))[0, 0]
        nu = model.n - p if method == "REML" else model.n
        value = log_V + quadratic + (2 * arb.pi()).log() * nu
        return value + XX.det().log() if method == "REML" else value
    finally:
        ctx.prec = before


def _exact(columns: Matrix) -> arb_mat:
    from flint import arb, arb_mat

    return arb_mat([[arb(float(v)) for v in row] for row in columns])


def _unit(model: Model, rows: np.ndarray, psi: Factors) -> tuple[arb_mat, arb_mat]:
    """Z of a unit's rows spread over its levels, and its block-diagonal Psi."""
    columns: list[Matrix] = [np.zeros((len(rows), 0))]
    blocks: list[Matrix] = []
    for term, G in zip(model.random, psi, strict=True):
        here = term.index[rows]
        for level in np.unique(here):
            columns.append(np.where((here == level)[:, None], term.Z[rows], 0.0))
            blocks.append(G)
    Z = np.column_stack(columns)
    wide = np.zeros((Z.shape[1], Z.shape[1]))
    start = 0
    for G in blocks:
        wide[start : start + len(G), start : start + len(G)] = G
        start += len(G)
    return _exact(Z), _exact(wide)
