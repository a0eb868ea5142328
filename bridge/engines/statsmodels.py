"""MixedLM of statsmodels, and OLS for complete pooling, from y, X and Z: no formula is evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.engines import python, rows
from bridge.engines.attempt import Answer
from bridge.fit import Method, Profile, Row
from bridge.model import Model, RandomTerm

PACKAGES = ("statsmodels", "numpy", "scipy")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "powell": {"maxiter": 10_000, "maxfun": 100_000, "xtol": 1e-10, "ftol": 1e-14},
    "lbfgs": {"maxiter": 10_000, "pgtol": 1e-9, "factr": 1.0},
    "bfgs": {"maxiter": 10_000, "gtol": 1e-9},
}


@dataclass(frozen=True, eq=False)
class Form:
    """How MixedLM takes a model: independent groups of rows, one correlated term, variance components.

    Attributes
    ----------
    groups : (n,) array
        Level of the outermost factor; all zero when factors are crossed.
    correlated : RandomTerm or None
        Handed over as ``exog_re``.
    components : tuple of RandomTerm
        Handed over as ``exog_vc``, a scalar each.
    """

    groups: NDArray[np.intp]
    correlated: RandomTerm | None
    components: tuple[RandomTerm, ...]


def nested(inner: RandomTerm, outer: RandomTerm) -> bool:
    """Whether each level of `inner` lies in a single level of `outer`."""
    pairs = np.unique(np.stack([inner.index, outer.index]), axis=1)
    return bool(pairs.shape[1] == len(np.unique(inner.index)))


def form(model: Model) -> Form | str:
    """The form of a model, or why it has none."""
    terms = model.random
    if not terms:
        return "MixedLM needs a random term"
    outer = next((o for o in terms if all(t.group == o.group or nested(t, o) for t in terms)), None)
    own = [t for t in terms if outer is not None and t.group == outer.group]
    wide = [t for t in terms if len(t.names) > 1]
    lost = [t for t in wide if t not in own]
    if lost:
        shown = ", ".join([*lost[0].names[:2], *(["..."] if len(lost[0].names) > 2 else [])])
        return (
            "MixedLM takes correlated effects only on the outermost of nested factors; "
            f"({shown} | {lost[0].group}) is not"
        )
    if len(wide) > 1:
        return f"MixedLM takes one term with correlated effects; there are {len(wide)} on {wide[0].group}"
    correlated = wide[0] if wide else own[0] if len(own) == 1 else None
    groups = np.zeros(model.n, dtype=np.intp) if outer is None else outer.index
    return Form(groups, correlated, tuple(t for t in terms if t is not correlated))


class Statsmodels(python.Adapter):
    """MixedLM. Standard errors come from the joint Hessian of beta and the variance parameters.

    `default` is a plain ``.fit()``; `tight` the best finite log-likelihood of powell and lbfgs from three
    starts, continued by bfgs.
    """

    name = family = "statsmodels"
    packages = PACKAGES
    module = "statsmodels.regression.mixed_linear_model"
    std_error = "joint"

    def supports(self, model: Model, method: Method) -> str | None:
        """None if MixedLM can express the model, else the reason."""
        for what, column in (("weights", model.weights), ("offset", model.offset)):
            if column is not None:
                return f"MixedLM has no {what}"
        found = form(model)
        return found if isinstance(found, str) else None

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """From the model's arrays; +Inf as log-likelihood is carried as it is."""
        found = form(model)
        assert isinstance(found, Form)

        def run() -> Answer:
            mixed = mixedlm(model, found)
            reml = method == "REML"
            result = mixed.fit(reml=reml) if profile == "default" else best(mixed, reml)
            return answer(model, found, result)

        return run


def levels_by_group(term: RandomTerm, groups: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Any]]:
    """For each group in order: the term's levels seen there, and its columns over them."""
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        levels, column = np.unique(term.index[rows], return_inverse=True)
        matrix = np.zeros((len(rows), len(levels)))
        matrix[np.arange(len(rows)), column] = term.Z[rows, 0]
        yield levels, matrix


