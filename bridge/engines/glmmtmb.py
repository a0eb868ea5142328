"""glmmTMB: translation is in r/glmmTMB.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from bridge.engines import r
from bridge.fit import Method
from bridge.model import Model


class GlmmTMB(r.Adapter):
    """Engine `glmmTMB`; its standard errors carry the uncertainty of theta."""

    name = "glmmTMB"
    std_error = "joint"
    errors = ("varIdent", "corAR1")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        if model.weights is not None:
            return "glmmTMB's weights are likelihood weights, not precision weights"
        return super().supports(model, method)
