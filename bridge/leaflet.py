"""Leaflet: the READMEs of exported reference data, in the manner of NIST's StRD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.certificate import Certificate, Number, Row
from bridge.report.text import markdown, plural

if TYPE_CHECKING:
    from bridge.export import Reference

SHOWN = 15
"""Significant digits in a README, as in StRD; the CSV and JSON have 30."""

PROVEN = {
    "ok": "Proven: in the box given by the radii lies exactly one stationary point, and it is a local "
    "optimum.",
    "singular": "Proven: in the box given by the radii lies exactly one stationary point, on the boundary (a "
    "covariance matrix of random effects has less than full rank), and it is a local optimum.",
    "refined": "Not proven: the model is too large for a proof; the radii are estimates.",
    "undecided": "No values: what could not be settled is said below.",
    "unidentified": "No values: the data do not identify the model.",
}
GLOBAL = {
    "global": "Proven: no other value of the parameters has a likelihood as high.",
    "local (searched)": "It is the best of all local optima that were found; that there is no better one is "
    "not proven.",
    "none": "",
}
NAMES = {"fixed": "estimate of", "std_error": "standard error of"}

ABOUT = Path(__file__).with_suffix(".md")
"""The index, but for its table."""


def index(references: Sequence[Reference]) -> str:
    """README of the whole export."""
    lines = ["| data set | formula | observations | groups | REML | ML |", "|---|---|---|---|---|---|"]
    for r in references:
        said = [_brief(r.certificates[m]) if m in r.certificates else "" for m in ("REML", "ML")]
        cells = (f"[{r.case.id}]({r.case.id}/README.md)", markdown(r.case.spec.formula), *_sizes(r), *said)
        lines.append(f"| {' | '.join(cells)} |")
    about = ABOUT.read_text(encoding="utf-8").format(version=__version__, shown=SHOWN)
    return about.rstrip() + "\n\n" + "\n".join(lines) + "\n"


def leaflet(reference: Reference) -> str:
    """README of one data set."""
    spec = reference.case.spec
    observations, groups = _sizes(reference)
    facts = {
        "Data set": f"data.csv: {plural(len(reference.frame), 'row')}, {observations} used",
        "Columns": ", ".join(map(markdown, _columns(reference))),
        "Source": markdown(spec.source),
        "Licence": markdown(spec.licence),
        "What is hard": markdown(spec.why),
        "Model": markdown(spec.formula),
        "Weights": spec.weights
        and f"{markdown(spec.weights)}: the residual variance of a row is sigma2 / weight",
        "Offset": spec.offset and f"{markdown(spec.offset)}: a known part of the mean",
        "In words": markdown(_words(reference)),
        "Levels": groups,
        "Hash of the data": reference.case.data_hash,
    }
    lines = [f"# {reference.case.id}", "", markdown(spec.title), "", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in facts.items() if text]
    for certificate in reference.certificates.values():
        lines += ["", f"## Certified values, {certificate.method}", "", *_section(certificate)]
    lines += [
        "",
        f"Rounded to {SHOWN} digits or what is certain; 30 digits with radii, BLUPs and theta are in "
        "reference.csv and reference.json. Conventions and definitions: ../README.md.",
    ]
    return "\n".join(lines) + "\n"


def _section(certificate: Certificate) -> Iterator[str]:
    """What is proven, the values, and other optima, of one method."""
    yield " ".join(filter(None, (PROVEN[certificate.status], GLOBAL[certificate.proof])))
    for text in ("" if certificate.proven else certificate.why, certificate.note):
        if text:
            yield f"({markdown(text)})"
    main = [row for row in certificate.rows if row.effect in ("fixed", "std_error", "ran_pars", "loglik")]
    if main:
        yield ""
        yield "| quantity | certified value |"
        yield "|---|---:|"
        yield from (f"| {markdown(_quantity(row))} | {_rounded(row.number)} |" for row in main)
    if len(certificate.optima) > 1:
        yield ""
        yield "Local optima found, by -2 logLik; the values above are those of the lowest:"
        for optimum in certificate.optima:
            proven = "proven" if optimum.proven else "not proven"
            yield f"- {_rounded(optimum.criterion)} ({proven})"
    if certificate.versions:
        versions = ", ".join(f"{name} {version}" for name, version in certificate.versions.items())
        yield ""
        yield f"Made with {markdown(versions)} at {certificate.bits} bits."


def _quantity(row: Row) -> str:
    """``estimate of Days``, ``variance of Days by Subject``."""
    kind, _, term = row.term.partition("__")
    if row.effect == "loglik":
        return "log-likelihood"
    if row.effect in NAMES:
        return f"{NAMES[row.effect]} {row.term}"
    if row.group == "Residual":
        return "residual variance"
    return f"{'variance' if kind == 'var' else 'covariance'} of {term} by {row.group}"


def _rounded(number: Number) -> str:
    """Up to 15 significant digits, as many as the radius lets stand, such as 6.12089938662525E+02."""
    value, radius = Decimal(number.value), Decimal(number.radius)
    if not value.is_finite() or not value:
        return "0" if value.is_finite() else "cannot be told"
    certain = value.adjusted() - radius.adjusted() if radius else SHOWN
    rounded = Context(prec=max(1, min(SHOWN, certain))).plus(value)
    digits, _, exponent = f"{rounded:E}".partition("E")
    return f"{digits}E{int(exponent or rounded.adjusted()):+03d}"


def _sizes(reference: Reference) -> tuple[str, str]:
    """Observations used, and levels of each grouping factor."""
    if reference.model is None:
        return str(len(reference.frame)), ""
    groups = {term.group: len(term.levels) for term in reference.model.random}
    return str(reference.model.n), ", ".join(f"{markdown(g)}: {count}" for g, count in groups.items())


def _columns(reference: Reference) -> Iterator[str]:
    from bridge.data import kind

    for name in reference.frame.columns:
        values = reference.frame[name]
        what = kind(values)
        levels = f", {len(values.cat.categories)} levels" if what in ("factor", "ordered") else ""
        yield f"{name} ({what}{levels})"


def _words(reference: Reference) -> str:
    """The model as a sentence."""
    model = reference.model
    if model is None:
        return ""
    parts = [f"{model.response} has fixed effects of {_listed(model.names)}"]
    for term in model.random:
        k = len(term.names)
        shape = "of one variance" if k == 1 else f"with an unrestricted {k} x {k} covariance matrix"
        parts.append(
            f"each of the {len(term.levels)} levels of {term.group} adds random effects of "
            f"{_listed(term.names)}, normal with mean 0, {shape}"
        )
    return "; ".join([*parts, "residuals are independent and normal, of one variance"])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nothing (all zero)"


def _brief(certificate: Certificate) -> str:
    return certificate.status + (f", {certificate.proof}" if certificate.rows else "")