def mixedlm(model: Model, found: Form) -> Any:
    """MixedLM of a model; columns of ``exog_vc`` are named by the position of their level."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    spread = [list(levels_by_group(term, found.groups)) for term in found.components]
    return MixedLM(
        model.y,
        model.X,
        groups=found.groups,
        exog_re=None if found.correlated is None else found.correlated.Z,
        exog_vc=VCSpec(
            [str(i) for i in range(len(spread))],
            [[[str(level) for level in levels] for levels, _ in term] for term in spread],
            [[matrix for _, matrix in term] for term in spread],
        )
        if spread
        else None,
    )


def best(mixed: Any, reml: bool) -> Any:
    """The result with the highest finite log-likelihood. Attempts that raise are left out."""
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    found, errors = [], []

    def attempted(start: Any, method: str) -> None:
        try:
            result = mixed.fit(reml=reml, start_params=start, method=method, **OPTIONS[method])
            if math.isfinite(result.llf):
                found.append(result)
        except Exception as error:
            errors.append(error)

    def highest() -> Any:
        return max(found, key=lambda result: (round(result.llf, 8), result.converged))

    for size in (1.0, 0.01, 100.0):
        cov_re, vcomp = size * np.eye(mixed.k_re), size * np.ones(mixed.k_vc)
        start = MixedLMParams.from_components(np.zeros(mixed.k_fe), cov_re=cov_re, vcomp=vcomp)
        for method in ("powell", "lbfgs"):
            attempted(start, method)
    if found:
        attempted(highest().params_object, "bfgs")
        return highest()
    if errors:
        raise errors[0]
    return mixed.fit(reml=reml)


def answer(model: Model, found: Form, result: Any) -> Answer:
    """Rows by the model's names. `cov_re` and `vcomp` are variances already, not relative to `scale`."""
    found_rows = rows.fixed(model, result.fe_params, result.bse_fe)
    for term in model.random:
        if term is found.correlated:
            G = np.asarray(result.cov_re)
        else:
            G = np.array([[result.vcomp[found.components.index(term)]]])
        found_rows += rows.covariance(term, G)
    found_rows.append(rows.residual(result.scale))
    messages = []
    try:
        found_rows += blups(found, result.random_effects)
    except (ValueError, np.linalg.LinAlgError) as error:
        messages.append(f"random_effects: {error}")
    return {
        "rows": tuple(found_rows),
        "loglik": float(result.llf),
        "sigma": math.sqrt(result.scale) if result.scale >= 0 else math.nan,
        "n": int(result.model.nobs),
        "converged": bool(result.converged),
        "messages": messages,
    }


def blups(found: Form, effects: Mapping[int, Any]) -> Iterator[Row]:
    """Conditional means by level: those of ``exog_re`` come first, then ``component[level]``."""
    for group, values in effects.items():
        width = 0
        if found.correlated is not None:
            term = found.correlated
            width = len(term.names)
            for name, value in zip(term.names, values.iloc[:width], strict=True):
                yield Row("ran_vals", name, float(value), term.group, term.levels[int(group)])
        for label, value in values.iloc[width:].items():
            component, level = str(label).rstrip("]").split("[")
            term = found.components[int(component)]
            yield Row("ran_vals", term.names[0], float(value), term.group, term.levels[int(level)])


class Ols(python.Adapter):
    """OLS, or WLS: the random terms are ignored. Its variance is ssr / (n - p) for REML and ssr / n for ML.

    Standard errors go with that variance. statsmodels has a log-likelihood for ML only: NaN for REML.
    """

    name, family = "ols", "statsmodels"
    packages = PACKAGES
    module = "statsmodels.regression.linear_model"
    pooling = "complete"

    def supports(self, model: Model, method: Method) -> str | None:
        """Any model has a fixed part."""
        return None if model.offset is None else "OLS and WLS have no offset"

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """From the model's arrays; the profiles are the same."""
        from statsmodels.regression.linear_model import OLS, WLS

        def run() -> Answer:
            plain = model.weights is None
            result = (OLS(model.y, model.X) if plain else WLS(model.y, model.X, weights=model.weights)).fit()
            scale = float(result.scale if method == "REML" else result.ssr / model.n)
            errors = np.sqrt(scale * np.diag(result.normalized_cov_params))
            return {
                "rows": (*rows.fixed(model, result.params, errors), rows.residual(scale)),
                "loglik": float(result.llf) if method == "ML" else math.nan,
                "sigma": math.sqrt(scale),
                "n": int(result.nobs),
            }

        return run
