"""lm: complete pooling. Translation is in r/lm.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from bridge.engines import r
from bridge.fit import Method
from bridge.model import Model


class Lm(r.Adapter):
    """Engine `lm`."""

    name = "lm"
    pooling = "complete"

    def supports(self, model: Model, method: Method) -> str | None:
        """It reads the fixed part only, of any model."""
        return r.unnamed(model)
