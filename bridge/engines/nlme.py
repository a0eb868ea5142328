"""nlme: translation is in r/nlme.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bridge.engines import r
from bridge.fit import Method
from bridge.model import Model, RandomTerm

DENSE = 100_000_000
"""Doubles in the indicator columns of crossed groups beyond which lme(), which copies them, runs out of
memory: with three times as many it was killed on a machine of 23 GB."""


def refines(fine: RandomTerm, coarse: RandomTerm) -> bool:
    """Whether each level of `fine` lies in one level of `coarse`: r/nlme.R nests by the same rule."""
    parent = np.empty(len(fine.levels), dtype=np.intp)
    parent[fine.index] = coarse.index
    return bool((parent[fine.index] == coarse.index).all())


class Nlme(r.Adapter):
    """Engine `nlme`."""

    name = "nlme"
    df = "containment"
    errors = ("varIdent", "corAR1")

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        wide = [term for term in model.random if len(term.names) > 1]
        wide.sort(key=lambda term: len(term.levels))
        for coarse, fine in pairwise(wide):
            if not refines(fine, coarse):
                both = f"{coarse.group} and {fine.group}"
                return f"nlme cannot correlate the coefficients of two crossed groups, {both}"
        order = sorted(model.random, key=lambda term: len(term.levels))
        if not all(refines(fine, coarse) for coarse, fine in pairwise(order)):
            columns = sum(len(term.levels) for term in {term.group: term for term in model.random}.values())
            if model.n * columns > DENSE:
                held = model.n * columns * 8 / 1e9
                return (
                    f"nlme holds crossed groups as dense columns, {held:.1f} GB and copies: too much memory"
                )
        if model.offset is not None:
            return "nlme's lme() has no offset"
        if (errors := model.residual) is not None and errors.kind == "corAR1":
            finest = max(model.random, key=lambda term: len(term.levels), default=None)
            if finest is not None and finest.group != errors.group:
                return f"nlme needs the innermost group of the random terms for corAR1(), not {errors.group}"
        return super().supports(model, method)
