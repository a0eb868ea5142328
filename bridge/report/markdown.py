"""Markdown: the report of a run, with the tidy tables beside it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from bridge.report import conventions, digits, explain, league, page, tables, text
from bridge.report.gather import gather
from bridge.report.grid import Grid
from bridge.report.measured import measured
from bridge.report.provenance import provenance
from bridge.report.results import dump
from bridge.report.summary import summary

if TYPE_CHECKING:
    from bridge.agreement import Agreement
    from bridge.explanation import Explanation
    from bridge.spec import Spec


@dataclass(frozen=True, slots=True)
class Extras:
    """What a report shows besides an Agreement.

    Attributes
    ----------
    explained : sequence of Explanation
        What clusters weigh, for the cases that are about it.
    allowed : mapping of (case, method) to mapping of str to float
        Digits that the data allow.
    references : mapping of (case, method) to str
        ``certified, global``, ``refined`` or ``polished``.
    sizes : mapping of str to int or None
        Bytes of each engine's software.
    specs : mapping of str to Spec
        What case.toml says of a case, by its name.
    drawn : mapping of str to sequence of str
        Pictures of `explained`, by case.
    """

    explained: Sequence[Explanation] = ()
    allowed: Mapping[digits.Where, Mapping[str, float]] = field(default_factory=dict)
    references: Mapping[digits.Where, str] = field(default_factory=dict)
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    specs: Mapping[str, Spec] = field(default_factory=dict)
    drawn: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write(agreement: Agreement, folder: Path, seconds: float, extras: Extras) -> None:
    """report.md, index.html, report.json, summary.md, results.parquet, verdicts.parquet and junit.xml.

    The page is left out where the libraries that draw it are not installed.

    Parameters
    ----------
    seconds : float
        Wall time of the run.
    extras : Extras

    Raises
    ------
    StoreError
        The folder cannot be written to.
    """
    import pyarrow as pa

    from bridge.data import write_table
    from bridge.output import make_folder, write_bytes

    make_folder(folder, f"--report {folder}")
    drawn = {e.name: explain.draw(e, folder, Path("figures") / e.name) for e in extras.explained}
    extras = replace(extras, drawn=drawn)
    found = gather(agreement, seconds, extras)
    write_bytes(document(agreement, seconds, extras).encode(), folder / "report.md")
    write_bytes(summary(found).encode(), folder / "summary.md")
    write_bytes(dump(found).encode(), folder / "report.json")
    if not page.lacking():
        write_bytes(page.render(found, folder).encode(), folder / page.FILE)
    write_table(pa.Table.from_pandas(agreement.table, preserve_index=False), folder / "results.parquet")
    write_table(pa.Table.from_pandas(agreement.verdicts, preserve_index=False), folder / "verdicts.parquet")
    write_bytes(junit(agreement), folder / "junit.xml")


def document(agreement: Agreement, seconds: float, extras: Extras) -> str:
    """report.md: every text from data, a case or an engine is escaped."""
    parts = ["# Who agrees", f"**{text.markdown(agreement.sentence)}**", *map(text.markdown, agreement.notes)]
    parts += [tables.matrix(agreement).markdown(), text.markdown(text.LEGEND), "## Not expected"]
    for name, reason, rows in tables.unexpected(agreement):
        lines = "\n".join(f"- {text.markdown(row)}" for row in rows)
        parts.append(f"### {text.markdown(name)}\n\n{text.markdown(reason)}\n\n{lines}".rstrip())
    if not agreement.unexpected:
        parts.append("Nothing.")
    parts += ["## Known differences", _known(agreement), "## Wrong without a warning", _silent(agreement)]
    if agreement.missing:
        absent = [f"- {text.markdown(f'{name}: {reason}')}" for name, reason in agreement.missing.items()]
        parts += ["## Not available", "\n".join(absent)]
    if side_by_side := league.section(agreement, extras.sizes):
        parts += ["## League table", *side_by_side]
    if (apart := tables.languages(agreement)) is not None:
        parts += ["## Python against R", _LANGUAGES, apart.markdown()]
    parts += ["## Standard errors and df", _CONVENTIONS, conventions.overview(agreement).markdown()]
    parts += ["## Correct digits", text.markdown(digits.NOTE), _ENGINES, digits.digits(agreement).markdown()]
    parts += [_CASES, digits.by_case(agreement, extras.allowed).markdown()]
    if extras.explained:
        parts += ["## How much a cluster counts", _SHARES]
        parts += [explain.markdown(e, extras.drawn.get(e.name, ()), "###") for e in extras.explained]
    if extras.references:
        kinds = Counter(extras.references.values())
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        parts += ["## References", f"{said}. {_REFERENCES}"]
    parts += ["## Tolerances", _TOLERANCES, measured(agreement).markdown()]
    parts += ["## Provenance", provenance(agreement, seconds).markdown()]
    return "\n\n".join(parts) + "\n"


_LANGUAGES = (
    "Largest difference between the numbers of two engines, over cases and methods (default profile) in "
    "which both are right: fixed effects in standard errors, variances and BLUPs in units of G + F, the "
    "variance of a random effect and that with which the data show it."
)
_CONVENTIONS = (
    "What each engine prints, and is judged under. *Phi*: sqrt diag (X'V^-1 X)^-1. *joint Hessian*: also "
    "what the estimation of the variances costs, so never smaller. *Kenward-Roger*: adjusted for small "
    "samples. *most above Phi*: over the fits that are right. df are compared among engines that define "
    "the same thing."
)
_TOLERANCES = (
    "Largest differences over the fits that agree, beside what is allowed and what bridge/tolerance.toml "
    "states as the worst measured; scales as in docs/verdicts.md."
)
_REFERENCES = (
    "Certified: one and only one local optimum is proven, in ball arithmetic, to lie where the numbers say; "
    "global: it is proven to be the lowest of all; local (searched): no lower one was found. See "
    "docs/certificates.md."
)
_ENGINES = "Median over the numbers of all fits, right or wrong; the worst in parentheses."
_CASES = (
    "By case, the worst digits of G, sigma, beta, SE and BLUPs, in this order. *data allow*: digits that "
    "survive a change of each datum by half a unit in its last place."
)
_SHARES = (
    "With a predictor that is constant within clusters, lm weights a cluster's mean by its size n, the mixed "
    "model by 1 / (tau² + sigma²/n): small clusters count for more than in lm, and for less than large ones. "
    "The pooling factor, how far a cluster's own mean is trusted, is the same number times tau². "
    "docs/weights.md explains every column."
)


def _known(agreement: Agreement) -> str:
    known = [j for j in agreement.judgements if j.known is not None]
    rows = [(j.name, text.words(j), j.known.reason) for j in known if j.known is not None]
    return Grid(("fit", "verdict", "why"), tuple(rows)).markdown() if rows else "None."


def _silent(agreement: Agreement) -> str:
    silent = [(j.name, text.words(j), j.reason) for j in agreement.judgements if j.silent]
    return Grid(("fit", "verdict", "why"), tuple(silent)).markdown() if silent else "None."


def junit(agreement: Agreement) -> bytes:
    """JUnit's XML: a test case per fit."""
    suite = ElementTree.Element("testsuite", name="lmmbridge", tests=str(len(agreement.judgements)))
    for j in agreement.judgements:
        attributes = {"classname": text.clean(j.case), "name": text.clean(j.name)}
        seconds = {"time": f"{j.fit.seconds:.3f}"} if j.fit.seconds > 0 else {}
        item = ElementTree.SubElement(suite, "testcase", attributes | seconds)
        if j.fit.recorded is not None:
            kept = ElementTree.SubElement(item, "properties")
            ElementTree.SubElement(
                kept, "property", name="recorded", value=text.clean(j.fit.recorded.software)
            )
        if not j.expected:
            failure = ElementTree.SubElement(item, "failure", message=text.clean(j.surprise or j.reason))
            failure.text = "\n".join(text.explain(row) for row in j.failing)
        elif j.verdict.neutral:
            ElementTree.SubElement(item, "skipped", message=text.clean(j.reason))
    suite.set("failures", str(len(agreement.unexpected)))
    out = io.BytesIO()
    ElementTree.ElementTree(suite).write(out, encoding="utf-8", xml_declaration=True)
    return out.getvalue()
