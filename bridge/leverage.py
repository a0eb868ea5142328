"""Leverage: the weight of every row in every coefficient, L = Phi X'V^-1 (mixed) and A = (X'WX)^-1 X'W (lm).

V is block-diagonal over units (`bridge.structure.components`). Each block is inverted through an
orthogonal factor of [W^1/2 Z Lambda; I], as wide as the unit has random effects, never as it has rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.criterion import Factors, root
from bridge.errors import ModelError
from bridge.model import Matrix, Model, RandomTerm, Vector
from bridge.structure import LARGEST, centred, components

Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Grouping:
    """All random effects of one grouping factor together: ``(x || g)`` is one, with a diagonal `psi`.

    Attributes
    ----------
    group : str
    names : tuple of str, length k
    Z : (n, k) array
    index : (n,) int array
    levels : tuple of tuple of str
    psi : (k, k) array
        Covariance, variance scale.
    """

    group: str
    names: tuple[str, ...]
    Z: Matrix
    index: Ints
    levels: tuple[tuple[str, ...], ...]
    psi: Matrix


@dataclass(frozen=True, eq=False, slots=True)
class Leverage:
    """Linear estimators of the fixed effects, and what V^-1 gives of the random ones.

    Attributes
    ----------
    groupings : tuple of Grouping
    unit : (n,) int array
        Independent block of V that each row is in.
    mixed, lm : (n, p) arrays
        Rows of L' and A': beta = mixed' (y - offset).
    phi : (p, p) array
        (X'V^-1X)^-1, the covariance of beta.
    naive : (p,) array
        Diagonal of (X'WX)^-1.
    beta, beta_lm : (p,) arrays
    seen : tuple of (levels, k, k) arrays
        Z_l'V^-1 Z_l of each grouping.
    eigenvalues : tuple of (levels, k) arrays
        Of psi Z_l'V^-1 Z_l, ascending, in [0, 1].
    blups : tuple of (levels, k) arrays
        psi Z_l'V^-1 (y - offset - X beta).
    ones : (n,) array
        V^-1 1.
    """

    groupings: tuple[Grouping, ...]
    unit: Ints
    mixed: Matrix
    lm: Matrix
    phi: Matrix
    naive: Vector
    beta: Vector
    beta_lm: Vector
    seen: tuple[Matrix, ...]
    eigenvalues: tuple[Matrix, ...]
    blups: tuple[Matrix, ...]
    ones: Vector


def groupings(model: Model, psi: Factors) -> tuple[Grouping, ...]:
    """Random terms of the same grouping factor, joined."""
    from scipy.linalg import block_diag

    same: dict[frozenset[str], list[tuple[RandomTerm, Matrix]]] = defaultdict(list)
    for term, G in zip(model.random, psi, strict=True):
        same[frozenset(term.factors)].append((term, G))
    return tuple(
        Grouping(
            group=parts[0][0].group,
            names=tuple(name for term, _ in parts for name in term.names),
            Z=np.column_stack([term.Z for term, _ in parts]),
            index=parts[0][0].index,
            levels=parts[0][0].levels,
            psi=np.asarray(block_diag(*(G for _, G in parts))),
        )
        for parts in same.values()
    )


def leverage(model: Model, psi: Factors, sigma2: float) -> Leverage:
    """Row weights at given covariances.

    Parameters
    ----------
    psi : tuple of (k, k) arrays
        One per random term, variance scale.
    sigma2 : float
        Residual variance (of a row of weight 1).

    Raises
    ------
    ModelError
        Crossed factors link more rows and levels than memory holds.
    """
    weight = np.ones(model.n) if model.weights is None else model.weights
    y = model.y if model.offset is None else model.y - model.offset
    X, fixed = centred(model.X)
    half = np.sqrt(weight)
    Q, R = np.linalg.qr(half[:, None] * X)
    inverse = fixed.T @ np.linalg.inv(R)
    A = (half[:, None] * Q) @ inverse.T
    beta_lm = A.T @ y
    beta_lm = beta_lm + A.T @ (y - model.X @ beta_lm)  # refined: the intercept of a centred X cancels digits
    e = y - model.X @ beta_lm
    joined = groupings(model, psi)
    unit = components(model)
    solved, seen, eigenvalues = _solve(
        joined, unit, weight, sigma2, np.column_stack([X, np.ones(model.n), e])
    )
    VX, ones, Ve = solved[:, : model.p], solved[:, model.p], solved[:, -1]
    RX = np.linalg.cholesky(X.T @ VX).T
    back = fixed.T @ np.linalg.inv(RX)
    phi = back @ back.T
    L = VX @ np.linalg.inv(RX) @ back.T
    moved = L.T @ e
    shifted = Ve - VX @ (fixed.inverse @ moved)
    blups = tuple(sums(g.Z * shifted[:, None], g.index, len(g.levels)) @ g.psi for g in joined)
    return Leverage(
        groupings=joined,
        unit=unit,
        mixed=L,
        lm=A,
        phi=phi,
        naive=np.sum(inverse**2, axis=1),
        beta=beta_lm + moved,
        beta_lm=beta_lm,
        seen=seen,
        eigenvalues=eigenvalues,
        blups=blups,
        ones=ones,
    )


def sums(rows: Matrix, index: Ints, number: int) -> Matrix:
    """Sums of rows by level."""
    out = np.zeros((number, *rows.shape[1:]))
    np.add.at(out, index, rows)
    return out


def _solve(
    joined: Sequence[Grouping], unit: Ints, weight: Vector, sigma2: float, B: Matrix
) -> tuple[Matrix, tuple[Matrix, ...], tuple[Matrix, ...]]:
    """V^-1 B; Z_l'V^-1 Z_l and the eigenvalues of psi Z_l'V^-1 Z_l for each level of each grouping."""
    solved = weight[:, None] * B / sigma2
    inner = [centred(g.Z) for g in joined]
    factors = [
        root(c.inverse @ g.psi @ c.inverse.T / sigma2) for g, (_, c) in zip(joined, inner, strict=True)
    ]
    sizes = [g.Z.shape[1] for g in joined]
    seen = [np.zeros((len(g.levels), k, k)) for g, k in zip(joined, sizes, strict=True)]
    eigenvalues = [np.zeros((len(g.levels), k)) for g, k in zip(joined, sizes, strict=True)]
    for rows, blocks, levels in _alike(joined, unit):
        half = np.sqrt(weight[rows])[:, :, None]
        Zs = [
            np.where((joined[t].index[rows] == levels[:, b, None])[:, :, None], inner[t][0][rows], 0.0) * half
            for b, t in enumerate(blocks)
        ]
        invert = _Inverse(np.concatenate([Z @ factors[t] for Z, t in zip(Zs, blocks, strict=True)], axis=2))
        solved[rows] = half * invert(half * B[rows]) / sigma2
        for b, t in enumerate(blocks):
            M = Zs[b].transpose(0, 2, 1) @ invert(Zs[b])
            back = inner[t][1].inverse
            seen[t][levels[:, b]] = back.T @ M @ back / sigma2
            eigenvalues[t][levels[:, b]] = np.linalg.eigvalsh(factors[t].T @ M @ factors[t])
    return solved, tuple(seen), tuple(np.clip(v, 0.0, 1.0) for v in eigenvalues)


class _Inverse:
    """(I + A A')^-1 for a stack of A, (J, m, q), by the orthogonal factor of [A; I] and one refinement.

    The projection alone loses tau2 / sigma2 times the rounding error; what it leaves over, it corrects.
    """

    def __init__(self, A: Matrix) -> None:
        J, m, q = A.shape
        self.A = A
        under = np.broadcast_to(np.eye(q), (J, q, q))
        self.Q = np.linalg.qr(np.concatenate([A, under], axis=1))[0][:, :m]

    def __call__(self, B: Matrix) -> Matrix:
        found = self.project(B)
        return found + self.project(B - found - self.A @ (self.A.transpose(0, 2, 1) @ found))

    def project(self, B: Matrix) -> Matrix:
        return np.asarray(B - self.Q @ (self.Q.transpose(0, 2, 1) @ B))


def _alike(joined: Sequence[Grouping], unit: Ints) -> Iterator[tuple[Ints, tuple[int, ...], Ints]]:
    """Units stacked that have as many rows and the same blocks: (J, m) rows, blocks, (J, blocks) levels."""
    if not joined:
        return
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(unit[order]) > 0])
    stacks: dict[tuple[int, tuple[int, ...]], list[tuple[Ints, list[int]]]] = defaultdict(list)
    for rows in np.split(order, starts[1:]):
        blocks: list[int] = []
        levels: list[int] = []
        for t, g in enumerate(joined):
            here = np.unique(g.index[rows]).tolist()
            blocks += [t] * len(here)
            levels += here
        width = sum(joined[t].Z.shape[1] for t in blocks)
        if len(rows) * width > LARGEST:
            raise ModelError(
                f"{len(rows)} rows are linked by crossed factors through {len(blocks)} levels; their weights "
                f"need {len(rows) * width * 8 / 1e9:.1f} GB. Use fewer rows or levels"
            )
        stacks[len(rows), tuple(blocks)].append((rows, levels))
    for (_, pattern), units in stacks.items():
        yield np.array([rows for rows, _ in units]), pattern, np.array([lv for _, lv in units], dtype=np.intp)
