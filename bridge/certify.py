"""Certify: search in float64, prove in ball arithmetic, and write down what is proven.

What is proven: near each optimum listed as proven, one and only one local minimum lies within the
radii given. What is searched: that no lower one exists; for models with one variance parameter that
is proven, too (bridge.branch). docs/certificates.md says it at length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from bridge import __version__, branch
from bridge.balls import Sums, exact, outward, precision
from bridge.certificate import Certificate, Local, Number, Proof, Row
from bridge.chart import chart
from bridge.criterion import Criterion, Factors
from bridge.fit import Method
from bridge.identification import problems
from bridge.model import Matrix, Model
from bridge.proof import Lost, Stationary, escape, floats, prove, refine
from bridge.reference import STARTS, Optimum, Reference

if TYPE_CHECKING:
    from flint import arb, arb_mat

LADDER = (256, 512, 1024)
"""Bits of the working precision, tried in turn until everything is proven and has 30 digits."""
PROVABLE = 1e7
"""Sum of q^3 over unlike units up to which a proof is tried: one unit of some 200 levels."""
REFINABLE = 7e7
"""The same for Newton in extended precision without a proof: some 400 levels."""
RANDOM = 4
"""Random starts, where there are two variance parameters or more."""
ATTEMPTS = 4
"""Times that branch and bound may find a lower point, and that a saddle is left."""
EXACT = 1e-29
"""Relative radius that certified numbers must have."""


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """Optima at one precision, lowest first, and candidates that were not proven."""

    sums: Sums
    proven: tuple[Stationary, ...]
    lost: tuple[tuple[Optimum, str], ...]


def certify(
    model: Model, method: Method, data_hash: str = "", known: Iterable[tuple[Factors, float]] = ()
) -> Certificate:
    """The certificate of one model by one method.

    Parameters
    ----------
    known : iterable of (tuple of (k, k) arrays, float)
        (Psi, sigma2) of engines' answers, user's units, variance scale: more starts.

    Raises
    ------
    ModelError
        The model is too large even for float64.
    """
    blank = Certificate(method, "undecided", data_hash=data_hash, versions=_versions())
    reasons = problems(model)
    if reasons:
        return replace(blank, status="unidentified", why="; ".join(reasons))
    reference, starts = search(model, method, known)
    blank = replace(blank, starts=starts)
    if _work(model) > PROVABLE:
        return _refined(blank, reference)
    for bits in LADDER:
        sums = Sums.of(reference.criterion.structure, bits)
        with precision(bits):
            answer = _attempt(replace(blank, bits=bits), sums, reference)
        if answer.status != "undecided":
            break
    return answer


def search(
    model: Model, method: Method, known: Iterable[tuple[Factors, float]] = ()
) -> tuple[Reference, tuple[str, ...]]:
    """Local optima in float64, and where the search began."""
    known = tuple(known)
    reference = Reference.polished(model, method, known)
    starts = [f"diagonal theta = {s:g} / RMS of the term's column" for s in STARTS] if model.random else []
    if sum(t.Z.shape[1] for t in model.random) > 1:
        rng = np.random.default_rng(0)
        reference = reference.with_starts([_random(reference.criterion, rng) for _ in range(RANDOM)])
        starts.append(f"{RANDOM} random factors (seed 0)")
    if known:
        starts.append(f"{len(known)} engines' answers")
    return reference, tuple(starts)


def _random(criterion: Criterion, rng: np.random.Generator) -> Factors:
    out = []
    for term, coordinates in zip(criterion.structure.model.random, criterion.structure.terms, strict=True):
        spread = np.maximum(np.sqrt(np.mean((term.Z @ coordinates.T) ** 2, axis=0)), 1e-8)
        k = len(spread)
        out.append(np.tril(rng.normal(size=(k, k))) * np.exp(rng.normal(0, 1.5)) / spread[:, None])
    return tuple(out)


def check(certificate: Certificate, model: Model, data_hash: str | None = None) -> str | None:
    """Prove it again from the data and the optima it lists, without a search.

    Returns
    -------
    str or None
        What does not hold; None if all of it does.
    """
    if data_hash is not None and data_hash != certificate.data_hash:
        return f"data: hash {data_hash} is not the certificate's {certificate.data_hash}; certify again"
    if certificate.status == "unidentified":
        return None if problems(model) else "status: unidentified, but the model is not"
    if certificate.status == "undecided":
        return None if not certificate.rows else "status: undecided, but there are rows"
    if problems(model):
        return f"status: {certificate.status}, but the model is not identified: {problems(model)[0]}"
    for row in certificate.rows:
        if float(row.number.value) != row.number.double and row.number.value != "nan":
            return f"{_label(row)}: double {row.number.double!r} is not the nearest to {row.number.value}"
    criterion = Criterion(_structure(model), certificate.method)
    if certificate.status == "refined":
        return None
    if certificate.bits not in LADDER:
        return f"bits: {certificate.bits} is none of {LADDER}"
    sums = Sums.of(criterion.structure, certificate.bits)
    with precision(certificate.bits):
        return _reprove(certificate, sums)


def _reprove(certificate: Certificate, sums: Sums) -> str | None:
    found: list[Stationary] = []
    for i, local in enumerate(certificate.optima):
        if not local.proven:
            continue
        psi = [floats(G) for G in _given(sums, local)]
        again = prove(sums, certificate.method, *chart(psi, [0.0] * len(psi), local.ranks))
        if isinstance(again, Lost) or again.why:
            return f"optimum {i + 1}: not proven: {again.why}"
        mine = _local(again)
        if mine.ranks != local.ranks or not mine.criterion.meets(local.criterion):
            return f"optimum {i + 1}: criterion {local.criterion.value} is not the proven {mine.criterion.value}"
        if not all(a.meets(b) for a, b in zip(mine.relative, local.relative, strict=True)):
            return f"optimum {i + 1}: the covariances are not those proven"
        found.append(again)
    if not found:
        return "no optimum is listed as proven"
    best = found[0]
    if any(not best.value < other.value for other in found[1:]):
        return "the optima are not in the order of their criterion"
    if certificate.status != ("singular" if best.chart.singular else "ok"):
        return f"status: {certificate.status} is not what is proven"
    if certificate.proof == "global":
        verdict = _globally(sums, certificate.method, best)
        if verdict is None or not verdict.proven:
            return f"proof: global, but {verdict.why if verdict else 'there are several variance parameters'}"
    wanted = rows(best)
    if [_label(r) for r in wanted] != [_label(r) for r in certificate.rows]:
        return "rows: labels are missing, foreign or out of order"
    for mine_row, row in zip(wanted, certificate.rows, strict=True):
        if not mine_row.number.meets(row.number):
            return f"{_label(row)}: {row.number.value} is not the proven {mine_row.number.value}"
    return None


def _structure(model: Model):  # type: ignore
    from bridge.structure import Structure

    return Structure.of(model)


def _label(row: Row) -> str:
    parts = [row.effect, row.group or "", "/".join(row.level or ()), row.term]
    return " ".join(p for p in parts if p)


def _given(sums: Sums, local: Local) -> tuple[arb_mat, ...]:
    """Relative covariances of a listed optimum, in the Structure's coordinates."""
    from flint import arb

    from bridge.balls import inward

    psi, at = [], 0
    for term in sums.structure.model.random:
        k = term.Z.shape[1]
        G = exact(np.zeros((k, k)))
        for j in range(k):
            for i in range(j, k):
                G[i, j] = G[j, i] = arb(local.relative[at].value)
                at += 1
        psi.append(G)
    return inward(sums.structure, psi)


