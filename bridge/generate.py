"""Design: a data set drawn from named parameters and a seed, with the truth that it was drawn from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bridge import cholesky, data, toml
from bridge.errors import CaseError
from bridge.fit import Row, schema

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Name = Annotated[str, Field(pattern=r"^[^\W\d]\w*$", strict=True)]
# Squares of larger numbers are near the end of what a double holds.
Number = Annotated[float, Field(strict=True, ge=-1e100, le=1e100, allow_inf_nan=False)]
Sd = Annotated[float, Field(strict=True, ge=0, le=1e100, allow_inf_nan=False)]
Size = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]  # what TOML's integers hold
MOST_ROWS = 10_000_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clusters(_Part):
    """The outermost groups, and what varies between them.

    Attributes
    ----------
    name : str
        Column of labels ``c01``, ``c02``, ... (first letter of `name`, number padded with zeros).
    sizes : tuple of int
        Rows of each cluster; or `number` clusters of `size` rows each, or of these sizes in turn.
    sd : float, optional
        Standard deviation of the random intercept, when it is the only random effect here.
    slopes : tuple of str
        Predictors with a random slope.
    covariance : tuple of tuple of float, optional
        Covariance matrix of (intercept, *slopes), variances on its diagonal.
    """

    name: Name = "cluster"
    sizes: tuple[Size, ...] = ()
    number: Size | None = None
    size: Size | None = None
    sd: Sd | None = None
    slopes: tuple[Name, ...] = ()
    covariance: tuple[tuple[Number, ...], ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Clusters:
        if bool(self.sizes) == (self.size is not None) or (self.size is not None and self.number is None):
            raise ValueError("give either sizes, or number and size, or number and sizes in turn")
        turns, rest = divmod(self._number, len(self._turn))
        rows = turns * sum(self._turn) + sum(self._turn[:rest])
        if rows > MOST_ROWS:
            raise ValueError(f"{rows} rows are more than the {MOST_ROWS} that can be drawn; take fewer")
        if self.slopes and self.covariance is None:
            raise ValueError("slopes need a covariance matrix of (intercept, slopes)")
        if self.covariance is not None:
            if self.sd is not None:
                raise ValueError("give either sd or covariance, not both")
            cholesky.factor(self.covariance, 1 + len(self.slopes))
        return self

    @property
    def counts(self) -> tuple[int, ...]:
        """Rows of each cluster."""
        return tuple(islice(cycle(self._turn), self._number))

    @property
    def _turn(self) -> tuple[int, ...]:
        return self.sizes or (self.size or 0,)

    @property
    def _number(self) -> int:
        return self.number or len(self.sizes)


class Predictor(_Part):
    """A fixed effect's column; or one that is known, weights or an offset, and in no formula.

    Attributes
    ----------
    level : {"cluster", "observation"}
        One value per cluster, or one per row.
    kind : {"binary", "normal", "uniform", "sequence", "cycle"}
        ``binary``: 0, 1, 0, 1, ... along the clusters or along the rows of each cluster (int).
        ``sequence``: start, start + step, ... likewise, ``cycle``: `values` in turn. ``normal`` (mean, sd)
        and ``uniform`` (low, high) are drawn.
    effect : float
        Its coefficient; 1 of an offset.
    role : {"fixed", "weights", "offset"}
        ``weights``: each residual is divided by the root of its row's.
    """

    name: Name
    level: Literal["cluster", "observation"] = "observation"
    kind: Literal["binary", "normal", "uniform", "sequence", "cycle"] = "normal"
    role: Literal["fixed", "weights", "offset"] = "fixed"
    effect: Number = 0.0
    mean: Number = 0.0
    sd: Sd = 1.0
    low: Number = 0.0
    high: Number = 1.0
    start: Number = 0.0
    step: Number = 1.0
    values: tuple[Number, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Predictor:
        if (self.kind == "cycle") != bool(self.values):
            raise ValueError("kind cycle needs values, and no other kind has them")
        low = {"cycle": min(self.values, default=0.0), "uniform": self.low}.get(self.kind, 0.0)
        if self.role == "weights" and low <= 0:
            raise ValueError("weights must be above 0: use kind cycle or uniform with values above 0")
        return self


class Factor(_Part):
    """A further grouping factor with a random intercept.

    Attributes
    ----------
    levels : int
        Levels in all (nested: in each cluster).
    layout : {"crossed", "random", "nested"}
        ``crossed``: row i of the table has level i modulo `levels`. ``random``: each row's level is drawn.
        ``nested``: a cluster's rows are dealt to its levels in turn; every cluster uses the same labels.
    over : str, optional
        Another factor, listed before, not nested: its levels belong to these in turn, level i to level i
        modulo `levels` (lecturers to departments); in place of a layout.
    sd : float
        Standard deviation of its random intercept.
    """

    name: Name
    levels: Size
    layout: Literal["crossed", "random", "nested"] = "crossed"
    over: Name | None = None
    sd: Sd


class Design(_Part):
    """How to draw a data set. Same design and seed, same data.

    The draws, from ``numpy.random.default_rng(seed)``, in this order: (1) predictors of kind normal or
    uniform, as listed, each ``rng.normal(mean, sd, m)`` or ``rng.uniform(low, high, m)``; (2) levels of
    factors with layout random, as listed, ``rng.integers(levels, size=N)``; (3) the clusters' random
    effects ``Z = rng.standard_normal((J, k))``, b = Z L' with L the lower Cholesky factor of their
    covariance; (4) those of each factor as listed, ``rng.normal(0, sd, levels)`` (nested: cluster by
    cluster); (5) residuals ``rng.normal(0, residual_sd, N)``, over the roots of weights. Then
    y = intercept + effects + clusters' random effects + factors' + residual, summed from left to right.

    Attributes
    ----------
    clusters : Clusters
    predictors : tuple of Predictor
    factors : tuple of Factor
    response : str
    intercept : float
    residual_sd : float, optional
    icc, total_variance : float, optional
        Instead of clusters.sd and residual_sd: sd^2 = icc * total, residual_sd^2 = (1 - icc) * total.
    seed : int
    """

    clusters: Clusters
    predictors: tuple[Predictor, ...] = ()
    factors: tuple[Factor, ...] = ()
    response: Name = "y"
    intercept: Number = 0.0
    residual_sd: Sd | None = None
    icc: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    total_variance: Annotated[float, Field(strict=True, gt=0, le=1e200, allow_inf_nan=False)] = 1.0
    seed: Seed

    @model_validator(mode="after")
    def _check(self) -> Design:
        names = [self.response, self.clusters.name, *(p.name for p in self.predictors)]
        names += [f.name for f in self.factors]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise ValueError(f"the name {double!r} is used twice; rename one")
        for role in ("weights", "offset"):
            if sum(p.role == role for p in self.predictors) > 1:
                raise ValueError(f"predictors: two have the role {role}; keep one")
        for slope in self.clusters.slopes:
            if slope not in [p.name for p in self.predictors]:
                raise ValueError(f"clusters.slopes: {slope!r} is not a predictor; add it to predictors")
        for i, f in enumerate(self.factors):
            before = [other.name for other in self.factors[:i] if other.layout != "nested"]
            if f.over is not None and f.over not in before:
                raise ValueError(
                    f"factors: {f.name} is over {f.over!r}, no factor before it; list that first, not nested"
                )
            if f.over is not None and f.layout != "crossed":
                raise ValueError(f"factors: {f.name} has layout and over; keep one")
            if _groups(f, len(self.clusters.counts)) > MOST_ROWS:
                raise ValueError(f"factors: {f.name} has more than {MOST_ROWS} levels; take fewer")
        own = self.clusters.sd is not None or self.clusters.covariance is not None
        if self.icc is None and (self.residual_sd is None or not own):
            raise ValueError("give icc, or residual_sd with clusters.sd or clusters.covariance")
        if self.icc is not None and (self.residual_sd is not None or own):
            raise ValueError("icc sets clusters.sd and residual_sd; give icc or those, not both")
        return self

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: object = "design") -> Design:
        """Design from a TOML table; CaseError naming `where` and the field."""
        return toml.validate(cls, table, where, CaseError)

    def to_table(self) -> dict[str, Any]:
        """TOML table that `from_table` reads back."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def covariance(self) -> tuple[tuple[float, ...], ...]:
        """Covariance matrix of the clusters' (intercept, slopes)."""
        if self.clusters.covariance is not None:
            return self.clusters.covariance
        if self.icc is not None:
            return ((self.icc * self.total_variance,),)
        return (((self.clusters.sd or 0.0) ** 2,),)

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        if self.icc is not None:
            return math.sqrt((1 - self.icc) * self.total_variance)
        return self.residual_sd or 0.0

    @property
    def formula(self) -> str:
        """The model that was drawn from, in lme4's language."""
        fixed = " + ".join(["1", *(p.name for p in self.predictors if p.role == "fixed")])
        terms = [f"({' + '.join(['1', *self.clusters.slopes])} | {self.clusters.name})"]
        terms += [f"(1 | {_group(f, self.clusters)})" for f in self.factors]
        return f"{self.response} ~ {' + '.join([fixed, *terms])}"

    def known(self) -> dict[str, str]:
        """Names of the columns of weights and offset by role, those that there are."""
        return {p.role: p.name for p in self.predictors if p.role != "fixed"}

    def draw(self) -> Drawn:
        """Data and truth."""
        rng = np.random.default_rng(self.seed)
        counts = np.array(self.clusters.counts)
        cluster = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(cluster)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = {p.name: _column(p, rng, cluster, within, len(counts)) for p in self.predictors}
        levels: dict[str, Ints] = {}
        for f in self.factors:
            levels[f.name] = _levels(f, rng, cluster, within) if f.over is None else levels[f.over] % f.levels

        L = self._cholesky()
        z = rng.standard_normal((len(counts), len(L)))
        b = np.column_stack([cholesky.combine(L[i][: i + 1], z.T) for i in range(len(L))])
        offsets = {f.name: rng.normal(0, f.sd, _groups(f, len(counts))) for f in self.factors}
        residual = rng.normal(0, self.sigma, len(cluster))

        y = np.full(len(cluster), self.intercept)
        for p in self.predictors:
            if p.role == "weights":
                residual = residual / np.sqrt(columns[p.name])
            else:
                y = y + (1.0 if p.role == "offset" else p.effect) * columns[p.name]
        for k, name in enumerate([None, *self.clusters.slopes]):
            y = y + (b[cluster, k] if name is None else b[cluster, k] * columns[name])
        for f in self.factors:
            y = y + offsets[f.name][levels[f.name] + (cluster * f.levels if f.layout == "nested" else 0)]
        y = y + residual
        return Drawn(self._frame(y, columns, cluster, levels), self._truth(b, offsets))

    def write(self, folder: str | os.PathLike[str]) -> Drawn:
        """Draw, and write data.parquet and truth.parquet into an existing folder."""
        drawn = self.draw()
        drawn.write(folder)
        return drawn

    def _cholesky(self) -> list[list[float]]:
        # The sd itself, not the root of its square, so that draws equal rng.normal(0, sd, J) to the bit.
        if self.clusters.sd is not None:
            return [[self.clusters.sd]]
        return cholesky.factor(self.covariance, 1 + len(self.clusters.slopes))

    def _frame(
        self, y: Floats, columns: Mapping[str, NDArray[Any]], cluster: Ints, levels: Mapping[str, Ints]
    ) -> pd.DataFrame:
        import pandas as pd

        parts: dict[str, Any] = {self.response: y, **columns}
        for name, codes, labels in [
            (self.clusters.name, cluster, _labels(self.clusters.name, len(self.clusters.counts))),
            *((f.name, levels[f.name], _labels(f.name, f.levels)) for f in self.factors),
        ]:
            parts[name] = pd.Categorical.from_codes(codes, categories=labels)
        return data.normalise(pd.DataFrame(parts), "design")

    def _truth(self, b: Floats, offsets: Mapping[str, Floats]) -> tuple[Row, ...]:
        names = ("(Intercept)", *self.clusters.slopes)
        group, clusters = self.clusters.name, _labels(self.clusters.name, len(b))
        rows = [Row("fixed", "(Intercept)", self.intercept)]
        rows += [Row("fixed", p.name, p.effect) for p in self.predictors if p.role == "fixed"]
        for i, one in enumerate(names):
            rows.append(Row("ran_pars", f"var__{one}", self.covariance[i][i], group))
            for j in range(i + 1, len(names)):
                rows.append(Row("ran_pars", f"cov__{one}.{names[j]}", self.covariance[j][i], group))
        rows += [
            Row("ran_vals", name, float(b[j, k]), group, (label,))
            for j, label in enumerate(clusters)
            for k, name in enumerate(names)
        ]
        for f in self.factors:
            where, labels = _group(f, self.clusters), _labels(f.name, f.levels)
            inner = [(label, outer) for outer in clusters for label in labels]
            keys = inner if f.layout == "nested" else [(label,) for label in labels]
            rows.append(Row("ran_pars", "var__(Intercept)", f.sd**2, where))
            rows += [
                Row("ran_vals", "(Intercept)", float(value), where, key)
                for key, value in zip(keys, offsets[f.name], strict=True)
            ]
        return (*rows, Row("ran_pars", "var__Observation", self.sigma**2, "Residual"))


