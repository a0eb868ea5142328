"""nlme: translation is in r/nlme.R, the way there in `bridge.engines.r`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import numpy as np

from bridge.engines import r
from bridge.fit import Fit, Method, Profile
from bridge.model import Model, RandomTerm


def refines(fine: RandomTerm, coarse: RandomTerm) -> bool:
    """Whether each level of `fine` lies in one level of `coarse`: r/nlme.R nests by the same rule."""
    parent = np.empty(len(fine.levels), dtype=np.intp)
    parent[fine.index] = coarse.index
    return bool((parent[fine.index] == coarse.index).all())


class Nlme:
    """Engine `nlme`; see `Engine` for the attributes."""

    name: str = "nlme"
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
        if not model.random:
            return "nlme fits models with a random term, and this one has none"
        wide = [term for term in model.random if len(term.names) > 1]
        wide.sort(key=lambda term: len(term.levels))
        for coarse, fine in pairwise(wide):
            if not refines(fine, coarse):
                both = f"{coarse.group} and {fine.group}"
                return f"nlme cannot correlate the coefficients of two crossed groups, {both}"
        return None

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit in this process; an R error is a `refused` Fit with R's words."""
        return r.fit(self.name, model, method, profile)
