"""Descent: theta at the lowest value of the profiled criterion, to the last digit that it has.

Trust-region Newton on the analytic gradient (the Hessian from its differences, in one pass), from several
starts. The criterion is even in each column of Lambda, so nothing is bounded; a zero column is always
stationary, and the Gamma test tells an optimum on the boundary from a saddle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from bridge.engines.products import CHUNK, Products, Term, Values
from bridge.model import Matrix, Vector

LINE = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4])
BOUNDARY = 1e-11  # Gamma, relative to the parts that it is the difference of: rounding is 1e-15 to 1e-13
SMALL = 0.05  # a column of Lambda that may be zero


@dataclass(frozen=True, eq=False, slots=True)
class Optimum:
    """Where a descent ended.

    Attributes
    ----------
    theta : (d,) array
    value : float
        The criterion, minus twice the log-likelihood.
    converged : bool
        The next Newton step would gain less than rounding.
    """

    theta: Vector
    value: float
    converged: bool


def evaluate(prepared: Products, thetas: Matrix) -> Values:
    """`Products.values` in passes that fit in memory; Inf where theta is out of reach."""
    q, k, m = prepared.C.shape
    size = max(1, CHUNK // (q * k * (k + m)))
    if len(thetas) <= size:
        try:
            return prepared.values(thetas)
        except np.linalg.LinAlgError:
            if len(thetas) == 1:
                blank = prepared.values(np.zeros_like(thetas))
                return Values(np.array([np.inf]), np.full_like(thetas, np.nan), blank.gamma, blank.noise)
            size = 1
    parts = [evaluate(prepared, thetas[i : i + size]) for i in range(0, len(thetas), size)]
    return Values(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.gradient for part in parts]),
        tuple(np.concatenate(gamma) for gamma in zip(*(part.gamma for part in parts), strict=True)),
        tuple(np.concatenate(noise) for noise in zip(*(part.noise for part in parts), strict=True)),
    )


def units(prepared: Products, theta: Vector) -> Vector:
    """Natural size of each entry of theta: the sd of its coefficient, at least .1."""
    out = np.empty_like(theta)
    for term in prepared.terms:
        rows = np.sqrt((term.factor(theta[None])[0] ** 2).sum(1))
        out[term.theta] = np.maximum(rows, 0.1)[term.tril[0]]
    return out


def length(v: Vector) -> float:
    """Euclidean norm; numpy's own takes four times as long on three numbers."""
    return math.sqrt(float(v @ v))


def newton_step(gradient: Vector, hessian: Matrix, radius: float) -> tuple[Vector, float]:
    """Minimiser of the quadratic model within the radius, and the decrease that it promises."""
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


def descend(prepared: Products, theta: Vector) -> Optimum:
    """Newton within a trust region (relative to `units`), until only rounding is left."""
    d, radius = len(theta), 1.0

    def around(theta: Vector) -> tuple[Vector, float, Vector, Matrix]:
        unit = units(prepared, theta)
        h = 1e-7
        at = evaluate(prepared, theta + np.vstack([np.zeros(d), h * np.diag(unit)]))
        hessian = (at.gradient[1:] - at.gradient[0]) / h * unit
        return unit, float(at.value[0]), at.gradient[0] * unit, (hessian + hessian.T) / 2

    unit, value, gradient, hessian = around(theta)
    converged = False
    for _ in range(200):
        step, gain = newton_step(gradient, hessian, radius)
        rounding = 1e-12 * (1 + abs(value))
        converged = gain <= rounding
        trial = theta + unit * step
        new = around(trial)
        if converged:
            if not (length(new[2]) < 0.5 * length(gradient) and new[1] <= value + 100 * rounding):
                break
        else:
            ratio = (value - new[1]) / gain
            moved = length(step)
            if not ratio > 1e-3:
                radius = moved / 4
                if radius < 1e-12:
                    break
                continue
            if ratio < 0.25:
                radius = moved / 2
            elif ratio > 0.75 and moved > 0.9 * radius:
                radius *= 3
        theta, (unit, value, gradient, hessian) = trial, new
    return Optimum(theta, value, converged)