def _attempt(blank: Certificate, sums: Sums, reference: Reference) -> Certificate:
    """All that can be proven at one precision."""
    method = blank.method
    found = prove_all(sums, method, reference)
    verdict = None
    for _ in range(ATTEMPTS):
        if not found.proven:
            break
        verdict = _globally(sums, method, found.proven[0])
        if verdict is None or verdict.better is None:
            break
        lower = prove(sums, method, *chart([np.array([[verdict.better]])], [0.0]))
        if isinstance(lower, Lost) or lower.why or not lower.value < found.proven[0].value:
            break
        found = replace(found, proven=(lower, *found.proven))
    optima = [_local(s) for s in found.proven]
    optima += [_unproven(reference, o, why) for o, why in found.lost]
    optima.sort(key=lambda o: o.criterion.double)
    answer = replace(blank, optima=tuple(optima))
    if not found.proven:
        return replace(answer, why="; ".join(sorted({why for _, why in found.lost})))
    best = found.proven[0]
    if len(found.proven) > 1 and not best.value < found.proven[1].value:
        return replace(answer, why=f"two optima tie at {blank.bits} bits")
    for optimum, why in found.lost:
        if optimum.value < float(best.value) + 1e-6:
            return replace(answer, why=f"a candidate as low as the optimum is not settled: {why}")
    if verdict is not None and verdict.better is not None:
        return replace(answer, why=f"a lower point than every proven optimum exists, at t = {verdict.better:.6g}")
    numbers = rows(best)
    if not _sharp(best) and blank.bits < LADDER[-1]:
        return replace(answer, why=f"{blank.bits} bits do not give 30 digits")
    proof: Proof = "global" if not sums.cells or (verdict and verdict.proven) else "local (searched)"
    return replace(
        answer,
        status="singular" if best.chart.singular else "ok",
        why="a covariance of random effects is singular at the optimum" if best.chart.singular else "",
        proof=proof,
        note="" if verdict is None or verdict.proven else verdict.why,
        rows=numbers,
    )


