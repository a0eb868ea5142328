"""Two engines over one package, `quarrel`, of which each needs another version."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from bridge.engines.attempt import versions
from bridge.engines.numpy import Numpy
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class Old(Numpy):
    """Needs quarrel 1, and says which one it met."""

    name = "old"
    wants = 1

    def version(self) -> Mapping[str, str]:
        """Quarrel's."""
        return versions(self.name, "quarrel")

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """The numpy engine's."""
        met = import_module("quarrel").VERSION
        if met != self.wants:
            raise RuntimeError(f"needs quarrel {self.wants}, met {met}")
        return super().fit(model, method, profile).having(engine=self.name, messages=(f"quarrel {met}",))


class New(Old):
    """Needs quarrel 2."""

    name = "new"
    wants = 2
