"""Descent: theta at the lowest value of the profiled criterion, to the last digit that it has.

Trust-region Newton on the analytic gradient and Hessian, from several
starts. The criterion is even in each column of Lambda, so nothing is bounded; a zero column is always
stationary, and the Gamma test tells an optimum on the boundary from a saddle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import lapack

from bridge.engines.deviance import Point, point, values
from bridge.engines.products import Products, Term
from bridge.model import Matrix, Vector

LINE = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4])
COARSE = [3, 7]
FEW = 12  # levels: with ten, 6 of 300 random slopes had a lower optimum than the one that c I leads to
BOUNDARY = 1e-11  # Gamma, relative to the parts that it is the difference of: rounding is 1e-15 to 1e-13
POLISHED = 1e-6  # step below which a gradient that does not fall is rounding
SMALL = 0.05  # a column of Lambda that may be zero


@dataclass(frozen=True, eq=False, slots=True)
class Optimum:
    """Where a descent ended.

    Attributes
    ----------
    at : Point
    converged : bool
        The next Newton step would gain less than rounding.
    """

    at: Point
    converged: bool

    @property
    def theta(self) -> Vector:
        """Where."""
        return self.at.theta

    @property
    def value(self) -> float:
        """The criterion, minus twice the log-likelihood."""
        return self.at.value


def units(prepared: Products, theta: Vector) -> Vector:
    """Natural size of each entry of theta: the sd of its coefficient, at least .1."""
    out = np.empty_like(theta)
    for term in prepared.terms:
        rows = np.sqrt((term.factor(theta) ** 2).sum(1))
        out[term.theta] = np.maximum(rows, 0.1)[term.tril[0]]
    return out


def length(v: Vector) -> float:
    """Euclidean norm; numpy's own takes four times as long on three numbers."""
    return math.sqrt(float(v @ v))


def newton_step(gradient: Vector, hessian: Matrix, radius: float) -> tuple[Vector, float]:
    """Minimiser of the quadratic model within the radius, and the decrease that it promises."""
    L, s, bad = lapack.dposv(hessian, -gradient)
    if not bad and length(s) <= radius:
        pivots = L.diagonal()
        if pivots.min() > 1e-5 * pivots.max():
            return s, -0.5 * float(gradient @ s)
    w, V = np.linalg.eigh(hessian)
    g = V.T @ gradient
    g = np.where(np.abs(w) > 1e-12 * np.abs(w).max(), g, 0.0)
    used = g != 0

    def shifted(by: float) -> Vector:
        return -np.divide(g, w + by, out=np.zeros_like(g), where=used)

    low = max(0.0, -float(w[0]))
    s = shifted(0.0)
    if low > 0 or length(s) > radius:
        high = low + length(g) / radius + 1e-300
        for _ in range(8):
            middle = (low + high) / 2
            low, high = (middle, high) if length(shifted(middle)) > radius else (low, middle)
        s = shifted(high)
    return V @ s, -float(g @ s + 0.5 * (w * s) @ s)


def secant(step: Vector, missed: Vector) -> Matrix:
    """Symmetric rank-one correction to a Hessian that missed part of the gradient's change over a step."""
    inner = float(missed @ step)
    if abs(inner) <= 0.1 * length(missed) * length(step):
        return np.zeros((len(step),) * 2)
    return np.multiply.outer(missed, missed) / inner


def attempted(prepared: Products, theta: Vector, hessian: bool = True) -> Point | None:
    """The point at theta, or None where it is out of reach."""
    try:
        return point(prepared, theta, hessian)
    except np.linalg.LinAlgError:
        return None


def descend(prepared: Products, here: Point) -> Optimum:
    """Newton within a trust region (relative to `units`), until only rounding is left.

    Where the Hessian is the average information alone, secants make up for what it lacks.
    """
    radius, exact = 1.0, not prepared.large
    correction, converged = np.zeros((prepared.d, prepared.d)), False
    for _ in range(200):
        unit = units(prepared, here.theta)
        gradient = here.gradient * unit
        assert here.hessian is not None
        hessian = (here.hessian + correction) * np.multiply.outer(unit, unit)
        step, gain = newton_step(gradient, hessian, radius)
        rounding = 1e-12 * (1 + abs(here.value))
        converged = gain <= rounding
        if converged and settled(here, gradient, unit):
            break
        new = attempted(prepared, here.theta + unit * step)
        if new is None:
            radius = length(step) / 4
            continue
        if not exact:
            assert new.hessian is not None
            moved = new.theta - here.theta
            missed = new.gradient - here.gradient - (new.hessian + correction) @ moved
            correction = correction + secant(moved, missed)
        size = length(step)
        if converged:
            closer = length(new.gradient * unit) < 0.5 * length(gradient)
            if not (closer and new.value <= here.value + 100 * rounding):
                if size < POLISHED:
                    break
                radius = size / 2
                continue
        else:
            ratio = (here.value - new.value) / gain
            if not ratio > 1e-3:
                radius = size / 4
                if radius < 1e-12:
                    break
                continue
            if ratio < 0.25:
                radius = size / 2
            elif ratio > 0.75 and size > 0.9 * radius:
                radius *= 3
        here = new
        if converged and size < (1e-8 if exact else 1e-10):
            break
    return Optimum(here, converged)


