"""Text: words for verdicts and numbers, and every escape that untrusted text needs."""

from __future__ import annotations

import html as _html
import math
import re
from collections.abc import Sequence
from typing import Protocol

from bridge.comparison import Comparison
from bridge.verdict import Judgement, Verdict

AGREES, KNOWN, FAILS, NEUTRAL = "✓", "≈", "✗", "–"

SHORT = {
    Verdict.AGREE: "agree",
    Verdict.AGREE_SINGULAR: "singular",
    Verdict.FLAT: "flat",
    Verdict.MULTIMODAL: "other optimum",
    Verdict.WORSE_OPTIMUM: "worse optimum",
    Verdict.WRONG_COMPUTATION: "wrong numbers",
    Verdict.INCONSISTENT: "inconsistent",
    Verdict.NOT_CONVERGED: "no numbers",
    Verdict.UNIDENTIFIED: "unidentified",
    Verdict.REFUSED: "refused",
    Verdict.UNSUPPORTED: "unsupported",
    Verdict.UNAVAILABLE: "unavailable",
    Verdict.CRASHED: "crashed",
    Verdict.TIMED_OUT: "timed out",
    Verdict.REFERENCE_WRONG: "reference wrong",
}
"""What a table says of a verdict."""

LOGLIK = "wrong logLik"
"""Said instead where the log-likelihood alone is wrong; the verdict is WRONG_COMPUTATION all the same."""

LEGEND = (
    "✓ right (agree; singular: on the boundary, as it should be; flat: the data hardly tell)   "
    "≈ expected of this case (known difference, or a refusal that is right)   "
    "✗ not expected   – not available, or the model is not supported   "
    "wrong logLik: the log-likelihood alone, as by its constant; estimates, SEs and BLUPs are right"
)


def clean(text: str) -> str:
    """One line without control characters, so that no label can steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split())).strip()


def markdown(text: str) -> str:
    """Untrusted text inside Markdown, in a table cell or a line: shown, never obeyed."""
    return re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", _html.escape(clean(text), quote=False))


def html(text: str) -> str:
    """Untrusted text inside HTML."""
    return _html.escape(clean(text), quote=True)


def number(value: float, digits: int = 7) -> str:
    """A number to so many significant digits; NaN as an empty cell."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def size(value: float) -> str:
    """A difference, to two digits."""
    return "NaN" if math.isnan(value) else f"{value:.2g}"


def level(labels: Sequence[str]) -> str:
    """Labels of one level, as R prints crossed ones."""
    return ":".join(labels)


class Labelled(Protocol):
    """What a number is of: a `Comparison`, or a `Line` of a report."""

    @property
    def quantity(self) -> str:
        """``beta``, ``var``, ``self: SE`` ..."""
        ...

    @property
    def group(self) -> str:
        """Grouping factor, or empty."""
        ...

    @property
    def level(self) -> tuple[str, ...]:
        """Labels of one level, or none."""
        ...

    @property
    def term(self) -> str:
        """Coefficient, or ``var__<name>``."""
        ...


def where(row: Labelled) -> str:
    """What a row is about: ``BLUP Subject 308 Days``."""
    quantity, term = row.quantity, row.term
    if quantity.removeprefix("self: ") in ("gap", "sigma", "logLik"):
        return quantity
    if quantity == "var":
        quantity, _, term = term.partition("__")
    return clean(" ".join(part for part in (quantity, row.group, level(row.level), term) if part))


def symbol(judgement: Judgement) -> str:
    """One sign for a verdict, given what the case expects."""
    if judgement.verdict.neutral:
        return NEUTRAL
    if not judgement.expected:
        return FAILS
    return AGREES if judgement.verdict.passes else KNOWN


def short(judgement: Judgement) -> str:
    """What a table says of a fit: `SHORT`, or `LOGLIK` where nothing else is beyond tolerance."""
    beyond = {row.quantity.removeprefix("self: ") for row in judgement.failing}
    alone = judgement.verdict is Verdict.WRONG_COMPUTATION and beyond == {"logLik"}
    return LOGLIK if alone else SHORT[judgement.verdict]


def words(judgement: Judgement) -> str:
    """Sign and word, with a note where the engine gave no warning."""
    silent = ", silent" if judgement.silent else ""
    return f"{symbol(judgement)} {short(judgement)}{silent}"


def engine(judgement: Judgement) -> str:
    """An engine's name as a table's head or row has it, marked if it was not here."""
    return judgement.fit.engine + (" (recorded)" if judgement.fit.recorded else "")


def plural(count: int, noun: str) -> str:
    """``1 fit``, ``2,000 fits``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def counted(count: int, said: str) -> str:
    """``2 refused``, ``1 with wrong numbers``: fits of which a table says this."""
    return f"{count} {'with ' if said.endswith(' numbers') else ''}{said}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def explain(row: Comparison) -> str:
    """A row that disagrees, on one line: what, both numbers, how far, on which scale, how far allowed."""
    if row.quantity == "gap":
        return f"gap: {size(row.difference)} deviance units above the optimum, allowed {size(row.tolerance)}"
    numbers = (
        ""
        if math.isnan(row.reference)
        else f"{number(row.estimate, 10) or 'NaN'}, right is {number(row.reference, 10)}; "
    )
    return f"{where(row)}: {numbers}{size(row.difference)} {clean(row.scale)}, allowed {size(row.tolerance)}"
