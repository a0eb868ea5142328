"""glmm: mixed models in Rust with numpy as its only dependency."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bridge.engines import python
from bridge.engines.attempt import Answer
from bridge.engines.table import Table
from bridge.fit import Method, Profile
from bridge.model import Model


class Glmm(python.Adapter):
    """glmm.fit. It has no settings of its optimiser, so `tight` is the same call as `default`."""

    name = family = module = "glmm"
    packages = ("glmm", "numpy")
    df = "satterthwaite"

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model: one term a group, an intercept and fixed slopes in it."""
        if reason := super().supports(model, method):
            return reason
        groups = [frozenset(term.factors) for term in model.random]
        for term, group in zip(model.random, groups, strict=True):
            if groups.count(group) > 1:
                return f"glmm takes one random term a group; {term.group} has {groups.count(group)}"
            if "(Intercept)" not in term.names:
                return f"glmm takes random slopes only beside a random intercept; {term.group} has none"
            alone = [n for n in term.names if n not in (*model.names, "(Intercept)")]
            if alone:
                return f"glmm takes a random slope only of a fixed coefficient; {alone[0]} is none"
        return None

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """By formula; weights are precision weights."""
        import glmm

        table = Table.of(model)
        known = {
            role: table.data[column].to_numpy()
            for role, column in (("weights", model.spelling.weights), ("offset", model.spelling.offset))
            if column
        }

        def run() -> Answer:
            return answer(table, glmm.fit(table.data, table.formula, reml=method == "REML", **known))

        return run


def answer(table: Table, result: Any) -> Answer:
    """`varcorr` holds lower triangles by columns; a failed fit has none and is a refusal."""
    if not result.varcorr:
        said = [warning["message"] for warning in result.warnings if warning["tier"] == "severe"]
        return {"status": "refused", "reason": "; ".join(said), "converged": False}
    errors, dfs = result.se.tolist(), result.coef_df.tolist()
    fixed = {
        alias: (b, se, None if math.isnan(df) else df)
        for alias, b, se, df in zip(result.names, result.beta.tolist(), errors, dfs, strict=True)
    }
    covariances = {
        (group, terms[i], terms[j]): float(value)
        for (group, terms), packed in zip(result.re_groups, result.varcorr, strict=True)
        for value, j, i in zip(packed, *np.triu_indices(len(terms)), strict=True)
    }
    blups = {
        (block["group"], level, term): value
        for block in result.ranef_blocks
        for level, values in zip(block["levels"], block["values"].tolist(), strict=True)
        for term, value in zip(block["terms"], values, strict=True)
    }
    return {
        "rows": table.rows(fixed, covariances, blups, result.dispersion),
        "loglik": float(result.loglik),
        "sigma": math.sqrt(result.dispersion),
        "n": int(result.nobs),
        "converged": bool(result.converged),
    }
