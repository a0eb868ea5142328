"""Whether the data can identify a model at all: the reasons why not, named before any engine runs."""

from __future__ import annotations

import numpy as np

from bridge.model import Matrix, Model, RandomTerm, Vector

EPS = float(np.finfo(np.float64).eps)
DEPENDENT = 1e-10
"""Share of a column's norm outside the span of others below which it is a combination of them.

Rounding leaves 1e-16; lm and lme4 drop columns from 1e-7 on, though 1e-8 can still be estimated.
"""


def problems(model: Model) -> tuple[str, ...]:
    """Reasons why the model is ill-posed, each a sentence with the names and the fix; empty if it is fine.

    Levels against rows as lme4's ``checkNlevels`` and ``check.nobs.vs.nRE``; redundant columns as R's
    pivoting (the later one goes); zero residual variance: y lies in the span of X and Z, whose rank
    is below n, so the likelihood grows without bound as sigma goes to 0.
    """
    found = [reason for term in model.random for reason in _levels(term, model)]
    if model.n <= model.p:
        found.append(
            f"there are {model.n} rows for {model.p} fixed effects; use fewer terms than rows or more rows"
        )
    else:
        found += _redundant(model) + _confounded(model)
    if not found and (reason := _residual(model)):
        found.append(reason)
    return tuple(dict.fromkeys(found))


def _levels(term: RandomTerm, model: Model) -> list[str]:
    n, q, k = model.n, len(term.levels), len(term.names)
    if q == 1:
        label = ":".join(term.levels[0])
        return [f"{term.group} has one level ({label}), so it has no variance; remove (... | {term.group})"]
    if q >= n and _uneven(model):
        return [
            f"every level of {term.group} has a single row ({q} levels, {n} rows), so only the weights could "
            f"tell its variance from the residual's, and lme4 refuses that; remove (... | {term.group})"
        ]
    if q >= n:
        return [
            f"every level of {term.group} has a single row ({q} levels, {n} rows), so its variance cannot be "
            f"told from the residual's; remove (... | {term.group})"
        ]
    if k * q >= n:
        return [
            f"{k} random effects ({', '.join(term.names)}) for each of {q} levels of {term.group} are "
            f"{k * q}, not fewer than the {n} rows; leave out a random slope"
        ]
    return []


def _uneven(model: Model) -> bool:
    """Whether the weights differ."""
    return model.weights is not None and bool(np.ptp(model.weights) > 0)


def _confounded(model: Model) -> list[str]:
    """Terms whose effects X fits already, and pairs of grouping factors that make the same groups."""
    reasons = []
    basis = np.linalg.qr(_centred(model))[0]
    rng = np.random.default_rng(0x6C6D6D627269646765)  # not 0: a column drawn with that seed is no accident
    for t, term in enumerate(model.random):
        q, k = len(term.levels), len(term.names)
        effect = np.sum(term.Z * rng.standard_normal((q, k))[term.index], axis=1)
        rest = effect - basis @ (basis.T @ effect)
        if q > 1 and np.linalg.norm(rest) <= 1e-8 * np.linalg.norm(effect):
            reasons.append(
                f"the fixed effects fit every level of {term.group} already, so nothing is left for its "
                f"variance; remove (... | {term.group}) or the fixed effects that tell its levels apart"
            )
        for other in model.random[:t]:
            if other.group != term.group and set(term.names) & set(other.names) and _alike(term, other):
                reasons.append(f"{other.group} and {term.group} make the same groups; remove one of the two")
    return reasons


def _alike(a: RandomTerm, b: RandomTerm) -> bool:
    q = len(a.levels)
    return q == len(b.levels) and len(np.unique(a.index * q + b.index)) == q


