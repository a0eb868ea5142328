"""Verdict and Judgement: what the referee says of one fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from bridge.fit import Fit

if TYPE_CHECKING:
    from bridge.comparison import Comparison


class Verdict(StrEnum):
    """What the referee says of one fit; the first that matches wins (docs/verdicts.md)."""

    AGREE = "AGREE"
    AGREE_SINGULAR = "AGREE_SINGULAR"
    FLAT = "FLAT"
    MULTIMODAL = "MULTIMODAL"
    WORSE_OPTIMUM = "WORSE_OPTIMUM"
    WRONG_COMPUTATION = "WRONG_COMPUTATION"
    INCONSISTENT = "INCONSISTENT"
    NOT_CONVERGED = "NOT_CONVERGED"
    UNIDENTIFIED = "UNIDENTIFIED"
    REFUSED = "REFUSED"
    UNSUPPORTED = "UNSUPPORTED"
    UNAVAILABLE = "UNAVAILABLE"
    CRASHED = "CRASHED"
    TIMED_OUT = "TIMED_OUT"
    REFERENCE_WRONG = "REFERENCE_WRONG"

    @property
    def passes(self) -> bool:
        """Whether the engine's numbers are right."""
        return self in {Verdict.AGREE, Verdict.AGREE_SINGULAR, Verdict.FLAT}

    @property
    def answered(self) -> bool:
        """Whether the engine gave an answer, right or wrong."""
        return not self.neutral and self not in {Verdict.REFUSED, Verdict.CRASHED, Verdict.TIMED_OUT}

    @property
    def neutral(self) -> bool:
        """Neither right nor wrong: the engine was not there, or says that it cannot express the model."""
        return self in {Verdict.UNAVAILABLE, Verdict.UNSUPPORTED}


Claim = Literal["ok", "warned", "not converged", "none"]


class Known(Protocol):
    """What a case says beforehand of an engine's disagreement."""

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """Any of these is what is expected."""
        ...

    @property
    def silent(self) -> bool | Literal["varies"]:
        """Whether the engine is expected to say nothing of it; ``"varies"``: it may or may not."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...

    def matches(
        self, engine: str, method: str, profile: str, versions: Mapping[str, str], relation: str = ""
    ) -> bool:
        """Whether it speaks of this fit, of the case or of its image by a relation."""
        ...


def silent(fit: Fit, verdict: Verdict, claim: Claim) -> bool:
    """Not right, with no word of warning: claimed to be fine, or made no claim at all."""
    wrong = fit.status == "ok" and not (verdict.passes or verdict.neutral)
    return wrong and claim in ("ok", "none")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one fit of one case.

    Attributes
    ----------
    case : str
    fit : Fit
    verdict : Verdict
    reason : str
        One sentence that names the cause and what to do.
    gap : float
        Criterion at the engine's own (Psi, sigma2) minus the reference, deviance scale.
    rows : tuple of Comparison
    claim : str
        What the engine claims of itself.
    known : Known or None
        The known difference that speaks of this fit, if any.
    expected : bool
        Whether the case expects this verdict; a known difference that is gone is unexpected.
    surprise : str
        Why it is unexpected; empty if it is expected.
    """

    case: str
    fit: Fit
    verdict: Verdict
    reason: str
    gap: float
    rows: tuple[Comparison, ...]
    claim: Claim
    known: Known | None
    expected: bool
    surprise: str

    @property
    def silent(self) -> bool:
        """Not right, with no word of warning: claimed to be fine, or made no claim at all."""
        return silent(self.fit, self.verdict, self.claim)

    @property
    def failing(self) -> tuple[Comparison, ...]:
        """Rows beyond tolerance, worst first."""
        bad = [row for row in self.rows if not row.ok]
        return tuple(
            sorted(
                bad, key=lambda r: -(r.difference / r.tolerance if r.difference == r.difference else math.inf)
            )
        )

    @property
    def name(self) -> str:
        """``sleepstudy-REML[lme4]``, ``sleepstudy-REML[lme4-tight]``."""
        suffix = "" if self.fit.profile == "default" else f"-{self.fit.profile}"
        return f"{self.case}-{self.fit.method}[{self.fit.engine}{suffix}]"
