"""numpy: our own engine. Profiled criterion, penalised least squares, Newton with analytic derivatives.

Bates, Maechler, Bolker & Walker (2015), doi 10.18637/jss.v067.i01, with two changes: the design is
orthonormalised before anything is optimised, so that neither units nor origins matter, and the levels
of the largest grouping factor are eliminated first, by an orthogonal transformation of each level.
Shares no code with the referee (`bridge.criterion`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from bridge.engines import rows
from bridge.engines.descent import Optimum, optimum
from bridge.engines.engine import unsupported
from bridge.engines.estimates import estimates
from bridge.engines.products import Products, products
from bridge.errors import ModelError
from bridge.fit import Fit, Method, Profile, Row
from bridge.model import Model

EXACT = 1e-13
"""Residual sd, relative to the response's, that is rounding: there the likelihood has no bound."""


def unfit(model: Model) -> str | None:
    """Why the data cannot identify the model, or None. The rules of lme4's checks."""
    if model.n <= model.p:
        return f"{model.n} rows cannot identify {model.p} fixed effects and a residual variance"
    for term in model.random:
        q, k = len(term.levels), len(term.names)
        if q < 2:
            return f"grouping factor {term.group} has a single level, so no variance between levels"
        if q * k >= model.n:
            return (
                f"term on {term.group} has {q * k} random effects for {model.n} rows: "
                "they cannot be told from the residuals"
            )
    return None


class Numpy:
    """Engine `numpy`; see `Engine` for the attributes."""

    name: str = "numpy"
    language: Literal["Python", "R"] = "Python"
    family: str = "numpy"
    std_error: Literal["phi", "joint", "kenward-roger", "none"] = "phi"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "none"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """Version of numpy, the only software underneath."""
        return {"numpy": np.__version__}

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        return None if model.random else "the model has no random term: there is nothing to pool"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit; `tight` descends from many starts, `default` from the best of a line of them."""
        start = time.perf_counter()
        asked: Any = {"engine": self.name, "method": method, "profile": profile, "versions": self.version()}
        try:
            reason = unsupported(self, model, method) or unfit(model)
            if reason:
                raise ModelError(reason)
            prepared = products(model, method)
            best = optimum(prepared, many=profile == "tight")
            found, sigma = tidy(model, prepared, best)
            y = model.y - model.y.sum() / model.n
            if sigma <= EXACT * math.sqrt(float(y @ y) / model.n):
                raise ModelError("the fixed and random effects fit the response exactly")
        except (ModelError, np.linalg.LinAlgError) as error:
            return Fit(**asked, status="refused", reason=str(error))
        return Fit(
            **asked,
            rows=found,
            loglik=-best.value / 2,
            sigma=sigma,
            n=model.n,
            converged=best.converged,
            messages=() if best.converged else ("gradient not zero at the last step",),
            seconds=time.perf_counter() - start,
        )


def tidy(model: Model, prepared: Products, best: Optimum) -> tuple[tuple[Row, ...], float]:
    """Rows in broom.mixed's terms, and sigma: the estimates that follow from theta."""
    solution = estimates(prepared, best.at)
    found = rows.fixed(model, solution.beta, solution.std_error)
    for term, G in zip(model.random, solution.G, strict=True):
        found += rows.covariance(term, G)
    found.append(rows.residual(solution.sigma2))
    for term, b in zip(model.random, solution.b, strict=True):
        found += rows.blups(term, b)
    return tuple(found), math.sqrt(solution.sigma2)
