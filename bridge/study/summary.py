"""Summary: ADEMP measures of a study, chunk by chunk, in memory that does not grow with replicates.

Morris, White & Crowther (2019), doi 10.1002/sim.8086, table 6: each measure with its Monte Carlo standard
error. Beside them verdicts, and the share of silent failures with Wilson's interval.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.study.cell import Cell
from bridge.study.chunk import Chunk
from bridge.study.folder import Folder
from bridge.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from bridge.model import Vector

LEVEL = 0.95
WORST = 5
"""Failures of each engine and verdict that are kept whole, as candidate cases."""
SHOWN = 300
"""Intervals of each row of the summary that are kept for the zip plot: those of the first replicates."""
INTERVALS = ("wald z", "t", "satterthwaite", "kenward-roger")
Key = tuple[int, str, str, str, str]
"""Place on the grid, engine, method, profile, estimand."""


@dataclass
class Tally:
    """Sums over the replicates of one row of the summary.

    Attributes
    ----------
    n : int
        Replicates with an estimate.
    powers : (4,) array
        Sums of the first four powers of estimate - truth.
    variances : (3,) array
        Number, sum and sum of squares of squared standard errors.
    covered, tried : mapping of str to int
        Intervals of each kind that hold the truth, and that there are.
    """

    truth: float
    replicates: int = 0
    n: int = 0
    powers: Vector = field(default_factory=lambda: np.zeros(4))
    variances: Vector = field(default_factory=lambda: np.zeros(3))
    covered: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    converged: int = 0
    singular: int = 0
    silent: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    shown: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, rows: Mapping[str, Any]) -> None:
        """Rows of one chunk as arrays."""
        estimate, error = rows["estimate"], rows["std_error"]
        self.replicates += len(estimate)
        good = np.isfinite(estimate)
        off = (estimate - self.truth)[good]
        self.n += len(off)
        self.powers += [float((off**k).sum()) for k in (1, 2, 3, 4)]
        v = error[np.isfinite(error)] ** 2
        self.variances += [len(v), float(v.sum()), float((v * v).sum())]
        for kind, (low, high) in intervals(rows).items():
            there = np.isfinite(low) & np.isfinite(high)
            self.tried[kind] += int(there.sum())
            self.covered[kind] += int((there & (low <= self.truth) & (self.truth <= high)).sum())
        for name in ("converged", "singular", "silent"):
            setattr(self, name, getattr(self, name) + int(rows[name].sum()))
        self.verdicts.update(v for v in rows["verdict"] if v is not None)
        room = SHOWN - len(self.shown)
        if room > 0:
            low, high = intervals(rows).get("t", (estimate, estimate))
            self.shown += list(zip(*(a[:room].tolist() for a in (estimate, low, high)), strict=True))

    def measures(self) -> dict[str, Any]:
        """Bias, precision, coverage, convergence and agreement, each with its Monte Carlo error."""
        n = self.n
        out: dict[str, Any] = {"truth": self.truth, "replicates": self.replicates, "estimates": n}
        if n > 1:
            m = self.powers / n
            variance = max(m[1] - m[0] ** 2, 0.0) * n / (n - 1)
            sd = math.sqrt(variance)
            mse_error = math.sqrt(max(m[3] - m[1] ** 2, 0.0) / (n - 1))
            rmse = math.sqrt(m[1])
            out |= {"bias": m[0], "bias_mcse": sd / math.sqrt(n)}
            out |= {"empirical_se": sd, "empirical_se_mcse": sd / math.sqrt(2 * (n - 1))}
            out |= {"rmse": rmse, "rmse_mcse": mse_error / (2 * rmse) if rmse else 0.0}
        k, total, squares = self.variances
        if k > 1 and total > 0:
            mean = total / k
            spread = max(squares / k - mean**2, 0.0) * k / (k - 1)
            out |= {"model_se": math.sqrt(mean), "model_se_mcse": math.sqrt(spread / (4 * k * mean))}
        for kind in INTERVALS:
            if self.tried[kind]:
                name, share = kind.replace(" ", "_").replace("-", "_"), self.covered[kind] / self.tried[kind]
                out |= {f"coverage_{name}": share, f"coverage_{name}_n": self.tried[kind]}
                out[f"coverage_{name}_mcse"] = math.sqrt(share * (1 - share) / self.tried[kind])
        for name in ("converged", "singular"):
            share = getattr(self, name) / max(self.replicates, 1)
            out |= {name: share, f"{name}_mcse": math.sqrt(share * (1 - share) / max(self.replicates, 1))}
        judged = sum(count for name, count in self.verdicts.items() if not Verdict(name).neutral)
        if self.verdicts:
            out |= {f"verdict_{name}": count for name, count in sorted(self.verdicts.items())}
        if judged:
            low, high = wilson(self.silent, judged)
            out |= {"judged": judged, "silent": self.silent / judged, "silent_low": low, "silent_high": high}
        return out


def intervals(rows: Mapping[str, Any]) -> dict[str, tuple[Vector, Vector]]:
    """95 % intervals of each kind that the rows allow; NaN where one is not defined."""
    from scipy.stats import norm, t

    tail = (1 + LEVEL) / 2
    estimate, error = rows["estimate"], rows["std_error"]

    def students(width: Vector, df: Vector) -> tuple[Vector, Vector]:
        unique, index = np.unique(np.where(df > 0, df, np.nan), return_inverse=True)
        half = width * t.ppf(tail, unique)[index]
        return estimate - half, estimate + half

    out = {"wald z": (estimate - norm.ppf(tail) * error, estimate + norm.ppf(tail) * error)}
    out["t"] = students(error, rows["between_df"])
    if np.isfinite(rows["df"]).any():
        out["satterthwaite"] = students(error, rows["df"])
    if np.isfinite(rows["adjusted_df"]).any():
        out["kenward-roger"] = students(rows["adjusted_error"], rows["adjusted_df"])
    return out


def wilson(count: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score."""
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


