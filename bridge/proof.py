"""Proof: that a unique stationary point lies in a box, and that it is a local minimum.

Newton in balls to 50 digits, then Krawczyk's operator on the gradient: with m the middle of the box X
and Y near the inverse Hessian, K(X) = m - Y F(m) + (I - Y H(X)) (X - m) strictly inside X proves that X
holds exactly one zero of F. A positive definite interval Hessian over X makes it a minimum among
covariances of its ranks; where a rank is not full, N'Gamma N positive definite over X (N spans the null
space of G) makes it a minimum among all: the criterion rises at once in every direction that leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.balls import Point, evaluate
from bridge.chart import Chart, chart
from bridge.fit import Method
from bridge.model import Matrix
from bridge.sums import Sums, exact, identity

if TYPE_CHECKING:
    from flint import arb, arb_mat

STEPS = 40
"""Newton steps after which the search for a stationary point gives up."""
CLOSE = 1e-50
"""Size of the last step, against the largest parameter of the term: 50 digits."""


@dataclass(frozen=True, eq=False, slots=True)
class Stationary:
    """What was proven near a candidate.

    Attributes
    ----------
    chart : Chart
    box : tuple of arb
        Its parameters.
    point : Point
        The criterion over the box.
    value : arb
    why : str
        Why it is not a proven local minimum; empty if it is.
    saddle : tuple of (int, (k,) array) or None
        Term and direction in which more variance certainly lowers the criterion.
    """

    chart: Chart
    box: tuple[arb, ...]
    point: Point
    value: arb
    why: str = ""
    saddle: tuple[int, np.ndarray] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """No stationary point was found near a candidate."""

    why: str


def prove(sums: Sums, method: Method, where: Chart, x: Sequence[float]) -> Stationary | Lost:
    """Newton from x, then the proof. The caller sets the precision to ``sums.bits``."""
    from flint import arb

    try:
        middle, Y, step = _newton(sums, method, where, [arb(v) for v in x])
        scale = _scales(where, middle)
        tiny = arb(2) ** (-2 * sums.bits // 3)
        radii = [4 * abs(d).upper() + tiny * s for d, s in zip(step, scale, strict=True)]
        return enclosed(sums, method, where, middle, radii, Y, step)
    except ZeroDivisionError:
        return Lost("a matrix is not certainly regular near it")
    except ArithmeticError as error:
        return Lost(str(error))


def refine(sums: Sums, method: Method, where: Chart, x: Sequence[float], steps: int = 2) -> Stationary | Lost:
    """Newton without a proof; the box is ten times the last step, an estimate of the error."""
    from flint import arb

    middle = [arb(v) for v in x]
    try:
        for _ in range(steps):
            F, H, _ = _at(sums, method, where, middle)
            step = (_middle(H).inv() * F).entries()
            middle = [(m - d).mid() for m, d in zip(middle, step, strict=True)]
        box = [arb(m, 10 * abs(d).upper()) for m, d in zip(middle, step, strict=True)] if x else middle
        point = evaluate(sums, method, where.psi(box))
        return Stationary(where, tuple(box), point, point.value())
    except ZeroDivisionError:
        return Lost("a matrix is not certainly regular near it")


def enclosed(
    sums: Sums,
    method: Method,
    where: Chart,
    middle: Sequence[arb],
    radii: Sequence[arb],
    Y: arb_mat,
    step: Sequence[arb],
) -> Stationary:
    """Krawczyk, Hessian and Gamma over the box ``middle +- radii``; `step` is Y F(middle)."""
    from flint import arb, arb_mat

    box = [arb(m, r) for m, r in zip(middle, radii, strict=True)]
    _, H, point = _at(sums, method, where, box)
    value = point.value()

    def because(why: str, saddle: tuple[int, np.ndarray] | None = None) -> Stationary:
        return Stationary(where, tuple(box), point, value, why, saddle)

    if not value.is_finite():
        return because("the criterion is not finite over the box")
    if box:
        d = len(box)
        off = (identity(d) - Y * H) * arb_mat(d, 1, [b - m for b, m in zip(box, middle, strict=True)])
        if not all(abs(off[i, 0] - step[i]) < radii[i] for i in range(d)):
            return because("Krawczyk's operator does not map the box into itself")
        if not definite(H):
            return because("the Hessian is not certainly positive definite over the box")
    for t, N in enumerate(where.null(box)):
        if not N.ncols():
            continue
        A = N.transpose() * point.gamma[t] * N
        if not definite(A):
            vectors = np.linalg.eigh(floats(A))[1]
            v = exact(vectors[:, :1])
            if (v.transpose() * A * v)[0, 0] < 0:
                return because("more variance lowers the criterion", (t, floats(N * v)[:, 0]))
            return because("Gamma is not certainly positive on the null space: zero variance is borderline")
    return because("")


def floats(A: arb_mat) -> Matrix:
    """Middles as float64."""
    return np.array([float(v.mid()) for v in A.entries()]).reshape(A.nrows(), A.ncols())


def definite(A: arb_mat) -> bool:
    """Whether every symmetric matrix in A is certainly positive definite: pivots of L D L'."""
    rows = A.tolist()
    for i in range(len(rows)):
        if not rows[i][i] > 0:
            return False
        for j in range(i + 1, len(rows)):
            ratio = rows[j][i] / rows[i][i]
            rows[j] = [b - ratio * a for a, b in zip(rows[i], rows[j], strict=True)]
    return True