def prove_all(sums: Sums, method: Method, reference: Reference) -> Found:
    """Prove every optimum that the search found, leaving saddles downwards."""
    proven: list[Stationary] = []
    lost: list[tuple[Optimum, str]] = []
    for optimum in reference.optima:
        factors = reference.criterion.factors(optimum.psi, optimum.sigma2)
        psi = [L @ L.T for L in factors]
        result = prove(sums, method, *chart(psi, _floors(sums)))
        for _ in range(ATTEMPTS):
            if isinstance(result, Lost):
                break
            start = _lower_rank(result) or escape(sums, method, result)
            if start is None:
                break
            result = prove(sums, method, *start)
        if isinstance(result, Lost) or result.why:
            lost.append((optimum, result.why))
        elif not any(_same(result, other) for other in proven):
            proven.append(result)
    proven.sort(key=lambda s: float(s.value.mid()))
    for i in range(len(proven) - 1):
        if proven[i].value.overlaps(proven[i + 1].value):
            break
    proven.sort(key=lambda s: s.value.mid())
    return Found(sums, tuple(proven), tuple(lost))


def _floors(sums: Sums) -> list[float]:
    """Per term, a variance too small to be told from zero in float64: 1e-9 of what one level shows."""
    out = []
    for term, coordinates in zip(sums.structure.model.random, sums.structure.terms, strict=True):
        moved = np.sum((term.Z @ coordinates.T) ** 2, axis=0) / len(term.levels)
        out.append(1e-9 / max(float(np.max(moved)), 1e-300))
    return out


def _lower_rank(found: Stationary) -> tuple[object, list[float]] | None:
    """A chart of lower rank, where a pivot went to zero."""
    L = found.chart.factors(found.box)
    ranks = []
    for term, factor in zip(found.chart.terms, L, strict=True):
        size = max((abs(float(v.mid())) for v in factor.entries()), default=0.0)
        pivots = [abs(float(factor[term.order[c], c].mid())) for c in range(term.rank)]
        ranks.append(sum(p > 1e-20 * max(size, 1e-20) and p > 1e-30 for p in pivots))
    if tuple(ranks) == found.chart.ranks:
        return None
    psi = [floats(G) for G in found.point.psi]
    return chart(psi, [0.0] * len(psi), ranks)


def _same(a: Stationary, b: Stationary) -> bool:
    return a.chart.ranks == b.chart.ranks and all(
        x.overlaps(y)
        for G, H in zip(a.point.psi, b.point.psi, strict=True)
        for x, y in zip(G.entries(), H.entries(), strict=True)
    )


def _globally(sums: Sums, method: Method, best: Stationary) -> branch.Verdict | None:
    if not branch.applies(sums.structure.model):
        return None
    return branch.Search(sums, method, best.point.psi[0][0, 0], best.value).run()


def _sharp(found: Stationary) -> bool:
    """Whether the criterion, sigma2 and every variance have 30 digits."""
    variances = [G[i, i] for G in found.point.psi for i in range(G.nrows()) if not G[i, i] == 0]
    return all(float(v.rad()) <= EXACT * abs(float(v.mid())) for v in (found.value, found.point.r2, *variances))


def _local(found: Stationary) -> Local:
    relative = outward(found.point.sums.structure, found.point.psi)
    numbers = tuple(Number.of(v) for G in relative for v in _triangle(G))
    return Local(Number.of(found.value), numbers, found.chart.ranks, not found.why, found.why)


