"""Branch: interval branch and bound, which proves an optimum global where there is one variance.

Over t = Psi in [0, inf). [0, T] is cut into intervals; each is excluded because the derivative has a
sign on it, or because the mean-value form of the criterion lies above the optimum, or because the
criterion is convex there and the proven optimum lies in it. Beyond T: log|V0| + rho log|W_xx| does not
decrease (its derivative is tr(P ZZ') >= 0) and r2 is at least the residual sum of squares of the
regression on X and Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from bridge.balls import corner, evaluate, remainder
from bridge.fit import Method
from bridge.model import Model
from bridge.sums import Sums, exact, precision

if TYPE_CHECKING:
    from flint import arb, arb_mat

INTERVALS = 5_000
"""Evaluations after which the search gives up."""
WORK = 500_000
"""Evaluations times cells of the data, likewise."""
GROWTH = 60
"""Times that T is multiplied by 16 to find where the tail lies above the optimum."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What branch and bound found.

    Attributes
    ----------
    proven : bool
        No t outside the optimum's neighbourhood has a criterion as low.
    why : str
        Where not proven.
    better : float or None
        A t whose criterion is certainly lower.
    """

    proven: bool
    why: str = ""
    better: float | None = None


def applies(model: Model) -> bool:
    """Whether the model has exactly one variance parameter."""
    return len(model.random) == 1 and model.random[0].Z.shape[1] == 1


@dataclass(frozen=True, eq=False, slots=True)
class Search:
    """Branch and bound against one proven optimum.

    Attributes
    ----------
    best : arb
        Box of its t, exactly 0 on the boundary.
    value : arb
        Its criterion.
    """

    sums: Sums
    method: Method
    best: arb
    value: arb

    def run(self) -> Verdict:
        """Search all of [0, inf)."""
        with precision(self.sums.bits):
            at_zero = bool(self.best == 0)
            start = 1.0 if at_zero else float(self.best) * 4
            far = self.tail(start)
            if far is None:
                return Verdict(False, "no T was found beyond which the criterion stays above the optimum")
            todo: list[tuple[float, float]] = []
            if at_zero:
                todo.append((0.0, far))
            else:
                near = self.basin()
                if near is None:
                    return Verdict(False, "the criterion is not certainly convex near the optimum")
                todo += [(near[1], far), (0.0, near[0])]
            return self.exclude(todo)

    def exclude(self, todo: list[tuple[float, float]]) -> Verdict:
        """Exclude every interval, halving those that cannot be."""
        limit = min(INTERVALS, WORK // max(1, len(self.sums.cells)))
        for _ in range(limit):
            if not todo:
                return Verdict(True)
            low, high = todo.pop()
            middle = low + (high - low) / 2 if high < 4 * low else (low * high) ** 0.5 if low else high / 16
            if not low < middle < high:
                return Verdict(False, f"an interval at t = {low:.6g} could not be excluded")
            below = self.value_at(middle)
            if below < self.value:
                return Verdict(False, "a lower point was found", middle)
            if not self.excluded(low, high, middle, below):
                todo += [(middle, high), (low, middle)]
        return Verdict(False, f"{limit} intervals did not suffice")

    def excluded(self, low: float, high: float, middle: float, at_middle: arb) -> bool:
        """Whether no t in [low, high] beats the optimum."""
        from flint import arb

        box = arb(low).union(arb(high))
        try:
            slope = evaluate(self.sums, self.method, [_scalar(box)], curvature=False).gamma[0][0, 0]
        except ZeroDivisionError:
            return False
        if slope < 0 and low == 0:
            return True
        if slope > 0 and low == 0:
            return bool(self.best == 0) or bool(self.value_at(0.0) > self.value)
        if slope < 0 or slope > 0:
            return True
        return bool((at_middle + slope * (box - arb(middle))) > self.value)

    def value_at(self, t: float) -> arb:
        """Criterion at one t."""
        from flint import arb

        return evaluate(self.sums, self.method, [_scalar(arb(t))], curvature=False).value()

    def basin(self) -> tuple[float, float] | None:
        """An interval around the optimum where the second derivative is positive."""
        from flint import arb

        t = float(self.best)
        width = t / 2
        for _ in range(40):
            low, high = t - width, t + width
            box = arb(low).union(arb(high))
            try:
                point = evaluate(self.sums, self.method, [_scalar(box)])
                if point.hessian([(0, exact(np.ones((1, 1))))], {})[0, 0] > 0 and box.contains(self.best):
                    return low, high
            except ZeroDivisionError:
                pass
            width /= 2
        return None

    def tail(self, start: float) -> float | None:
        """T beyond which the criterion stays above the optimum."""
        from flint import arb

        rest = residual(self.sums)
        if rest is None or not rest > 0:
            return None
        floor = remainder(self.sums, self.method, rest)
        t = start
        for _ in range(GROWTH):
            point = evaluate(self.sums, self.method, [_scalar(arb(t))], curvature=False)
            if point.volume() + floor > self.value:
                return t
            t *= 16
        return None


def _scalar(t: arb) -> arb_mat:
    from flint import arb_mat

    return arb_mat(1, 1, [t])


def residual(sums: Sums) -> arb | None:
    """Residual sum of squares of y on X and Z, the Structure's unit; None if X is not surely regular."""
    from flint import arb_mat

    model, width = sums.structure.model, sums.p + 1
    W = sums.D
    for cell in sums.cells:
        assert cell.pooled is not None
        if cell.C[0, 0] == 0:
            continue
        if not cell.C[0, 0] > 0:
            return None
        W = W - arb_mat(width, width, (cell.pooled * (1 / cell.C[0, 0])).entries())
    back = arb_mat(width, width)
    inverse = sums.T.inv() if sums.p else arb_mat(0, 0)
    for i in range(sums.p):
        for j in range(sums.p):
            back[i, j] = inverse[i, j]
    back[sums.p, sums.p] = 1
    W = back.transpose() * W * back
    kept = [j for j in range(sums.p) if not _absorbed(model, j)]
    whole = arb_mat([[W[i, j] for j in [*kept, sums.p]] for i in [*kept, sums.p]])
    if not kept:
        return whole[0, 0]
    try:
        inside = corner(whole, len(kept))
        right = arb_mat(len(kept), 1, [whole[i, len(kept)] for i in range(len(kept))])
        return whole[len(kept), len(kept)] - (right.transpose() * inside.solve(right))[0, 0]
    except ZeroDivisionError:
        return None


def _absorbed(model: Model, column: int) -> bool:
    """Whether a column of X is, within every level, exactly a multiple of the term's column."""
    term = model.random[0]
    x, z = model.X[:, column], term.Z[:, 0]
    first = np.unique(term.index, return_index=True)[1][term.index]
    left, right = x * z[first], x[first] * z
    if not np.allclose(left, right, rtol=1e-14, atol=0):
        return False
    if np.all(z == z[0]):
        return bool(np.all(x == x[first]))
    return all(
        Fraction(a) * Fraction(d) == Fraction(c) * Fraction(b)
        for a, b, c, d in zip(x.tolist(), z.tolist(), x[first].tolist(), z[first].tolist(), strict=True)
    )
