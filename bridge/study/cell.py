"""Cell: one design of a study's grid: how its replicates are drawn, what is fitted, and what is true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge import cholesky
from bridge.errors import CaseError
from bridge.generate import Design

if TYPE_CHECKING:
    from bridge.model import Matrix, Model

BLOCK = 1024
"""Replicates whose seeds are drawn together; part of what a seed is."""
LEAN = "informative_size"
SHARED = ("binary", "sequence", "cycle")


@dataclass(frozen=True, eq=False)
class Cell:
    """One design.

    Attributes
    ----------
    at : mapping
        Its place on the grid.
    design : Design
        With seed 0.
    formula : str
    truths : mapping of str to (str, float)
        Estimand to fixed effect and true value. With informative size a term has two, ``x, cluster
        average`` and ``x, participant average`` (Kahan, Li, Copas & Harhay 2023, doi 10.1093/ije/dyac131).
    key : str
        SHA-256 of the design and the formula, in hexadecimal.
    seed : int
        The study's.
    """

    at: Mapping[str, Any]
    design: Design
    formula: str
    truths: Mapping[str, tuple[str, float]]
    key: str
    seed: int

    @classmethod
    def of(
        cls,
        table: dict[str, Any],
        at: Mapping[str, Any],
        informative: float,
        leaning: str,
        formula: str,
        estimands: Sequence[str],
        seed: int,
    ) -> Cell:
        """From a design's table; CaseError."""
        where = f"design at {spell(at)}" if at else "design"
        plain = Design.from_table({**table, "seed": 0}, where)
        effects = {p.name: p.effect for p in plain.predictors if p.role == "fixed"}
        truths = {name: (name, value) for name, value in effects.items()}
        design = plain
        if leaning:
            lean, averages = _lean(plain, leaning, informative)
            if informative:
                predictors = [*table.get("predictors", []), lean]
                design = Design.from_table({**table, "predictors": predictors, "seed": 0}, where)
                del truths[leaning]
                truths |= averages
        names = list(estimands) or list(effects)
        kept = {name: truth for name, truth in truths.items() if truth[0] in names}
        if absent := [name for name in names if name not in [term for term, _ in kept.values()]]:
            raise CaseError(f"estimands: {absent[0]!r} is no predictor of the design; name one")
        text = formula or plain.formula
        key = json.dumps([design.to_table(), text], sort_keys=True)
        return cls(at, design, text, kept, hashlib.sha256(key.encode()).hexdigest(), seed)

    @property
    def rows(self) -> int:
        """Rows of a data set."""
        return sum(self.design.clusters.counts)

    @property
    def shared(self) -> bool:
        """Whether all replicates have the same X and Z."""
        return not self.design.factors and all(
            p.kind in SHARED and p.role == "fixed" for p in self.design.predictors
        )

    @property
    def model(self) -> Model:
        """The formula met with data of this design; those of a few designs are kept."""
        return _model(self)

    def seeds(self, start: int, stop: int) -> list[int]:
        """Seeds of replicates: of `Design.draw`, so that each can be drawn again alone."""
        found: list[int] = []
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            source = np.random.SeedSequence([self.seed, int(self.key[:32], 16), block])
            states = source.generate_state(BLOCK, np.uint64) >> np.uint64(1)
            first, last = max(start - block * BLOCK, 0), min(stop - block * BLOCK, BLOCK)
            found += [int(state) for state in states[first:last]]
        return found

    def again(self, seed: int) -> Design:
        """The design of one replicate."""
        return self.design.model_copy(update={"seed": seed})

    def responses(self, seeds: Sequence[int]) -> Matrix:
        """Responses (r, n) of replicates that share X and Z, as `Design.draw` has them to the bit."""
        design, counts = self.design, np.array(self.design.clusters.counts)
        number, n = len(counts), int(counts.sum())
        cluster = np.repeat(np.arange(number), counts)
        frame = design.draw().frame
        L = design._cholesky()
        k = len(L)
        draws = np.empty((len(seeds), number * k + n))
        for row, seed in zip(draws, seeds, strict=True):
            np.random.default_rng(seed).standard_normal(out=row)
        z = draws[:, : number * k].reshape(-1, number, k).transpose(2, 0, 1)
        fixed = np.full(n, design.intercept)
        for p in design.predictors:
            fixed = fixed + p.effect * frame[p.name].to_numpy()
        Y = np.repeat(fixed[None], len(seeds), 0)
        for i, name in enumerate([None, *design.clusters.slopes]):
            b = cholesky.combine(L[i][: i + 1], z)[:, cluster]
            Y += b if name is None else b * frame[name].to_numpy()
        Y += design.sigma * draws[:, number * k :]
        return Y


@lru_cache(maxsize=8)
def _model(cell: Cell) -> Model:
    from bridge.model import build

    return build(cell.formula, cell.design.draw().frame, name=f"design at {spell(cell.at)}")


def _lean(
    plain: Design, leaning: str, informative: float
) -> tuple[dict[str, Any], dict[str, tuple[str, float]]]:
    """A predictor that lets the effect grow with log cluster size, and the two averages that follow."""
    arm = next((p for p in plain.predictors if p.name == leaning), None)
    counts = np.array(plain.clusters.counts, float)
    if arm is None or arm.level != "cluster" or arm.kind != "binary":
        raise CaseError(f"leaning: {leaning!r} is no binary predictor of the clusters; name one")
    if len(counts) < 2:
        raise CaseError(f"leaning: {leaning} is 0 in the one cluster that there is; give more clusters")
    logs = np.log(counts) - np.log(counts).mean()
    z = logs / logs.std() if logs.std() > 0 else logs
    treated = np.arange(len(counts)) % 2 == 1
    lean = {
        "name": LEAN,
        "level": "cluster",
        "kind": "cycle",
        "values": [float(v) for v in np.where(treated, z, 0.0)],
        "effect": informative,
    }
    both = {"cluster": treated, "participant": counts * treated}
    return lean, {
        f"{leaning}, {who} average": (leaning, arm.effect + informative * float(np.average(z, weights=w)))
        for who, w in both.items()
    }


def spell(at: Mapping[str, Any]) -> str:
    """A place on the grid in words."""
    return ", ".join(f"{name} {value}" for name, value in at.items()) or "its only place"