def _unproven(reference: Reference, optimum: Optimum, why: str) -> Local:
    from flint import arb

    bound = reference.criterion.at(reference.criterion.factors(optimum.psi, optimum.sigma2)).bound
    numbers = tuple(
        Number.of(arb(float(v), abs(float(v)) * 1e-6))
        for G in optimum.psi
        for v in (G / optimum.sigma2).T[np.triu_indices(len(G))]
    )
    ranks = tuple(int(np.linalg.matrix_rank(G, tol=1e-9 * np.max(np.abs(G), initial=0))) for G in optimum.psi)
    return Local(Number.of(arb(optimum.value, bound)), numbers, ranks, False, why)


def _triangle(G: arb_mat) -> list[arb]:
    return [G[i, j] for j in range(G.nrows()) for i in range(j, G.nrows())]


def rows(found: Stationary) -> tuple[Row, ...]:
    """Every certified number, evaluated over the proven box; the user's units."""
    from flint import arb

    point, structure = found.point, found.point.sums.structure
    model = structure.model
    unit = arb(structure.unit)
    sigma2 = point.r2 / point.sums.nu(point.method) / unit**2
    out: list[Row] = []

    def add(effect, term: str, ball: arb, group: str | None = None, level: tuple[str, ...] | None = None) -> None:
        out.append(Row(effect, group, level, term, Number.of(ball)))

    T = exact(structure.fixed.T)
    beta = (T * arb_column([-point.g[i, 0] / unit for i in range(model.p)])).entries()
    if structure.intercept is not None:
        beta[structure.intercept] += structure.origin
    phi = T * point.phi * T.transpose()
    for j, name in enumerate(model.names):
        add("fixed", name, beta[j])
        add("phi", name, phi[j, j] * sigma2)
        add("std_error", name, (phi[j, j] * sigma2).sqrt())
    relative = outward(structure, point.psi)
    for t, (term, G) in enumerate(zip(model.random, relative, strict=True)):
        for j, name in enumerate(term.names):
            for i in range(j, len(term.names)):
                label = f"var__{name}" if i == j else f"cov__{name}.{term.names[i]}"
                add("ran_pars", label, G[i, j] * sigma2, term.group)
        factor = theta(G, found.chart.ranks[t])
        for j, name in enumerate(term.names):
            for i in range(j, len(term.names)):
                label = name if i == j else f"{term.names[i]}.{name}"
                add("theta", label, factor[i, j], term.group)
    add("ran_pars", "var__Observation", sigma2, "Residual")
    add("loglik", "loglik", -found.value / 2)
    for term, coordinates, modes in zip(model.random, structure.terms, point.blups(), strict=True):
        back = exact(coordinates.T) * (1 / unit)
        for level, b in zip(term.levels, modes, strict=True):
            moved = back * b
            for j, name in enumerate(term.names):
                add("ran_vals", name, moved[j, 0], term.group, level)
    return tuple(out)


def arb_column(values: Sequence[arb]) -> arb_mat:
    """An (n, 1) matrix."""
    from flint import arb_mat

    return arb_mat(len(values), 1, list(values))


def theta(G: arb_mat, rank: int) -> arb_mat:
    """lme4's lower triangular factor of a covariance of known rank, diagonal >= 0.

    After `rank` positive pivots what is left is exactly zero. An earlier pivot whose ball holds 0
    cannot be told from zero; its column is not a number.
    """
    from flint import arb, arb_mat

    k = G.nrows()
    left, L, columns = G.tolist(), arb_mat(k, k), 0
    for c in range(k):
        if columns == rank:
            break
        pivot = left[c][c]
        columns += 1
        root = pivot.sqrt() if pivot > 0 else arb.nan()
        for i in range(c, k):
            L[i, c] = left[i][c] / root if i > c else root
        for i in range(c, k):
            for j in range(c, k):
                left[i][j] = left[i][j] - L[i, c] * L[j, c]
    return L


def _work(model: Model) -> float:
    from bridge.balls import widths

    return float(np.sum(widths(model).astype(float) ** 3))


def _refined(blank: Certificate, reference: Reference) -> Certificate:
    """Newton in balls without a proof, or float64 with the spread of two descents as its error."""
    raise NotImplementedError


def _versions() -> dict[str, str]:
    found = {"lmmbridge": __version__}
    try:
        found["python-flint"] = version("python-flint")
    except PackageNotFoundError:
        found["python-flint"] = "unknown"
    return found
