"""Engines that are right but for one dependence, which a relation must find. Named as ``moody:FirstRow``."""

from __future__ import annotations

import numpy as np

from bridge.engines.numpy import Numpy
from bridge.fit import Fit, Method, Profile, Row
from bridge.model import Model


def moved(fit: Fit, by: float) -> Fit:
    """The fit with every fixed effect larger."""
    rows = (
        Row("fixed", r.term, r.estimate + by, std_error=r.std_error) if r.effect == "fixed" else r
        for r in fit.rows
    )
    return fit.having(rows=tuple(rows))


class FirstRow(Numpy):
    """The log-likelihood hangs on which row comes first."""

    name = "first-row"
    family = "any"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """By the rank of the first response."""
        found = super().fit(model, method, profile)
        return found.having(loglik=found.loglik + float(np.mean(model.y < model.y[0])))


class ByPosition(Numpy):
    """BLUPs go to the levels in order of appearance."""

    name = "by-position"
    family = "any"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Estimates stay, labels move."""
        found = super().fit(model, method, profile)
        (term,) = model.random
        seen = list(dict.fromkeys(term.levels[i] for i in term.index))
        new = dict(zip(term.levels, seen, strict=True))
        rows = (
            Row("ran_vals", r.term, r.estimate, r.group, new[r.level]) if r.effect == "ran_vals" else r
            for r in found.rows
        )
        return found.having(rows=tuple(rows))


class Additive(Numpy):
    """Every fixed effect is off by a constant in the units of y."""

    name = "additive"
    family = "any"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Off by .1."""
        found = super().fit(model, method, profile)
        return moved(found, 0.1)
