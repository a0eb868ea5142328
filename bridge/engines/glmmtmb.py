"""glmmTMB: translation is in r/glmmTMB.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from bridge.engines import r


class GlmmTMB(r.Adapter):
    """Engine `glmmTMB`; its standard errors carry the uncertainty of theta."""

    name = "glmmTMB"
    std_error = "joint"
