"""Balls: the criterion, its gradient and Hessian in ball arithmetic, at a covariance or over a box of them.

With V0 = I + Z Psi Z' (Psi relative to sigma2), per unit C = Z'Z, B = Z'[X y], M = (I + C Psi)^-1:
T = Z'V0^-1 Z = M C, U = Z'V0^-1 [X y] = M B, W = [X y]'V0^-1 [X y] = D - sum B'Psi M B, and
f = log|V0| + rho log|W_xx| + nu log r2 + nu (1 + log(2 pi / nu)); rho is 1 for REML, 0 for ML,
nu = n - rho p. Only small matrices appear, no square root of Psi, and units with the same Z share M and T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.fit import Method
from bridge.model import Matrix
from bridge.sums import Cell, Sums, exact, identity, inward, precision

if TYPE_CHECKING:
    from flint import arb, arb_mat


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The criterion at one relative covariance, or over a box of them.

    Attributes
    ----------
    psi : tuple of (k, k) arb_mat
        Relative covariance of each term, the Structure's coordinates.
    W : (p + 1, p + 1) arb_mat
    phi : (p, p) arb_mat
        ``W_xx^-1``.
    g : (p + 1, 1) arb_mat
        ``(-beta, 1)``.
    r2 : arb
    inverse : (p + 1, p + 1) arb_mat
        ``W^-1``.
    gamma : tuple of (k, k) arb_mat
        ``sum_l Z_l'M Z_l - (nu / r2) s_l s_l'``: df = tr(gamma_t dPsi_t).
    E : tuple of (k * k, (p + 1) * (p + 1)) arb_mat
        ``sum over levels of U_l[r, a] U_l[s, b]`` at ((r, s), (a, b)).
    N : mapping (t, s) to (k_t * k_s, k_t * k_s) arb_mat
        ``sum over pairs of levels of T[x, y] (2 U A U' - T)[z, w]``; empty unless curvature is asked for.
    """

    sums: Sums
    method: Method
    psi: tuple[arb_mat, ...]
    solved: tuple[_Solved, ...]
    W: arb_mat
    phi: arb_mat
    g: arb_mat
    r2: arb
    inverse: arb_mat
    gamma: tuple[arb_mat, ...]
    E: tuple[arb_mat, ...]
    N: Mapping[tuple[int, int], arb_mat]

    @property
    def weight(self) -> int:
        """Rho - nu: what log|W_xx| is multiplied by, beside nu log|W|."""
        return (1 if self.method == "REML" else 0) - self.sums.nu(self.method)

    def log_V(self) -> arb:
        """log|V0|; costs a determinant a cell."""
        from flint import arb

        total = arb(0)
        for cell in self.sums.cells:
            total += (identity(cell.C.nrows()) + cell.C * cell.spread(self.psi)).det().log() * len(cell.B)
        return total

    def volume(self) -> arb:
        """log|V0| + rho log|W_xx| - sum log w, X in the user's coding."""
        total = self.log_V()
        if self.method == "REML" and self.sums.p:
            total -= self.phi.det().log() + 2 * abs(self.sums.T.det()).log()
        return total - self.sums.log_weights

    def value(self) -> arb:
        """Profiled criterion, deviance scale, the user's units."""
        return self.volume() + remainder(self.sums, self.method, self.r2)

    def gradient(self, first: Sequence[tuple[int, arb_mat]]) -> list[arb]:
        """Df along each (term, dPsi)."""
        return [(self.gamma[t] * d).trace() for t, d in first]

    def hessian(
        self, first: Sequence[tuple[int, arb_mat]], second: Mapping[tuple[int, int], arb_mat]
    ) -> arb_mat:
        """d2f along pairs of (term, dPsi); `second` has d2Psi of pairs i <= j where it is not zero."""
        from flint import arb_mat

        nu, width, size = self.sums.nu(self.method), self.sums.p + 1, len(first)
        left, left_xx = [], []
        for t, d in first:
            row = arb_mat(1, d.nrows() ** 2, d.entries()) * self.E[t]
            Wi = arb_mat(width, width, (row * (-1)).entries())
            left.append(self.inverse * Wi)
            left_xx.append(self.phi * corner(Wi, width - 1))
        H = arb_mat(size, size)
        for i in range(size):
            for j in range(i, size):
                (t, a), (s, b) = (first[i], first[j]) if first[i][0] <= first[j][0] else (first[j], first[i])
                total = _contract(self.N[t, s], a, b) - (left[i] * left[j]).trace() * nu
                if width > 1:
                    total -= (left_xx[i] * left_xx[j]).trace() * self.weight
                if (i, j) in second:
                    total += (self.gamma[t] * second[i, j]).trace()
                H[i, j] = H[j, i] = total
        return H

    def blups(self) -> list[list[arb_mat]]:
        """Per term and level, the (k, 1) conditional mode in the Structure's coordinates."""
        from flint import arb_mat

        out: list[list[arb_mat]] = [[arb_mat(0, 0)] * len(t.levels) for t in self.sums.structure.model.random]
        for cell, done in zip(self.sums.cells, self.solved, strict=True):
            G = cell.spread(self.psi)
            for j, levels in enumerate(cell.levels):
                U = done.M * cell.B[j] if done.M is not None else done.U[j]
                b = (G * (U * self.g)).entries()
                for block, (t, level) in enumerate(zip(cell.blocks, levels, strict=True)):
                    cut = b[cell.offsets[block] : cell.offsets[block + 1]]
                    out[t][level] = arb_mat(len(cut), 1, cut)
        return out


