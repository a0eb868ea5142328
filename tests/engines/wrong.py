"""An engine that is wrong and does not say so: the numpy engine's answer with one coefficient moved."""

from __future__ import annotations

from bridge.engines.numpy import Numpy
from bridge.fit import Fit, Method, Profile, Row
from bridge.model import Model


class Shifted(Numpy):
    """Each fixed effect is 1 too large, and converged."""

    name = "shifted"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """See the class."""
        found = super().fit(model, method, profile)
        rows = (
            Row("fixed", r.term, r.estimate + 1, std_error=r.std_error) if r.effect == "fixed" else r
            for r in found.rows
        )
        return found.having(rows=tuple(rows))
