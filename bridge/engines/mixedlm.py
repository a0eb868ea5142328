"""mixedlm: lme4's interface in Python over a Rust core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from bridge.engines.attempt import Answer, attempt, load, versions
from bridge.engines.table import Table
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class Mixedlm:
    """mixedlm.lmer. `tight` is COBYQA, its derivative-free optimiser, with tolerances of 1e-12."""

    name = "mixedlm"
    language: Literal["Python", "R"] = "Python"
    family = "mixedlm"
    std_error: Literal["phi", "joint", "none"] = "phi"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "none"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """See `versions`."""
        return versions(self.name, "mixedlm", "numpy", "scipy")

    def start(self) -> None:
        """Import it before a fit's clock runs; its parts are loaded when first named."""
        load(self.name, "mixedlm.models.lmer_fit")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model: all with a random term."""
        return None if model.random else "mixedlm.lmer needs a random term, and this model has none"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit; weights are precision weights."""
        blank = Fit(engine=self.name, method=method, profile=profile, versions=self.version())
        table = Table.of(model)

        def run() -> Answer:
            import mixedlm

            careful = mixedlm.lmerControl(optimizer="COBYQA", ftol=1e-12, xtol=1e-12, maxiter=10_000)
            result = mixedlm.lmer(
                table.formula,
                table.data,
                REML=method == "REML",
                weights=model.spelling.weights or None,
                offset=model.spelling.offset or None,
                control=careful if profile == "tight" else None,
            )
            return answer(table, result)

        return attempt(blank, run)


def answer(table: Table, result: Any) -> Answer:
    """BLUPs lie in the order of each structure's `level_map`; a group's second term is called ``v3.1``."""
    errors = np.sqrt(np.diag(result.vcov())).tolist()
    beta = result.fixef()
    fixed = {alias: (float(b), se, None) for (alias, b), se in zip(beta.items(), errors, strict=True)}
    found = result.VarCorr()
    covariances = {
        (key.partition(".")[0], a, b): float(block.cov[i, j])
        for key, block in found.groups.items()
        for i, a in enumerate(block.term_names)
        for j, b in enumerate(block.term_names[: i + 1])
    }
    modes = result.ranef()
    blups = {
        (structure.grouping_factor, str(level), term): float(modes[structure.grouping_factor][term][index])
        for structure in result.matrices.random_structures
        for term in structure.term_names
        for level, index in structure.level_map.items()
    }
    return {
        "rows": table.rows(fixed, covariances, blups, float(found.residual)),
        "loglik": float(result.logLik().value),
        "sigma": float(result.sigma),
        "n": int(result.nobs()),
        "converged": bool(result.converged),
    }
