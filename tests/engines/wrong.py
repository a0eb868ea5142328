"""An engine that is wrong and does not say so: the numpy engine's answer with one coefficient moved."""

from __future__ import annotations

from dataclasses import replace

from bridge.engines.numpy import Numpy
from bridge.fit import Fit, Method, Profile
from bridge.model import Model


class Shifted(Numpy):
    """Each fixed effect is 1 too large, and converged."""

    name = "shifted"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """See the class."""
        found = super().fit(model, method, profile)
        moved = (replace(r, estimate=r.estimate + 1) if r.effect == "fixed" else r for r in found.rows)
        return found.having(rows=tuple(moved))
