"""Weights: how much a cluster counts in lm and in the mixed model (the founding question)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bridge.report.grid import Grid

if TYPE_CHECKING:
    from bridge.model import Model
    from bridge.reference import Reference

TAGS = frozenset({"founding-question", "small-clusters"})


def weights(model: Model, reference: Reference) -> Grid | None:
    """Share of one cluster of each size, by size; None unless the model is one random intercept.

    With x constant within clusters beta is the weighted regression of cluster means with weights
    ``w_j = 1 / (tau2 + sigma2 / n_j)``, lm's with n_j; the pooling factor is ``tau2 w_j``
    (Gelman & Hill 2006, eq. 12.1). tau2 and sigma2 (variances) are the reference's.
    """
    if len(model.random) != 1 or model.random[0].names != ("(Intercept)",):
        return None
    tau2, sigma2 = float(reference.best.psi[0][0, 0]), reference.best.sigma2
    n = np.bincount(model.random[0].index)
    v = tau2 + sigma2 / n
    rows = [
        (
            str(size),
            str(int(np.sum(n == size))),
            f"{100 * size / n.sum():.2f} %",
            f"{100 / (tau2 + sigma2 / size) / np.sum(1 / v):.2f} %",
            f"{tau2 / (tau2 + sigma2 / size):.3f}",
        )
        for size in np.unique(n)
    ]
    head = (
        "cluster size",
        "clusters",
        "share of each in lm",
        "share of each in the mixed model",
        "pooling factor",
    )
    return Grid(head, tuple(rows), numeric=True)