@dataclass(frozen=True, eq=False)
class Drawn:
    """A data set and the truth it was drawn from.

    Attributes
    ----------
    frame : DataFrame
        Normalised: response, predictors, cluster, factors.
    truth : tuple of Row
        Named as a Fit names its estimates (variance scale), so that the two join by label.
    """

    frame: pd.DataFrame
    truth: tuple[Row, ...]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """data.parquet and truth.parquet into an existing folder, each atomically; StoreError."""
        import pyarrow as pa

        fields = schema().field("rows").type.value_type
        table = pa.Table.from_pylist([row._asdict() for row in self.truth], schema=pa.schema(list(fields)))
        data.write(self.frame, Path(folder) / "data.parquet")
        data.write_table(table.drop_columns(["std_error"]), Path(folder) / "truth.parquet")


def _column(p: Predictor, rng: np.random.Generator, cluster: Ints, within: Ints, number: int) -> NDArray[Any]:
    """A predictor's value in each row."""
    place = np.arange(number) if p.level == "cluster" else within
    values: NDArray[Any]
    if p.kind == "binary":
        values = place.astype(np.int64) % 2
    elif p.kind == "sequence":
        values = p.start + p.step * place
    elif p.kind == "cycle":
        values = np.array(p.values)[place % len(p.values)]
    elif p.kind == "normal":
        values = rng.normal(p.mean, p.sd, len(place))
    else:
        values = rng.uniform(p.low, p.high, len(place))
    return values[cluster] if p.level == "cluster" else values


def _levels(f: Factor, rng: np.random.Generator, cluster: Ints, within: Ints) -> Ints:
    """A factor's level in each row."""
    if f.layout == "random":
        return rng.integers(f.levels, size=len(cluster)).astype(np.intp)
    return (within if f.layout == "nested" else np.arange(len(cluster))) % f.levels


def _groups(f: Factor, clusters: int) -> int:
    return f.levels * (clusters if f.layout == "nested" else 1)


def _group(f: Factor, clusters: Clusters) -> str:
    """lme4's name of the factor's groups."""
    return f"{f.name}:{clusters.name}" if f.layout == "nested" else f.name


def _labels(name: str, number: int) -> list[str]:
    width = len(str(number))
    return [f"{name[0]}{i:0{width}d}" for i in range(1, number + 1)]