def escape(sums: Sums, method: Method, found: Stationary) -> tuple[Chart, list[float]] | None:
    """A start of higher rank below a saddle: the variance s along its direction that is best."""
    from flint import arb

    if found.saddle is None:
        return None
    t, direction = found.saddle
    along = exact(direction[:, None])
    outer = along * along.transpose()
    base = [_middle(G) for G in found.point.psi]

    def moved(s: arb) -> list[arb_mat]:
        return [G + outer * s if i == t else G for i, G in enumerate(base)]

    s, low, high = arb(0), arb(0), None
    for _ in range(2 * STEPS):
        point = evaluate(sums, method, moved(s))
        slope, curve = point.gradient([(t, outer)])[0].mid(), point.hessian([(t, outer)], {})[0, 0].mid()
        if slope < 0:
            low = s
        else:
            high = s
        if curve > 0 and abs(slope) < curve * s * 1e-6:
            break
        s = (s - slope / curve).mid() if curve > 0 else low * 4 + arb(2) ** -60
        if s <= low or (high is not None and s >= high):
            s = ((low + high) / 2).mid() if high is not None else low * 4 + arb(2) ** -60
    ranks = [r + (i == t) for i, r in enumerate(found.chart.ranks)]
    return chart([floats(G) for G in moved(s)], [0.0] * len(base), ranks)


def _at(sums: Sums, method: Method, where: Chart, x: Sequence[arb]) -> tuple[arb_mat, arb_mat, Point]:
    """Gradient (a column), Hessian and all else."""
    from flint import arb_mat

    point = evaluate(sums, method, where.psi(x))
    first = where.first(x)
    return arb_mat(len(first), 1, point.gradient(first)), point.hessian(first, where.second()), point


def _newton(sums: Sums, method: Method, where: Chart, x: list[arb]) -> tuple[list[arb], arb_mat, list[arb]]:
    """Middle, an approximate inverse Hessian, and the step that is still left there."""
    from flint import arb_mat

    if not x:
        return [], arb_mat(0, 0), []
    Y = None
    for _ in range(STEPS):
        if Y is None:
            F, H, _ = _at(sums, method, where, x)
            inverse = _middle(_middle(H).inv())
        else:
            point = evaluate(sums, method, where.psi(x), curvature=False)
            F = arb_mat(len(x), 1, point.gradient(where.first(x)))
        step = (inverse * F).entries()
        largest = max(float(abs(d).upper() / s) for d, s in zip(step, _scales(where, x), strict=True))
        if not largest < 1e6:
            raise ArithmeticError("Newton's method leaves its neighbourhood")
        if Y is not None and largest < CLOSE:
            return x, Y, step
        if largest < 1e-12:
            Y = inverse
        x = [(v - d).mid() for v, d in zip(x, step, strict=True)]
    raise ArithmeticError(f"{STEPS} Newton steps do not reach 50 digits")


def _scales(where: Chart, x: Sequence[arb]) -> list[arb]:
    """Largest parameter of the same term."""
    out, start = [], 0
    for term in where.terms:
        count = len(term.entries)
        if count:
            own = x[start : start + count]
            out += [max(abs(v) for v in own).mid() + 2**-200] * count
        start += count
    return out


def _middle(A: arb_mat) -> arb_mat:
    return A.mid()