@dataclass(frozen=True, eq=False, slots=True)
class _Solved:
    """A cell at one Psi: T, and M with M x M on the pooled sums, or each unit's U."""

    T: arb_mat
    M: arb_mat | None
    pooled: arb_mat | None
    U: tuple[arb_mat, ...]


def evaluate(sums: Sums, method: Method, psi: Sequence[arb_mat], curvature: bool = True) -> Point:
    """W, beta, r2, Gamma and (with `curvature`) what the Hessian needs, at relative covariances.

    Raises
    ------
    ZeroDivisionError
        A matrix is not certainly regular over the box.
    """
    W, solved = sums.D, []
    for cell in sums.cells:
        done, inner = _solve(cell, cell.spread(psi))
        W = W - inner
        solved.append(done)
    phi, g, r2, inverse, A = profiled(W, sums.nu(method), method)
    gamma, E, N = _accumulate(sums, solved, A, curvature)
    return Point(sums, method, tuple(psi), tuple(solved), W, phi, g, r2, inverse, gamma, E, N)


def profiled(W: arb_mat, nu: int, method: Method) -> tuple[arb_mat, arb_mat, arb, arb_mat, arb_mat]:
    """Point's phi, g, r2 and inverse, and A: Gamma is the sum over levels of T - U A U'."""
    from flint import arb_mat

    width = W.nrows()
    p = width - 1
    Wxx = corner(W, p)
    phi = Wxx.inv() if p else Wxx
    beta = phi * arb_mat(p, 1, [W[i, p] for i in range(p)])
    g = arb_mat(width, 1, [*(-v for v in beta.entries()), 1])
    r2 = sum((W[p, i] * g[i, 0] for i in range(p)), W[p, p])
    inverse = g * g.transpose() * (1 / r2)
    padded = arb_mat(width, width)
    for i in range(p):
        for j in range(p):
            padded[i, j] = phi[i, j]
    A = inverse * nu
    inverse = inverse + padded
    if method == "REML":
        A = A + padded
    return phi, g, r2, inverse, A


def corner(W: arb_mat, p: int) -> arb_mat:
    """The first p rows and columns."""
    from flint import arb_mat

    return arb_mat(p, p, [W[i, j] for i in range(p) for j in range(p)])


def _solve(cell: Cell, psi: arb_mat) -> tuple[_Solved, arb_mat]:
    """T and U, and sum B'Psi M B."""
    from flint import arb_mat

    q, width = cell.C.nrows(), cell.B[0].ncols()
    A = identity(q) + cell.C * psi
    if cell.pooled is not None:
        if q == 1:
            m = 1 / A[0, 0]
            M, doubled, K = arb_mat(1, 1, [m]), cell.pooled * (m * m), cell.pooled * _ratio(cell, psi)
            return _Solved(M * cell.C, M, doubled, ()), arb_mat(width, width, K.entries())
        M = A.inv()
        flat = M.entries()
        both = arb_mat(
            q * q,
            q * q,
            [
                flat[r * q + u] * flat[s * q + v]
                for r in range(q)
                for s in range(q)
                for u in range(q)
                for v in range(q)
            ],
        )
        K = arb_mat(1, q * q, (psi * M).entries()) * cell.pooled
        return _Solved(M * cell.C, M, both * cell.pooled, ()), arb_mat(width, width, K.entries())
    right = [cell.C.tolist(), *(b.tolist() for b in cell.B)]
    wide = A.solve(arb_mat([[v for part in right for v in part[i]] for i in range(q)])).tolist()
    T = arb_mat([row[:q] for row in wide])
    U = tuple(arb_mat([row[q + j * width : q + (j + 1) * width] for row in wide]) for j in range(len(cell.B)))
    inner = arb_mat(width, width)
    for b, u in zip(cell.B, U, strict=True):
        inner = inner + b.transpose() * (psi * u)
    return _Solved(T, None, None, U), inner


def _ratio(cell: Cell, psi: arb_mat) -> arb:
    """Psi / (1 + C Psi) of a scalar, with Psi met once where that makes a wide ball tighter."""
    t, c = psi[0, 0], cell.C[0, 0]
    return 1 / (1 / t + c) if t > 0 else t / (1 + c * t)


