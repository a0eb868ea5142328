"""glmm: mixed models in Rust with numpy as its only dependency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from bridge.engines.attempt import Answer, attempt, load, versions
from bridge.engines.table import Table
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class Glmm:
    """glmm.fit. It has no settings of its optimiser, so `tight` is the same call as `default`."""

    name = "glmm"
    language: Literal["Python", "R"] = "Python"
    family = "glmm"
    std_error: Literal["phi", "joint", "none"] = "phi"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "satterthwaite"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """See `versions`."""
        return versions(self.name, "glmm", "numpy")

    def start(self) -> None:
        """Import it before a fit's clock runs."""
        load(self.name, "glmm")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model: one term a group, an intercept and fixed slopes in it."""
        if not model.random:
            return "this adapter fits models with a random term, and this one has none"
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

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit; weights are precision weights."""
        blank = Fit(engine=self.name, method=method, profile=profile, versions=self.version())
        table = Table.of(model)
        known = {
            role: table.data[column].to_numpy()
            for role, column in (("weights", model.spelling.weights), ("offset", model.spelling.offset))
            if column
        }

        def run() -> Answer:
            import glmm

            return answer(table, glmm.fit(table.data, table.formula, reml=method == "REML", **known))

        return attempt(blank, run)


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
