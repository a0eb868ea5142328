"""Python: what the adapters of Python software share, which leaves them their translation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from bridge.engines.attempt import Answer, attempt, load, versions
from bridge.engines.engine import unsupported
from bridge.fit import Fit, Method, Profile
from bridge.model import Model

Call = Callable[[], Answer]
"""The engine's own call and the reading of its result: what its time is the time of."""


class Adapter(ABC):
    """A Python engine; see `Engine` for the attributes that are not here.

    Attributes
    ----------
    packages : tuple of str
        Distributions that its numbers depend on, its own first.
    module : str
        Imported before a fit's clock runs.
    """

    name: str
    packages: tuple[str, ...]
    module: str
    language: Literal["Python", "R"] = "Python"
    family: str
    std_error: Literal["phi", "joint", "kenward-roger", "none"] = "phi"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "none"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """Versions of the packages, from their metadata."""
        return versions(self.name, *self.packages)

    def start(self) -> None:
        """Import its module."""
        self.version()
        load(self.name, self.module)

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model: all with a random term, unless the adapter says otherwise."""
        return None if model.random else f"{self.name} needs a random term, and this model has none"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit; its exceptions are refusals."""
        blank = Fit(engine=self.name, method=method, profile=profile, versions=self.version())
        if reason := unsupported(self, model, method):
            return blank.having(status="unsupported", reason=reason)
        load(self.name, self.module)
        return attempt(blank, self.call(model, method, profile))

    @abstractmethod
    def call(self, model: Model, method: Method, profile: Profile) -> Call:
        """The model in the engine's terms, ready to be fitted."""


def facts(result: Any) -> Answer:
    """Fields of a Fit that results with statsmodels' attributes have in common."""
    return {
        "loglik": float(result.llf),
        "sigma": math.sqrt(result.scale) if result.scale >= 0 else math.nan,
        "n": int(result.nobs),
        "converged": bool(result.converged),
    }
