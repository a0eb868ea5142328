"""Designs that a hunt draws data sets from: bundled grids of parameters, or a file's table."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import BridgeError, CaseError
from bridge.generate import Design


def ten_clusters(rng: np.random.Generator) -> dict[str, Any]:
    """Very unequal clusters, a predictor at cluster level, little variance between them."""
    return {
        "intercept": 1.0,
        "residual_sd": 2.0,
        "clusters": {"sizes": [4, 150, 120, 8, 100, 5, 130, 140, 110, 6], "sd": 0.6},
        "predictors": [{"name": "x", "level": "cluster", "kind": "binary", "effect": 0.5}],
    }


def intercepts(rng: np.random.Generator) -> dict[str, Any]:
    """3 to 15 clusters of 1 to 20, any ICC, a predictor of any origin and unit."""
    x = {
        "name": "x",
        "effect": 1.0,
        "mean": float(10 ** rng.uniform(0, 4)),
        "sd": float(10 ** rng.uniform(-3, 3)),
    }
    return {
        "intercept": 1.0,
        "icc": float(1 / (1 + 10 ** rng.uniform(-4, 4))),
        "clusters": {"sizes": rng.integers(1, 21, rng.integers(3, 16)).tolist()},
        "predictors": [x],
    }


def slopes(rng: np.random.Generator) -> dict[str, Any]:
    """4 to 15 clusters of 3 to 12 with random slopes, correlated -.99 to .99, x of any origin and unit."""
    a, b = (float(10 ** rng.uniform(-2, 2)) for _ in range(2))
    unit = float(10 ** rng.uniform(-2, 2))
    c = float(rng.uniform(-0.99, 0.99)) * a * b
    x = {"name": "x", "effect": 1.0, "mean": unit * float(10 ** rng.uniform(-1, 2)), "sd": unit}
    return {
        "residual_sd": 1.0,
        "clusters": {
            "sizes": rng.integers(3, 13, rng.integers(4, 16)).tolist(),
            "slopes": ["x"],
            "covariance": [[a * a, c], [c, b * b]],
        },
        "predictors": [x],
    }


def crossed(rng: np.random.Generator) -> dict[str, Any]:
    """4 to 10 clusters crossed with 3 to 8 levels, each of any variance."""
    item = {"name": "item", "levels": int(rng.integers(3, 9)), "sd": float(10 ** rng.uniform(-2, 2))}
    return {
        "residual_sd": 1.0,
        "clusters": {
            "sizes": rng.integers(4, 13, rng.integers(4, 11)).tolist(),
            "sd": float(10 ** rng.uniform(-2, 2)),
        },
        "predictors": [{"name": "x", "effect": 1.0}],
        "factors": [{**item, "layout": "random"}],
    }


BUNDLED: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "ten-clusters": ten_clusters,
    "intercepts": intercepts,
    "slopes": slopes,
    "crossed": crossed,
}


def designs(source: str, seeds: Iterable[int]) -> Iterator[Design]:
    """A design for each seed: a bundled grid, whose parameters the seed draws too, or a file's table.

    Raises
    ------
    BridgeError
        Neither a name nor a file.
    CaseError
        The file is not a design.
    """
    if source in BUNDLED:
        # a stream of its own: the seed itself draws the data
        tables = ({**BUNDLED[source](np.random.default_rng([seed, 1])), "seed": seed} for seed in seeds)
    else:
        table = _table(source)
        Design.from_table({**table, "seed": 0}, f"design {source}")
        tables = ({**table, "seed": seed} for seed in seeds)
    return (Design.from_table(table, f"design {source}") for table in tables)


def _table(source: str) -> dict[str, Any]:
    if not Path(source).is_file():
        known = ", ".join(BUNDLED)
        raise BridgeError(f"--design {source}: neither a file nor one of {known}; name one of these")
    try:
        table: dict[str, Any] = tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaseError(f"--design {source}: not valid TOML: {error}; mend that line") from None
    found: dict[str, Any] = table.get("generate", table)
    return found
