"""Chart: free parameters of covariances of given rank, and how the covariances depend on them.

A (k, k) covariance of rank r is L L' with L (k, r) lower trapezoidal in an order of rows that
pivots the largest variance left to the front: its first r diagonal entries are not zero, so the
chart is regular, and it has k r - r (r - 1) / 2 parameters, as many as the set of such matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.model import Matrix

if TYPE_CHECKING:
    from flint import arb, arb_mat

Directions = list[tuple[int, "arb_mat"]]


@dataclass(frozen=True, slots=True)
class Trapezoid:
    """One term's factor.

    Attributes
    ----------
    order : tuple of int
        Rows, pivots first; k = len(order).
    rank : int
    """

    order: tuple[int, ...]
    rank: int

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of L of each parameter."""
        return tuple((self.order[i], c) for c in range(self.rank) for i in range(c, len(self.order)))


@dataclass(frozen=True, slots=True)
class Chart:
    """Parameters of all terms, one after another."""

    terms: tuple[Trapezoid, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Of each term's covariance."""
        return tuple(term.rank for term in self.terms)

    @property
    def singular(self) -> bool:
        """Whether a term has less than full rank."""
        return any(term.rank < len(term.order) for term in self.terms)

    def factors(self, x: Sequence[arb]) -> tuple[arb_mat, ...]:
        """(k, r) factors L."""
        from flint import arb_mat

        out, start = [], 0
        for term in self.terms:
            L = arb_mat(len(term.order), term.rank)
            for i, (row, column) in enumerate(term.entries):
                L[row, column] = x[start + i]
            start += len(term.entries)
            out.append(L)
        return tuple(out)

    def psi(self, x: Sequence[arb]) -> tuple[arb_mat, ...]:
        """Relative covariances L L'."""
        return tuple(L * L.transpose() for L in self.factors(x))

    def first(self, x: Sequence[arb]) -> Directions:
        """(term, dPsi) of each parameter."""
        from flint import arb_mat

        out: Directions = []
        for t, (term, L) in enumerate(zip(self.terms, self.factors(x), strict=True)):
            k = len(term.order)
            for row, column in term.entries:
                d = arb_mat(k, k)
                for j in range(k):
                    d[row, j] += L[j, column]
                    d[j, row] += L[j, column]
                out.append((t, d))
        return out

    def second(self) -> dict[tuple[int, int], arb_mat]:
        """d2Psi of each pair i <= j of parameters where it is not zero."""
        from flint import arb_mat

        out, start = {}, 0
        for term in self.terms:
            k = len(term.order)
            for i, (row, column) in enumerate(term.entries):
                for j, (other, same) in enumerate(term.entries[i:], start=i):
                    if column == same:
                        d = arb_mat(k, k)
                        d[row, other] += 1
                        d[other, row] += 1
                        out[start + i, start + j] = d
            start += len(term.entries)
        return out

    def null(self, x: Sequence[arb]) -> tuple[arb_mat, ...]:
        """Per term, a (k, k - r) basis of the null space of L L'."""
        from flint import arb_mat

        out = []
        for term, L in zip(self.terms, self.factors(x), strict=True):
            k, r = len(term.order), term.rank
            N = arb_mat(k, k - r)
            if 0 < r < k:
                top = arb_mat([[L[row, c] for c in range(r)] for row in term.order[:r]])
                rest = arb_mat([[L[row, c] for c in range(r)] for row in term.order[r:]])
                above = top.transpose().solve(rest.transpose())
                for i in range(r):
                    for j in range(k - r):
                        N[term.order[i], j] = -above[i, j]
            for j, row in enumerate(term.order[r:]):
                N[row, j] = 1
            out.append(N)
        return tuple(out)


def chart(
    psi: Sequence[Matrix], floors: Sequence[float], ranks: Sequence[int] | None = None
) -> tuple[Chart, list[float]]:
    """A chart around relative covariances in float64, and their parameters.

    Parameters
    ----------
    floors : sequence of float
        Per term, the pivot below which a variance counts as zero.
    ranks : sequence of int, optional
        Given instead.
    """
    terms, x = [], []
    for t, G in enumerate(psi):
        k = len(G)
        left = np.array(G, dtype=float)
        L = np.zeros((k, k))
        order: list[int] = []
        most = k if ranks is None else ranks[t]
        lowest = max(floors[t], 1e-11 * float(np.max(np.diag(left), initial=0.0))) if ranks is None else 0.0
        for c in range(most):
            free = [i for i in range(k) if i not in order]
            pivot = max(free, key=lambda i: left[i, i])
            if left[pivot, pivot] <= lowest:
                break
            order.append(pivot)
            L[:, c] = left[:, pivot] / np.sqrt(left[pivot, pivot])
            left = left - np.outer(L[:, c], L[:, c])
        term = Trapezoid((*order, *(i for i in range(k) if i not in order)), len(order))
        terms.append(term)
        x += [float(L[row, column]) for row, column in term.entries]
    return Chart(tuple(terms)), x
