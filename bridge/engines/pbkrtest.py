"""pbkrtest: lme4 with Kenward and Roger's df and standard errors. Translation is in r/pbkrtest.R."""

from __future__ import annotations

from bridge.engines import r
from bridge.fit import Method
from bridge.model import Model

LARGEST = 2000
"""Rows up to which it is tried: it inverts V as a whole, n x n."""


class Pbkrtest(r.Adapter):
    """Engine `pbkrtest`."""

    name = "pbkrtest"
    std_error = "kenward-roger"
    df = "kenward-roger"

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        if method == "ML":
            return "Kenward-Roger is a REML method: it would refit an ML fit by REML; use --method REML"
        if model.n > LARGEST:
            return f"pbkrtest inverts an n x n matrix, too much for {model.n} rows (at most {LARGEST})"
        return super().supports(model, method)
