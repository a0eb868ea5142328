"""mixedlm: lme4's interface in Python over a Rust core."""

from __future__ import annotations

from typing import Any

import numpy as np

from bridge.engines import python
from bridge.engines.attempt import Answer
from bridge.engines.table import Table
from bridge.fit import Method, Profile
from bridge.model import Model


class Mixedlm(python.Adapter):
    """mixedlm.lmer. `tight` is COBYQA, its derivative-free optimiser, with tolerances of 1e-12."""

    name = family = "mixedlm"
    packages = ("mixedlm", "numpy", "scipy")
    module = "mixedlm.models.lmer_fit"  # its parts are loaded when first named

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """By formula; weights are precision weights."""
        import mixedlm

        table = Table.of(model)

        def run() -> Answer:
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

        return run


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
