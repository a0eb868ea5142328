"""gpboost: GPModel over the model's own arrays; it reads no formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bridge.engines import python, rows
from bridge.engines.attempt import Answer
from bridge.fit import Method, Profile, Row
from bridge.model import Model, RandomTerm


def intercept(term: RandomTerm) -> bool:
    """Whether a term with one coefficient is an intercept and not a slope."""
    return term.names == ("(Intercept)",)


class GPBoost(python.Adapter):
    """GPModel with grouped random effects, which are independent of each other. ML only.

    Standard errors are sqrt diag Phi. `default` is a plain call, which computes by conjugate gradients
    and random traces where groups are more than one; `tight` by Cholesky to a relative change of 1e-12.
    """

    name = family = module = "gpboost"
    packages = ("gpboost", "numpy", "scipy")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason."""
        if method == "REML":
            return "gpboost fits by ML only; it has no REML"
        if reason := super().supports(model, method):
            return reason
        for term in model.random:
            if len(term.names) > 1:
                shown = ", ".join([*term.names[:2], *(["..."] if len(term.names) > 2 else [])])
                return f"gpboost takes random effects as independent; write ({shown} || {term.group})"
        return None

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """From the model's arrays; weights divide the error variance, as lme4's do."""
        import gpboost

        tight = profile == "tight"

        def run() -> Answer:
            options = {"matrix_inversion_method": "cholesky"} if tight else {}
            gp = gpboost.GPModel(likelihood="gaussian", weights=model.weights, **groups(model), **options)
            params = {"delta_rel_conv": 1e-12} if tight else None
            gp.fit(y=model.y, X=model.X if model.p else None, params=params, offset=model.offset)
            return answer(model, gp)

        return run


def groups(model: Model) -> dict[str, Any]:
    """Its arguments for the random terms: a column of levels for each factor, the slopes apart."""
    index = {term.group: term.index for term in model.random}
    names = list(index)
    given: dict[str, Any] = {"group_data": np.column_stack([index[name] for name in names])}
    if slopes := [term for term in components(model) if not intercept(term)]:
        with_intercept = {term.group for term in model.random if intercept(term)}
        given["group_rand_coef_data"] = np.column_stack([term.Z[:, 0] for term in slopes])
        given["ind_effect_group_rand_coef"] = [names.index(term.group) + 1 for term in slopes]
        given["drop_intercept_group_rand_effect"] = [name not in with_intercept for name in names]
    return given


def components(model: Model) -> list[RandomTerm]:
    """Terms in its order: intercepts by the order of the factors, then slopes."""
    names = [term.group for term in model.random]
    return sorted(model.random, key=lambda term: (not intercept(term), names.index(term.group)))


def answer(model: Model, gp: Any) -> Answer:
    """Rows by the model's names. Random effects come a row of data each: a level's are in its first."""
    coef = gp.get_coef(std_err=True, format_pandas=False) if model.p else np.zeros((2, 0))
    variances = gp.get_cov_pars(std_err=False, format_pandas=False)
    effects = gp.predict_training_data_random_effects().to_numpy()
    found = rows.fixed(model, coef[0], coef[1])
    for term, variance, b in zip(components(model), variances[1:], effects.T, strict=True):
        found += rows.covariance(term, np.full((1, 1), variance))
        for level, row in zip(*np.unique(term.index, return_index=True), strict=True):
            found.append(Row("ran_vals", term.names[0], float(b[row]), term.group, term.levels[level]))
    found.append(rows.residual(variances[0]))
    return {
        "rows": tuple(found),
        "loglik": -float(gp.get_current_neg_log_likelihood()),
        "sigma": math.sqrt(variances[0]),
        "n": model.n,
        # its summary() says it only in print: 0 converged, 1 too many iterations, 2 line search failed
        "converged": gp._get_convergence_status() == 0,
    }