def settle(prepared: Products, theta: Vector) -> Optimum:
    """Descend, put small columns of Lambda at exactly zero where that is the optimum, leave saddles."""
    here = descend(prepared, theta)
    for _ in range(2 * len(theta) + 1):
        faced = flattened(prepared, here.theta)
        at = evaluate(prepared, faced[None])
        saddle = unstable(prepared, faced, at)
        if saddle is None:
            if (faced == here.theta).all():
                return here
            there = descend(prepared, faced)
            return there if there.value <= here.value + 1e-9 * (1 + abs(here.value)) else here
        there = descend(prepared, escape(prepared, faced, *saddle))
        better = there.value < here.value - 1e-9 * (1 + abs(here.value))
        if there.converged and there.value <= here.value + 1e-12 * (1 + abs(here.value)):
            here = there
        if not better:
            return here
    return here


def flattened(prepared: Products, theta: Vector) -> Vector:
    """Theta with the small columns of each Lambda at zero."""
    out = theta.copy()
    for term in prepared.terms:
        column = np.linalg.norm(term.factor(theta[None])[0], axis=0)
        out[term.theta] *= (column > SMALL)[term.tril[1]]
    return out


def unstable(prepared: Products, theta: Vector, at: Values) -> tuple[Term, Vector] | None:
    """A term on the boundary whose Gamma has a negative direction, with that direction."""
    for term, gamma, noise in zip(prepared.terms, at.gamma, at.noise, strict=True):
        if np.linalg.norm(term.factor(theta[None])[0], axis=0).all():
            continue
        w, V = np.linalg.eigh(gamma[0])
        if w[0] < -BOUNDARY * noise[0]:
            return term, V[:, 0]
    return None


def widened(term: Term, factor: Matrix, square: float, direction: Vector) -> Vector:
    """A term's theta for Lambda Lambda' + square vv'."""
    stacked = np.vstack([factor.T, np.sqrt(square) * direction])
    theta: Vector = np.linalg.qr(stacked).R.T[term.tril]
    return theta


def escape(prepared: Products, theta: Vector, term: Term, direction: Vector) -> Vector:
    """Theta with G + a^2 vv' in place of a term's G; a^2 where v'Gamma v crosses zero."""
    squares = np.logspace(-10, 6, 33)
    factor = term.factor(theta[None])[0]
    thetas = np.repeat(theta[None], len(squares), axis=0)
    for row, square in zip(thetas, squares, strict=True):
        row[term.theta] = widened(term, factor, square, direction)
    at = evaluate(prepared, thetas)
    slope = np.einsum("a,sab,b->s", direction, at.gamma[term.position], direction)
    crossing = np.flatnonzero((slope[:-1] < 0) & (slope[1:] >= 0))
    if not len(crossing):
        best: Vector = thetas[int(np.nanargmin(at.value))]
        return best
    i = int(crossing[0])
    share = slope[i] / (slope[i] - slope[i + 1])
    square = squares[i] + share * (squares[i + 1] - squares[i])
    out = theta.copy()
    out[term.theta] = widened(term, factor, square, direction)
    return out


def starts(prepared: Products, many: bool) -> Iterator[Vector]:
    """Every local minimum on the line of theta = c I; `many`: other shapes too, 0 and .1, 1, 10 per term."""
    terms = prepared.terms
    identity = np.concatenate([(t.tril[0] == t.tril[1]).astype(float) for t in terms])
    line = LINE[:, None] * identity
    value = evaluate(prepared, line).value
    padded = np.concatenate([[np.inf], value, [np.inf]])
    low = np.flatnonzero((value <= padded[:-2]) & (value < padded[2:]))
    yield from line[low]
    if many:
        shapes = product((0.1, 1.0, 10.0), repeat=len(terms)) if len(terms) < 4 else ()
        lone = (tuple(float(t is not u) for u in terms) for t in terms)
        for sizes in (*shapes, *lone):
            theta = identity.copy()
            for term, size in zip(terms, sizes, strict=True):
                theta[term.theta] *= size
            yield theta


def optimum(prepared: Products, many: bool = False) -> Optimum:
    """The lowest point found from all starts."""
    return min((settle(prepared, theta) for theta in starts(prepared, many)), key=lambda o: o.value)
