"""lmerTest: lme4 with Satterthwaite's df. Translation is in r/lmerTest.R, the way in `bridge.engines.r`."""

from __future__ import annotations

from bridge.engines import r


class LmerTest(r.Adapter):
    """Engine `lmerTest`."""

    name = "lmerTest"
    df = "satterthwaite"
