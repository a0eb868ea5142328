"""Any engine under watch, named ``watched:<name>``: a fit that changes what it was given is refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bridge import engines
from bridge.fit import Fit


class Watched:
    """An engine that says when it has changed its model."""

    def __init__(self, name: str) -> None:
        self._engine: Any = engines.get(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def fit(self, model: Any, method: Any, profile: Any) -> Fit:
        """The engine's Fit."""
        arrays = [model.y, model.X, *(a for term in model.random for a in (term.Z, term.index))]
        arrays += [known for known in (model.weights, model.offset) if known is not None]
        before = model.data.copy(deep=True), [a.copy() for a in arrays]
        fit = self._engine.fit(model, method, profile)
        pd.testing.assert_frame_equal(model.data, before[0])
        for array, copy in zip(arrays, before[1], strict=True):
            np.testing.assert_array_equal(array, copy)
        return fit


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return partial(Watched, name)