@dataclass
class Summary:
    """A study's tallies, and its worst replicates.

    Attributes
    ----------
    tallies : dict of Key to Tally
    worst : dict of (engine, verdict) to heap of (badness, place, replicate, reason, method, profile)
    """

    cells: Sequence[Cell]
    tallies: dict[Key, Tally] = field(default_factory=dict)
    worst: dict[tuple[str, str], list[tuple[Any, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Folder, cells: Sequence[Cell], chunks: Iterable[Chunk]) -> Summary:
        """Of the finished ones among these chunks, one file at a time."""
        import pyarrow.parquet as pq

        out = cls(cells)
        for chunk in chunks:
            if folder.done(cells[chunk.place], chunk):
                with pq.ParquetFile(folder.file(cells[chunk.place], chunk)) as file:
                    out.add(chunk.place, file.read())
        return out

    def add(self, place: int, table: pa.Table) -> None:
        """A chunk's rows."""
        names = ("engine", "method", "profile", "estimand")
        frame = table.to_pandas()
        numbers = [n for n in frame if frame[n].dtype == float]
        for key, rows in frame.groupby(list(names), observed=True, sort=False):
            engine, method, profile, estimand = (str(part) for part in key)
            where = place, engine, method, profile, estimand
            truth = self.cells[place].truths[estimand][1]
            columns = {n: rows[n].to_numpy(float) for n in numbers}
            for flag in ("converged", "singular", "silent"):
                columns[flag] = rows[flag].fillna(False).to_numpy(bool)
            columns["verdict"] = [v if isinstance(v, str) else None for v in rows["verdict"]]
            self.tallies.setdefault(where, Tally(truth)).add(columns)
            if estimand == next(iter(self.cells[place].truths)):
                self._worst(where, rows)

    def _worst(self, where: Key, rows: Any) -> None:
        place, engine, method, profile, _ = where
        failed = rows[rows["reason"].fillna("") != ""]
        columns = ("replicate", "gap", "silent", "verdict", "reason")
        for replicate, gap, silent, verdict, reason in failed[list(columns)].itertuples(index=False):
            size = math.inf if not math.isfinite(gap) else abs(gap)
            item = ((bool(silent), size), place, int(replicate), str(reason), method, profile)
            heap = self.worst.setdefault((engine, str(verdict)), [])
            (heapq.heappush if len(heap) < WORST else heapq.heappushpop)(heap, item)

    def records(self) -> list[dict[str, Any]]:
        """A row for each tally: place on the grid, who, what, and the measures."""
        found = []
        for (place, engine, method, profile, estimand), tally in sorted(self.tallies.items()):
            who = {"engine": engine, "method": method, "profile": profile, "estimand": estimand}
            at = {
                name: v if isinstance(v, int | float) else str(v) for name, v in self.cells[place].at.items()
            }
            found.append({"design": place, **at, **who, **tally.measures()})
        return found
