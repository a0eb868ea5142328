"""glmmTMB: translation is in r/glmmTMB.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

import numpy as np

from bridge.engines import r
from bridge.fit import Method
from bridge.model import Model

STEPS = 1000
"""Levels of an AR(1) term, each a step whether it has rows or not, whose correlations are a dense matrix."""


class GlmmTMB(r.Adapter):
    """Engine `glmmTMB`; its standard errors carry the uncertainty of theta."""

    name = "glmmTMB"
    std_error = "joint"
    errors = ("varIdent", "corAR1")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        if model.weights is not None:
            return "glmmTMB's weights are likelihood weights, not precision weights"
        if (errors := model.residual) is not None and errors.kind == "corAR1":
            steps = int(np.ptp(errors.position)) + 1
            if steps > STEPS:
                return f"glmmTMB holds a matrix of all {steps} steps from first to last; at most {STEPS}"
        return super().supports(model, method)
