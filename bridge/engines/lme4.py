"""lme4: translation is in r/lme4.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from bridge.engines import r


class Lme4(r.Adapter):
    """Engine `lme4`."""

    name = "lme4"
