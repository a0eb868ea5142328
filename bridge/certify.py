"""Certify: search, prove in ball arithmetic, and write down what is proven.

What is proven: near each optimum listed as proven, one and only one local minimum lies within the
radii given. What is searched: that no lower one exists; for models with one variance parameter that
is proven, too (bridge.branch). docs/certificates.md says it at length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from bridge import __version__, branch, definition, elimination
from bridge.allowed import allowed
from bridge.certificate import Certificate, Local, Proof, covariances
from bridge.chart import Chart, chart
from bridge.criterion import Criterion, Factors, root
from bridge.elimination import Elimination
from bridge.estimates import float_rows, labels, local, modes, rows, unproven
from bridge.fit import Method
from bridge.identification import problems
from bridge.model import Model
from bridge.proof import Lost, Stationary, escape, floats, prove, refine
from bridge.residual import parameters, settled
from bridge.search import Candidate, candidates, descend
from bridge.structure import Structure
from bridge.sums import Sums, exact, inward, precision, widths

if TYPE_CHECKING:
    from flint import arb_mat

LADDER = (256, 512, 1024)
"""Bits of the working precision, tried in turn until everything is proven and has 30 digits."""
PROVABLE = 1e7
"""Sum of q^3 over units of q random effects up to which a proof is tried: one unit of 215 levels."""
REFINABLE = 7e7
"""The same for Newton in extended precision without a proof: one unit of 412 levels. Beyond it only where a
term is eliminated, and a certificate holds no random effects (bridge.elimination)."""
ATTEMPTS = 4
"""Times that a saddle is left, and that branch and bound may find a lower point."""
EXACT = 1e-29
"""Relative radius that the criterion, r2 and every variance must have."""
NEAR = 1e-6
"""Deviance by which a candidate without proof must lie above the optimum."""


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
    versions = {"lmmbridge": __version__, "python-flint": version("python-flint")}
    blank = Certificate(
        method,
        "undecided",
        formula=model.formula,
        weights=model.weights_column,
        offset=model.offset_column,
        data_hash=data_hash,
        versions=versions,
    )
    reasons = problems(model)
    if reasons:
        return replace(blank, status="unidentified", why="; ".join(reasons))
    if model.residual is not None:
        return definition.certified(blank, model, model.residual)
    structure = Structure.of(model)
    criterion = Criterion(structure, method)
    ends, starts = candidates(structure, method, [criterion.factors(psi, s2) for psi, s2 in known])
    answer = replace(blank, starts=starts)
    work = float(np.sum(widths(model).astype(float) ** 3))
    if not ends:
        return replace(answer, why="no descent could be evaluated")
    if work > PROVABLE:
        return _refined(answer, structure, ends, work)
    for bits in LADDER:
        sums = Sums.of(structure, bits)
        with precision(bits):
            answer = _attempt(replace(blank, starts=starts, bits=bits), sums, ends)
        if answer.status != "undecided":
            break
    if not answer.rows:
        return answer
    return replace(answer, allowed=allowed(model, method, *covariances(answer, model)))


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """Proven optima, lowest first, and candidates that were not proven, with the reason."""

    proven: tuple[Stationary, ...]
    lost: tuple[tuple[Candidate, str], ...]


def prove_all(sums: Sums, method: Method, ends: Sequence[Candidate]) -> Found:
    """Prove each candidate. A saddle is left downwards unless a proven optimum is lower anyway."""
    proven: list[Stationary] = []
    lost: list[tuple[Candidate, str]] = []
    for end in ends:
        result = prove(sums, method, *chart(end.psi, _floors(sums)))
        for _ in range(ATTEMPTS):
            if isinstance(result, Lost):
                break
            start = _collapsed(result)
            if start is None and result.saddle is not None:
                if any(other.value < result.value for other in proven):
                    break
                start = escape(sums, method, result)
            if start is None:
                break
            result = prove(sums, method, *start)
        if isinstance(result, Lost):
            lost.append((end, result.why))
        elif result.why:
            if result.saddle is None:
                lost.append((end, result.why))
        elif not any(_same(result, other) for other in proven):
            proven.append(result)
    base = proven[0].value if proven else 0
    return Found(tuple(sorted(proven, key=lambda s: float((s.value - base).mid()))), tuple(lost))


def _floors(sums: Sums) -> list[float]:
    """Per term, a variance too small to be told from zero in float64: 1e-9 of what one level shows."""
    out = []
    for term, Z in zip(sums.structure.model.random, sums.structure.columns, strict=True):
        moved = np.sum(Z**2, axis=0) / len(term.levels)
        out.append(1e-9 / max(float(np.max(moved)), 1e-300))
    return out


def _collapsed(found: Stationary) -> tuple[Chart, list[float]] | None:
    """A chart of lower rank, where a pivot went to zero."""
    ranks = []
    for term, L in zip(found.chart.terms, found.chart.factors(found.box), strict=True):
        size = max((abs(float(v.mid())) for v in L.entries()), default=0.0)
        pivots = [abs(float(L[term.order[c], c].mid())) for c in range(term.rank)]
        ranks.append(sum(p > 1e-20 * size and p > 1e-30 for p in pivots))
    if tuple(ranks) == found.chart.ranks:
        return None
    return chart([floats(G) for G in found.point.psi], [0.0] * len(ranks), ranks)


def _same(a: Stationary, b: Stationary) -> bool:
    return a.chart.ranks == b.chart.ranks and all(
        x.overlaps(y)
        for G, H in zip(a.point.psi, b.point.psi, strict=True)
        for x, y in zip(G.entries(), H.entries(), strict=True)
    )


def _attempt(blank: Certificate, sums: Sums, ends: Sequence[Candidate]) -> Certificate:
    """All that can be proven at one precision."""
    found = prove_all(sums, blank.method, ends)
    found, verdict = _globally(sums, blank.method, found)
    optima = [local(s, True) for s in found.proven]
    optima += [unproven(sums.structure, end.value, end.psi, why) for end, why in found.lost]
    answer = replace(blank, optima=tuple(optima))
    if not found.proven:
        return replace(
            answer, why="; ".join(sorted({why for _, why in found.lost})) or "only saddles were found"
        )
    best = found.proven[0]
    if any(not best.value < other.value for other in found.proven[1:]):
        return replace(answer, why=f"two optima tie at {blank.bits} bits")
    for end, why in found.lost:
        if end.value < float(best.value) + NEAR and not (verdict and verdict.proven):
            return replace(answer, why=f"a candidate as low as the optimum is not settled: {why}")
    if verdict is not None and verdict.better is not None:
        return replace(
            answer, why=f"a lower point than every proven optimum exists: t = {verdict.better:.6g}"
        )
    if not _sharp(best):
        return replace(answer, why=f"{blank.bits} bits do not give 30 digits")
    proof: Proof = "global" if not sums.cells or (verdict and verdict.proven) else "local (searched)"
    singular = best.chart.singular
    return replace(
        answer,
        status="singular" if singular else "ok",
        why="a covariance of random effects is singular at the optimum" if singular else "",
        proof=proof,
        note="" if verdict is None else verdict.why,
        rows=rows(best),
    )


def _globally(sums: Sums, method: Method, found: Found) -> tuple[Found, branch.Verdict | None]:
    """Branch and bound where it applies, begun anew from any lower point that it finds."""
    if not branch.applies(sums.structure.model) or not found.proven:
        return found, None
    for _ in range(ATTEMPTS):
        best = found.proven[0]
        verdict = branch.Search(sums, method, best.point.psi[0][0, 0], best.value).run()
        if verdict.better is None:
            break
        end = descend(sums, method, (np.array([[verdict.better**0.5]]),))
        lower = prove_all(sums, method, [end] if end else []).proven
        if not lower or not lower[0].value < best.value:
            break
        found = replace(found, proven=(*lower, *found.proven))
    return found, verdict


def _sharp(found: Stationary) -> bool:
    """Whether the criterion, r2 and every variance have 30 digits."""
    variances = [G[i, i] for G in found.point.psi for i in range(G.nrows()) if not G[i, i].is_zero()]
    return all(float(v.rad()) <= EXACT * abs(float(v.mid())) for v in (found.point.r2, *variances)) and float(
        found.value.rad()
    ) <= EXACT * (1 + abs(float(found.value.mid())))


def _refined(blank: Certificate, structure: Structure, ends: Sequence[Candidate], work: float) -> Certificate:
    """Newton in balls without a proof, or float64 where that takes too long too."""
    size, best = round(work ** (1 / 3)), ends[0]
    optima = tuple(unproven(structure, end.value, end.psi, "out of reach of a proof") for end in ends)
    within = round(PROVABLE ** (1 / 3))
    why = f"too large for a proof: the work of {size} linked random effects, where {within} are in reach"
    answer = replace(blank, status="refined", why=why, optima=optima)
    less = None if work <= REFINABLE or modes(structure.model) else Elimination.of(structure)
    if work <= REFINABLE or less is not None:
        sums = Sums.of(structure, LADDER[0]) if less is None else less.sums
        with precision(sums.bits):
            start = chart(best.psi, _floors(sums))
            if less is None:
                found = refine(sums, blank.method, *start)
            else:
                found = elimination.refine(less, Criterion(structure, blank.method), *start)
            if isinstance(found, Stationary) and found.value.is_finite():
                return replace(
                    answer, bits=sums.bits, rows=rows(found), optima=(local(found, False), *optima[1:])
                )
    return replace(answer, bits=53, rows=float_rows(structure, blank.method, best.psi))


def check(certificate: Certificate, model: Model, data_hash: str | None = None) -> str | None:
    """Prove it again from the data and the optima it lists, without a search.

    Returns
    -------
    str or None
        What does not hold; None if all of it does. Of a ``refined`` one, that nothing contradicts it.
    """
    if data_hash is not None and data_hash != certificate.data_hash:
        return f"data: hash {data_hash} is not the certificate's {certificate.data_hash}; certify again"
    if certificate.formula != model.formula:
        return f"formula: {model.formula} is not the certificate's {certificate.formula}; certify again"
    for what in ("weights", "offset"):
        mine, said = getattr(model, f"{what}_column"), getattr(certificate, what)
        if mine != said:
            return f"{what}: {mine or 'none'} is not the certificate's {said or 'none'}; certify again"
    reasons = problems(model)
    if certificate.status == "unidentified":
        return None if reasons and not certificate.rows else "status: unidentified does not hold"
    if reasons:
        return f"status: {certificate.status}, but {reasons[0]}"
    if certificate.status == "undecided":
        return "rows: an undecided certificate has none" if certificate.rows else None
    if [(r.effect, r.group, r.level, r.term) for r in certificate.rows] != list(labels(model)):
        return "rows: labels are missing, foreign or out of order"
    for row in certificate.rows:
        if row.number.value != "nan" and float(row.number.value) != row.number.double:
            return f"{row.label}: double {row.number.double!r} is not the nearest to {row.number.value}"
    structure = Structure.of(settled(model, parameters(certificate, model)))
    if certificate.status == "refined":
        return _plausible(certificate, structure)
    if certificate.bits not in LADDER:
        return f"bits: {certificate.bits} is none of {LADDER}"
    sums = Sums.of(structure, certificate.bits)
    with precision(certificate.bits):
        return _reprove(certificate, sums)


def _reprove(certificate: Certificate, sums: Sums) -> str | None:
    found: list[Stationary] = []
    for i, given in enumerate(o for o in certificate.optima if o.proven):
        psi = [floats(G) for G in _relative(sums, given)]
        again = prove(sums, certificate.method, *chart(psi, [0.0] * len(psi), given.ranks))
        if isinstance(again, Lost) or again.why:
            return f"optimum {i + 1}: not proven: {again.why}"
        mine = local(again, True)
        if mine.ranks != given.ranks or not mine.criterion.meets(given.criterion):
            return (
                f"optimum {i + 1}: criterion {given.criterion.value} is not the proven {mine.criterion.value}"
            )
        if not all(a.meets(b) for a, b in zip(mine.relative, given.relative, strict=True)):
            return f"optimum {i + 1}: the covariances are not those proven"
        found.append(again)
    if not found:
        return "optima: none is listed as proven"
    best = found[0]
    if any(not best.value < other.value for other in found[1:]):
        return "optima: the first is not the lowest"
    if certificate.status != ("singular" if best.chart.singular else "ok"):
        return f"status: {certificate.status} is not what is proven"
    if certificate.proof == "global" and sums.cells:
        verdict = _globally(sums, certificate.method, Found((best,), ()))[1]
        if verdict is None or not verdict.proven:
            return f"proof: global, but {verdict.why if verdict else 'there are several variance parameters'}"
    for mine_row, row in zip(rows(best), certificate.rows, strict=True):
        if not mine_row.number.meets(row.number):
            return f"{row.label}: {row.number.value} is not the proven {mine_row.number.value}"
    return None


def _relative(sums: Sums, given: Local) -> tuple[arb_mat, ...]:
    """Relative covariances of a listed optimum, in the Structure's coordinates."""
    from flint import arb

    psi, at = [], 0
    for term in sums.structure.model.random:
        k = term.Z.shape[1]
        G = exact(np.zeros((k, k)))
        for j in range(k):
            for i in range(j, k):
                G[i, j] = G[j, i] = arb(given.relative[at].value)
                at += 1
        psi.append(G)
    return inward(sums.structure, psi)


def _plausible(certificate: Certificate, structure: Structure) -> str | None:
    """A refined certificate's criterion in float64, at its covariances and at its log-likelihood."""
    empty = exact(np.zeros((0, 0)))
    sums = Sums(structure, LADDER[0], empty, empty, ())
    with precision(LADDER[0]):
        psi = [floats(G) for G in _relative(sums, certificate.optima[0])]
    criterion = Criterion(structure, certificate.method)
    point = criterion.at(tuple(root(G) for G in psi))
    said = -2 * certificate.number("loglik", "loglik").double
    if abs(point.value - said) > NEAR + 10 * point.bound:
        return f"loglik: the criterion is {point.value!r} at its covariances, {said!r} by its log-likelihood"
    return None
