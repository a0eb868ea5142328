"""lm: complete pooling. Translation is in r/lm.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bridge.engines import r
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class Lm:
    """Engine `lm`; see `Engine` for the attributes."""

    name: str = "lm"
    language: Literal["Python", "R"] = "R"
    family: str = "R"
    std_error: Literal["phi", "joint", "none"] = "phi"
    pooling: Literal["partial", "complete"] = "complete"

    def version(self) -> Mapping[str, str]:
        """Versions of R, its BLAS and the packages."""
        return r.version(self.name)

    def start(self) -> None:
        """Start R and load the package, before a fit's clock runs."""
        r.start(self.name)

    def supports(self, model: Model, method: Method) -> str | None:
        """None: it reads the fixed part only, of any model."""
        return None

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit in this process; an R error is a `refused` Fit with R's words."""
        return r.fit(self.name, model, method, profile)