def _accumulate(
    sums: Sums, solved: Sequence[_Solved], A: arb_mat, curvature: bool
) -> tuple[tuple[arb_mat, ...], tuple[arb_mat, ...], dict[tuple[int, int], arb_mat]]:
    from flint import arb_mat

    width = sums.p + 1
    sizes = [term.Z.shape[1] for term in sums.structure.model.random]
    gamma = [arb_mat(k, k) for k in sizes]
    E = [arb_mat(k * k, width * width) for k in sizes]
    N: dict[tuple[int, int], arb_mat] = {}
    column = arb_mat(width * width, 1, A.entries())
    for cell, done in zip(sums.cells, solved, strict=True):
        q, J = cell.C.nrows(), len(cell.B)
        if done.pooled is not None:
            Q = arb_mat(q, q, (done.pooled * column).entries())
        else:
            Q = arb_mat(q, q)
            for u in done.U:
                Q = Q + u * A * u.transpose()
        rest = (done.T * J - Q).entries()
        twice = (Q * 2 - done.T * J).entries() if curvature else []
        T = done.T.entries()
        for t, k in enumerate(sizes):
            starts = cell.of(t)
            if not starts:
                continue
            gamma[t] = gamma[t] + arb_mat(
                k, k, [sum(rest[(o + r) * q + o + s] for o in starts) for r in range(k) for s in range(k)]
            )
            if not curvature:
                continue
            E[t] = E[t] + _outer(done, starts, q, k, width)
            for s in range(t, len(sizes)):
                others = cell.of(s)
                if others:
                    left = _pairs(T, starts, others, q, k, sizes[s])
                    right = _pairs(twice, starts, others, q, k, sizes[s])
                    N[t, s] = left.transpose() * right + N.get((t, s), arb_mat(k * sizes[s], k * sizes[s]))
    for t, k in enumerate(sizes):
        for s in range(t, len(sizes)):
            N.setdefault((t, s), arb_mat(k * sizes[s], k * sizes[s]))
    return tuple(gamma), tuple(E), N


def _outer(done: _Solved, starts: Sequence[int], q: int, k: int, width: int) -> arb_mat:
    """A cell's share of E."""
    from flint import arb_mat

    if done.pooled is not None:
        if q == 1:
            return done.pooled
        pick = [
            int(row == (o + r) * q + o + s)
            for o in starts[:1]
            for r in range(k)
            for s in range(k)
            for row in range(q * q)
        ]
        for o in starts[1:]:
            for r in range(k):
                for s in range(k):
                    pick[(r * k + s) * q * q + (o + r) * q + o + s] = 1
        return arb_mat(k * k, q * q, pick) * done.pooled
    total = arb_mat(k * k, width * width)
    for U in done.U:
        rows = U.tolist()
        at = [arb_mat([rows[o + r] for o in starts]) for r in range(k)]
        total = total + arb_mat([(a.transpose() * b).entries() for a in at for b in at])
    return total


def _pairs(flat: Sequence[arb], rows: Sequence[int], cols: Sequence[int], q: int, k: int, m: int) -> arb_mat:
    """One row for each pair of blocks: the entries of that (k, m) block."""
    from flint import arb_mat

    return arb_mat(
        len(rows) * len(cols),
        k * m,
        [flat[(b + x) * q + c + y] for b in rows for c in cols for x in range(k) for y in range(m)],
    )


def _contract(N: arb_mat, a: arb_mat, b: arb_mat) -> arb:
    """``sum a[z, x] b[y, w] N[(x, y), (z, w)]``: tr(a T b (2 U A U' - T)) over pairs of blocks."""
    from flint import arb_mat

    k, m = a.nrows(), b.nrows()
    outer = [a[z, x] * b[y, w] for x in range(k) for y in range(m) for z in range(k) for w in range(m)]
    size = (k * m) ** 2
    return (arb_mat(1, size, outer) * arb_mat(size, 1, N.entries()))[0, 0]


def remainder(sums: Sums, method: Method, r2: arb) -> arb:
    """The criterion without `Point.volume`: nu (1 + log(2 pi r2 / nu)), the user's unit of y."""
    from flint import arb

    nu = sums.nu(method)
    return nu * (1 + (2 * arb.pi() * r2 / nu / arb(sums.structure.unit) ** 2).log())


def unprofiled(sums: Sums, method: Method, psi: Sequence[Matrix], sigma2: float) -> arb:
    """Unprofiled criterion at (Psi, sigma2), beta profiled out; user's units, deviance scale.

    Parameters
    ----------
    psi : tuple of (k, k) arrays
        Covariances, variance scale, taken as the exact values of the doubles.

    Returns
    -------
    flint.arb
        A ball that contains the true value.
    """
    from flint import arb

    with precision(sums.bits):
        s2 = arb(float(sigma2))
        relative = inward(sums.structure, [exact(G) * (1 / s2) for G in psi])
        point = evaluate(sums, method, relative, curvature=False)
        unit = arb(sums.structure.unit)
        return point.volume() + sums.nu(method) * (2 * arb.pi() * s2).log() + point.r2 / unit**2 / s2
