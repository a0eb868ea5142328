"""lme-python: lme4's formulas over a Rust core, reading Arrow tables through polars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from bridge.engines.attempt import Answer, attempt, load, versions
from bridge.engines.table import Table
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class LmePython:
    """lme_python.lmer. `tight` goes on from where `default` stopped, with a tolerance of 1e-10, not 1e-6.

    From its own start that tolerance ends some fits after three iterations, short of the optimum.
    """

    name = "lme-python"
    language: Literal["Python", "R"] = "Python"
    family = "lme-python"
    std_error: Literal["phi", "joint", "none"] = "phi"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "none"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """See `versions`."""
        return versions(self.name, "lme-python", "polars")

    def start(self) -> None:
        """Import it before a fit's clock runs."""
        load(self.name, "lme_python")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model: all with a random term."""
        return None if model.random else "lme_python.lmer needs a random term, and this model has none"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit; weights are precision weights, the offset is a term of the formula."""
        blank = Fit(engine=self.name, method=method, profile=profile, versions=self.version())
        table = Table.of(model)
        offset = f" + offset({model.spelling.offset})" if model.spelling.offset else ""

        def run() -> Answer:
            import lme_python

            arguments: list[Any] = [table.formula + offset, table.data, method == "REML"]
            lmer: Any = lme_python.lmer
            if model.spelling.weights:
                arguments.append(table.data[model.spelling.weights].tolist())
                lmer = lme_python.lmer_weighted
            result = lmer(*arguments)
            if profile == "tight":
                careful: dict[str, Any] = {
                    "tolerance": 1e-10,
                    "max_iterations": 10_000,
                    "start": result.theta,
                }
                result = lmer(*arguments, control=lme_python.FitControl(**careful))
            return answer(table, result)

        return attempt(blank, run)


def answer(table: Table, result: Any) -> Answer:
    """`var_corr` has rows (group, term, term, variance or covariance, ...), its last the residual."""
    numbers = zip(result.fixed_names, result.coefficients, result.std_errors, strict=True)
    said = result.diagnostics["warnings"] if result.diagnostics else ()
    return {
        "rows": table.rows(
            {alias: (b, se, None) for alias, b, se in numbers},
            {(group, a, b): value for group, a, b, value, _ in result.var_corr if a},
            {(group, level, term): value for group, level, term, value in result.ranef},
            result.sigma2,
        ),
        "loglik": float(result.log_likelihood),
        "sigma": math.sqrt(result.sigma2),
        "n": int(result.num_obs),
        "converged": result.converged,
        "messages": [str(text) for text in said],
    }