def _redundant(model: Model) -> list[str]:
    """Columns of X that are combinations of earlier ones, with those."""
    X = _centred(model)
    basis: list[Vector] = []
    kept: list[int] = []
    reasons = []
    for j, name in enumerate(model.names):
        rest = X[:, j].copy()
        for _ in range(2):  # the second pass removes what rounding left of the first
            for q in basis:
                rest -= q * (q @ rest)
        norm = float(np.linalg.norm(rest))
        noise = 8 * EPS * float(np.linalg.norm(model.X[:, j]))
        if norm > DEPENDENT * float(np.linalg.norm(X[:, j])) + noise:
            basis.append(rest / norm)
            kept.append(j)
            continue
        reasons.append(f"{name} is {_combination(model, j, kept)}; remove it from the formula")
    return reasons


def _centred(model: Model) -> Matrix:
    """X with columns centred where there is an intercept: a large origin must not hide a small spread."""
    if "(Intercept)" not in model.names:
        return model.X
    ones = model.names.index("(Intercept)")
    X: Matrix = model.X - model.X.mean(axis=0)
    X[:, ones] = 1.0
    return X


def _combination(model: Model, j: int, kept: list[int]) -> str:
    column = model.X[:, j]
    if not np.any(column):
        return "zero in every row"
    earlier = model.X[:, kept] / np.linalg.norm(model.X[:, kept], axis=0)
    share = np.abs(np.linalg.lstsq(earlier, column, rcond=None)[0])
    names = [model.names[k] for k, s in zip(kept, share, strict=True) if s > 1e-6 * share.max()]
    if names == ["(Intercept)"]:
        return "constant"
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"a linear combination of {shown}"


def _residual(model: Model) -> str:
    y = model.y - model.known_mean
    target = y - y.mean() if "(Intercept)" in model.names else y
    noise = 8 * EPS * float(np.linalg.norm(model.y) + np.linalg.norm(model.known_mean))
    scale = float(np.linalg.norm(target))
    if scale <= noise:
        less = f" less offset {model.offset_column}" if model.offset is not None else ""
        what = f"response {model.response}{less} is constant"
        return f"{what}, so the residual variance is zero; use one that varies"
    if _distance(model, target) > DEPENDENT * scale + noise:
        return ""
    probe = np.random.default_rng(0).standard_normal(model.n)
    if _distance(model, probe) <= 1e-8 * float(np.linalg.norm(probe)):
        return (
            f"the fixed and random effects together can fit any {model.n} values, so the residual variance "
            "cannot be estimated; leave out a term"
        )
    return (
        f"the response {model.response} is fitted exactly by the fixed and random effects, so the residual "
        "variance is zero; leave out a term or check the data"
    )


def _distance(model: Model, target: Vector) -> float:
    """Norm of the target outside the span of X and Z, by LSMR on blocks made orthonormal."""
    from scipy.sparse import csr_array, hstack
    from scipy.sparse.linalg import lsmr

    blocks = [csr_array(np.linalg.qr(_centred(model))[0])] if model.p else []
    for term in model.random:
        n, k = term.Z.shape
        columns = term.index[:, None] * k + np.arange(k)
        start = np.arange(0, n * k + 1, k)
        shape = (n, k * len(term.levels))
        blocks.append(csr_array((_orthonormal(term).ravel(), columns.ravel(), start), shape=shape))
    if not blocks:
        return float(np.linalg.norm(target))
    span = hstack(blocks, format="csr")
    answer = lsmr(span, target, atol=1e-12, btol=1e-14, conlim=0.0, maxiter=300)[0]
    return float(np.linalg.norm(target - span @ answer))


def _orthonormal(term: RandomTerm) -> Matrix:
    """Z with the columns of each level orthonormal (or zero): Gram-Schmidt over all levels at once."""
    index, q = term.index, len(term.levels)
    done: list[Vector] = []
    for column in term.Z.T:
        size = np.bincount(index, column**2, q)
        rest = column.copy()
        for _ in range(2):
            for other in done:
                rest -= other * np.bincount(index, other * rest, q)[index]
        norm2 = np.bincount(index, rest**2, q)
        alive = norm2 > (DEPENDENT**2) * size
        factor = np.where(alive, 1 / np.sqrt(np.where(alive, norm2, 1.0)), 0.0)
        done.append(rest * factor[index])
    return np.stack(done, axis=1)
