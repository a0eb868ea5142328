"""mixedlm-rs: statsmodels' MixedLM for one grouping factor, over a Rust core, from y, X and Z."""

from __future__ import annotations

from typing import Any

from bridge.engines import python, rows
from bridge.engines.attempt import Answer
from bridge.fit import Method, Profile, Row
from bridge.model import Model


class MixedlmRs(python.Adapter):
    """MixedLM of mixedlm_rs. `tight` takes five starts and stops at a gradient of 1e-10."""

    name = family = "mixedlm-rs"
    packages = ("mixedlm-rs", "numpy", "scipy")
    module = "mixedlm_rs"

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model: a single random term, no weights, no offset."""
        if len(model.random) != 1:
            return f"mixedlm-rs takes one random term; there are {len(model.random)}"
        for role in ("weights", "offset"):
            if getattr(model, role) is not None:
                return f"mixedlm-rs has no argument for {role}"
        return None

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """From the model's arrays; groups are named by the position of their level."""
        from mixedlm_rs import MixedLM

        (term,) = model.random

        def run() -> Answer:
            careful: dict[str, Any] = {"n_starts": 5, "gtol": 1e-10, "ftol": 1e-15, "maxiter": 10_000}
            mixed = MixedLM(model.y, model.X, term.index, exog_re=term.Z)
            return answer(model, mixed.fit(reml=method == "REML", **careful if profile == "tight" else {}))

        return run


def answer(model: Model, result: Any) -> Answer:
    """Rows by the model's names, which are those of the columns handed over."""
    (term,) = model.random
    found = rows.fixed(model, result.fe_params, result.bse_fe)
    found += rows.covariance(term, result.cov_re)
    found.append(rows.residual(result.scale))
    for index, values in zip(result.model.group_labels.tolist(), result.random_effects_array, strict=True):
        for name, value in zip(term.names, values.tolist(), strict=True):
            found.append(Row("ran_vals", name, value, term.group, term.levels[index]))
    return {"rows": tuple(found), **python.facts(result)}
