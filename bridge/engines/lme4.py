"""lme4: translation is in r/lme4.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bridge.engines import r
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class Lme4:
    """Engine `lme4`; see `Engine` for the attributes."""

    name: str = "lme4"
    language: Literal["Python", "R"] = "R"
    family: str = "R"
    std_error: Literal["phi", "joint", "none"] = "phi"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """Versions of R, its BLAS and the packages."""
        return r.version(self.name)

    def start(self) -> None:
        """Start R and load the package, before a fit's clock runs."""
        r.start(self.name)

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        return None if model.random else "lme4 fits models with a random term, and this one has none"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit in this process; an R error is a `refused` Fit with R's words."""
        return r.fit(self.name, model, method, profile)
