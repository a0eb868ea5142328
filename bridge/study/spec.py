"""Study: study.toml, read and checked. Designs on a grid, how often each is drawn, and what is fitted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bridge import toml
from bridge.errors import CaseError
from bridge.fit import Method, Profile
from bridge.generate import Seed
from bridge.study.cell import Cell

SCHEMA = "lmmbridge-study/1"
PAGE = "docs/studies.md"
BASELINES = ("lm", "cluster means", "no pooling")
BATCH = "batch"
"""Engine name of the numpy engine's batches."""
Count = Annotated[int, Field(strict=True, ge=1)]


class Study(BaseModel):
    """What study.toml holds.

    Attributes
    ----------
    title : str
    seed : int
        With a design and a replicate's number it gives the seed of that replicate's data.
    replicates, chunk : int
        Of each design; of one task and one file.
    formula : str
        The model fitted; by default the one drawn from.
    methods, profiles : tuple of str
    engines : tuple of str
        ``batch`` for the numpy engine's batches (one grouping factor, no drawn predictors); any other
        is run in workers, fit by fit, and judged.
    baselines : tuple of {"lm", "cluster means", "no pooling"}
    estimands : tuple of str
        Fixed effects that are reported; all but the intercept by default.
    leaning : str
        Cluster-level predictor whose effect grows by `informative` for each sd of log cluster size.
    audited : int
        Replicates of each design whose batched fits are held to a certificate.
    design : dict
        Table of a `bridge.generate.Design`, without seed.
    grid : dict
        Field of the design, such as ``icc`` or ``clusters.sizes`` or ``predictors.x.effect``, or
        ``informative``, to the values that it takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal["lmmbridge-study/1"] = Field(alias="schema")
    title: str = ""
    seed: Seed
    replicates: Count
    chunk: Count = 1000
    formula: str = ""
    methods: tuple[Method, ...] = Field(("REML",), min_length=1)
    profiles: tuple[Profile, ...] = Field(("default",), min_length=1)
    engines: tuple[str, ...] = (BATCH,)
    baselines: tuple[Literal["lm", "cluster means", "no pooling"], ...] = ()
    estimands: tuple[str, ...] = ()
    leaning: str = ""
    audited: Annotated[int, Field(strict=True, ge=0, le=1000)] = 0
    limit: Annotated[float, Field(gt=0, le=1e7)] = 60.0
    design: dict[str, Any]
    grid: dict[str, list[Any]] = {}

    @model_validator(mode="after")
    def _check(self) -> Study:
        if "seed" in self.design:
            raise ValueError("design.seed: the seeds follow from the study's; remove it")
        if not self.engines and not self.baselines:
            raise ValueError("engines: none, and no baselines either; name one")
        if empty := [name for name, values in self.grid.items() if not values]:
            raise ValueError(f"grid.{empty[0]}: has no values; give one or more")
        for value in self.grid.get("informative", ()):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"grid.informative: {value!r} is no number; give what the effect grows by")
        if "informative" in self.grid and not self.leaning:
            raise ValueError("grid.informative: needs leaning, the predictor whose effect depends on size")
        for field in ("methods", "profiles", "engines", "baselines", "estimands"):
            values = getattr(self, field)
            if double := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{field}: {double[0]!r} is named twice; remove one")
        return self

    @classmethod
    def load(cls, path: Path) -> Study:
        """From a file; CaseError naming it, the field, the value and the fix."""
        return toml.validate(cls, toml.load(path, CaseError), path, CaseError, PAGE)

    def but(self, **changes: Any) -> Study:
        """The same with some fields changed, checked again; CaseError."""
        document = self.model_dump(by_alias=True) | changes
        return toml.validate(type(self), document, "study", CaseError, PAGE)

    @property
    def number(self) -> int:
        """Designs on the grid, counted without making them."""
        out = 1
        for values in self.grid.values():
            out *= len(values)
        return out

    @property
    def fits(self) -> int:
        """Fits in all."""
        return self.number * self.replicates * self.each

    @property
    def each(self) -> int:
        """Fits of a replicate: batches have one profile, baselines neither method nor profile."""
        engines = len(self.engines) * len(self.profiles) - (BATCH in self.engines) * (len(self.profiles) - 1)
        return engines * len(self.methods) + len(self.baselines)

    @property
    def chunks(self) -> int:
        """Chunks in all, counted without making them."""
        return self.number * -(-self.replicates // self.chunk)

    def cells(self) -> Iterator[Cell]:
        """Designs of the grid, the last key varying fastest.

        Raises
        ------
        CaseError
            A grid key that the design does not have, or a design that is not valid.
        """
        for values in product(*self.grid.values()):
            at = dict(zip(self.grid, values, strict=True))
            table, informative = deepcopy(self.design), 0.0
            for name, value in at.items():
                if name == "informative":
                    informative = float(value)
                else:
                    _put(table, name, value)
            yield Cell.of(table, at, informative, self.leaning, self.formula, self.estimands, self.seed)

    def to_json(self) -> str:
        """All of it as text, for another process."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Inverse of `to_json`."""
        return cls.model_validate_json(text)


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted field; an element of a list is meant by its name."""
    *path, last = name.split(".")
    here: Any = table
    for part in path:
        if isinstance(here, list):
            here = next(
                (item for item in here if isinstance(item, Mapping) and item.get("name") == part), None
            )
        else:
            here = here.setdefault(part, {}) if isinstance(here, dict) else None
        if not isinstance(here, dict | list):
            raise CaseError(f"grid.{name}: the design has no {part!r}; mend the key")
    if not isinstance(here, dict):
        raise CaseError(f"grid.{name}: the design has no {last!r}; mend the key")
    here[last] = value