def settled(at: Point, gradient: Vector, unit: Vector) -> bool:
    """Whether the gradient is no more than the rounding of the parts that it is the difference of."""
    return length(gradient) <= 4e-16 * max(at.noise) * float(unit.max())


def settle(prepared: Products, start: Point) -> Optimum:
    """Descend, put small columns of Lambda at exactly zero where that is the optimum, leave saddles."""
    here = descend(prepared, start)
    for _ in range(2 * prepared.d + 1):
        size = sizes(prepared, here.theta)
        if size.min() > SMALL:
            return here
        faced = np.where(size > SMALL, here.theta, 0.0)
        same = bool((faced == here.theta).all())
        at = here.at if same else point(prepared, faced)
        saddle = unstable(prepared, faced, at)
        if saddle is None:
            if same:
                return here
            there = descend(prepared, at)
            return there if there.value <= here.value + 1e-9 * (1 + abs(here.value)) else here
        there = descend(prepared, point(prepared, escape(prepared, faced, *saddle)))
        better = there.value < here.value - 1e-9 * (1 + abs(here.value))
        if there.converged and there.value <= here.value + 1e-12 * (1 + abs(here.value)):
            here = there
        if not better:
            return here
    return here


def sizes(prepared: Products, theta: Vector) -> Vector:
    """Norm of the column of Lambda that each entry of theta is in."""
    out = np.empty_like(theta)
    for term in prepared.terms:
        column = term.tril[1]
        out[term.theta] = np.sqrt(np.bincount(column, theta[term.theta] ** 2))[column]
    return out


def unstable(prepared: Products, theta: Vector, at: Point) -> tuple[Term, Vector] | None:
    """A term on the boundary whose Gamma has a negative direction, with that direction."""
    size = sizes(prepared, theta)
    for term, gamma, noise in zip(prepared.terms, at.gamma, at.noise, strict=True):
        if size[term.theta].all():
            continue
        w, V = np.linalg.eigh(gamma)
        if w[0] < -BOUNDARY * noise:
            return term, V[:, 0]
    return None


def widened(term: Term, factor: Matrix, square: float, direction: Vector) -> Vector:
    """A term's theta for Lambda Lambda' + square vv'."""
    stacked = np.vstack([factor.T, np.sqrt(square) * direction])
    theta: Vector = np.linalg.qr(stacked).R.T[term.tril]
    return theta


def escape(prepared: Products, theta: Vector, term: Term, direction: Vector) -> Vector:
    """Theta with G + a^2 vv' in place of a term's G; a^2 where v'Gamma v crosses zero."""
    factor, place = term.factor(theta), prepared.terms.index(term)

    def slope(square: float) -> float:
        out[term.theta] = widened(term, factor, square, direction)
        at = attempted(prepared, out, False)
        return math.inf if at is None else float(direction @ at.gamma[place] @ direction)

    out, low, high = theta.copy(), 1e-10, 1e6
    while high > 2 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    slope(low)
    return out


def starts(prepared: Products, moments: float, many: bool) -> Iterator[Vector]:
    """Beside moments: local minima on the line of theta = c I, unless that has only one, and higher.

    Where slopes vary over few levels other shapes of Lambda, too. `many`: these for all terms, and 0 and
    .1, 1, 10 per term.
    """
    terms = prepared.terms
    identity = np.concatenate([(t.tril[0] == t.tril[1]).astype(float) for t in terms])
    line = (LINE[COARSE] if prepared.heavy else LINE)[:, None] * identity
    value = values(prepared, line)
    padded = np.array([np.inf, *value, np.inf])
    low = np.flatnonzero((padded[1:-1] <= padded[:-2]) & (padded[1:-1] < padded[2:]))
    if len(low) > 1 or not moments <= value.min():
        yield from line[low]
    for term in terms:
        if term.k > 1 and (many or term.q <= FEW) and not prepared.heavy:
            for diagonal in (*(np.ones(term.k) + 9 * np.eye(term.k)), *(1 - 0.9 * np.eye(term.k))[1:]):
                theta = identity.copy()
                theta[term.theta] *= diagonal[term.tril[0]]
                yield theta
    if many:
        shapes = product((0.1, 1.0, 10.0), repeat=len(terms)) if len(terms) < 4 else ()
        lone = (tuple(float(t is not u) for u in terms) for t in terms)
        for sizes in (*shapes, *lone):
            theta = identity.copy()
            for term, size in zip(terms, sizes, strict=True):
                theta[term.theta] *= size
            yield theta


def balanced(prepared: Products) -> bool:
    """Whether there is one grouping factor, and all its levels have the same Z_l'Z_l."""
    R = prepared.R
    return len(prepared.blocks) == 1 and bool((np.abs(R - R[..., :1]) <= 1e-12 * abs(R[0, 0, 0])).all())


def optimum(prepared: Products, many: bool = False) -> Optimum:
    """The lowest point found from all starts; moments alone where data are balanced and these are it."""
    if not many and balanced(prepared):
        at = attempted(prepared, prepared.start, False)
        if at is not None:
            unit = units(prepared, at.theta)
            if settled(at, at.gradient * unit, unit):
                return Optimum(at, True)
    first = attempted(prepared, prepared.start)
    found = [] if first is None else [settle(prepared, first)]
    for theta in starts(prepared, math.inf if first is None else first.value, many):
        found.append(settle(prepared, point(prepared, theta)))
    return min(found, key=lambda o: o.value)
