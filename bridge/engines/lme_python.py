"""lme-python: lme4's formulas over a Rust core, reading Arrow tables through polars."""

from __future__ import annotations

import math
from typing import Any

from bridge.engines import python
from bridge.engines.attempt import Answer
from bridge.engines.table import Table
from bridge.fit import Method, Profile
from bridge.model import Model


class LmePython(python.Adapter):
    """lme_python.lmer. `tight` goes on from where `default` stopped, with a tolerance of 1e-10, not 1e-6.

    From its own start that tolerance ends some fits after three iterations, short of the optimum.
    """

    name = family = "lme-python"
    packages = ("lme-python", "polars")
    module = "lme_python"

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """By formula, of which the offset is a term; weights are precision weights."""
        import lme_python

        table = Table.of(model)
        offset = f" + offset({model.spelling.offset})" if model.spelling.offset else ""

        def run() -> Answer:
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

        return run


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
