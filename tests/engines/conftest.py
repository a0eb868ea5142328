"""The data that every engine is tested on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """Nine g crossed with five h, six rows a cell, k nested in h; labels of every awkward kind."""
    rng = np.random.default_rng(24)
    g, h, row = (a.ravel() for a in np.indices((9, 5, 6)))
    x = rng.normal(size=g.size)
    slopes = rng.normal(size=(9, 2)) @ [[1.0, 0.3], [0.0, 0.8]]
    y = 2 + x + slopes[g, 0] + slopes[g, 1] * x + rng.normal(size=5)[h]
    y += rng.normal(size=45)[g * 5 + h] + rng.normal(size=(9, 3))[g, row % 3]
    y += rng.normal(size=(5, 3))[h, row % 3]
    g_labels = ["10", "9", "p:q", "r/s", "é ü", 'it\'s "so"', " ", "g1", "1"]
    h_labels = ["a", "B", " c", "d:1", "NA"]
    return pd.DataFrame(
        {
            "y": y + rng.normal(scale=0.5, size=g.size),
            "x": x,
            "g": pd.Categorical.from_codes(g, g_labels),  # not in code-point order
            "h": np.array(h_labels)[h],
            "k": [f"{a}/{b % 3}" for a, b in zip(h, row, strict=True)],
            "f": pd.Categorical.from_codes(row % 3, ["mid", "lo", "hi"]),
            "o": pd.Categorical.from_codes(row % 3, ["mid", "lo", "hi"], ordered=True),
            "w": np.array([0.5, 1.0, 2.0, 4.0, 1.5, 3.0])[row],
            "number": np.array([10, 9, 1, 100, 2, -3, 0, 7, 8])[g],
        }
    )
