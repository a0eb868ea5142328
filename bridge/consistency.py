"""Consistency: each engine held to itself. The same model in other words must get the same answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bridge import tolerance
from bridge.agreement import Agreement
from bridge.audit import Answer, align, audit, usable
from bridge.catalogue import Referee, Watch, adapter
from bridge.comparison import Comparison, compared
from bridge.criterion import Criterion
from bridge.data import content_hash
from bridge.entry import Entry
from bridge.errors import BridgeError
from bridge.fit import Fit, Method, Profile
from bridge.formula import parse
from bridge.judge import claim, gone
from bridge.model import Matrix, Model, Vector
from bridge.reference import Optimum, Reference
from bridge.relation import RELATIONS, Image, Original, Relation, told_back, translation
from bridge.structure import Structure
from bridge.verdict import Judgement, Verdict, silent

BOTH = 2.0
"""Two answers of one engine may each be off by its tolerance."""


@dataclass(frozen=True, eq=False)
class First(Reference):
    """An engine's own first answer in the place of a reference; what it printed, right or not."""

    answer: Answer | None = None
    printed: float = math.nan

    @classmethod
    def of(cls, model: Model, fit: Fit, answer: Answer) -> First:
        """At the answer's own (Psi, sigma2)."""
        criterion = Criterion(Structure.of(model), fit.method)
        value, _ = criterion.unprofiled(answer.psi, answer.sigma2)
        here = Optimum(value, answer.psi, answer.sigma2, 0.0)
        return cls("polished", criterion, (here,), None, answer, fit.loglik)

    @cached_property
    def beta(self) -> Vector:
        """Fixed effects as printed."""
        assert self.answer is not None
        return self.answer.beta

    @cached_property
    def blups(self) -> tuple[Matrix, ...]:
        """BLUPs as printed."""
        assert self.answer is not None
        return self.answer.blups

    @property
    def loglik(self) -> float:
        """Log-likelihood as printed."""
        return self.printed


def chosen(names: Sequence[str] | None) -> tuple[Relation, ...]:
    """Relations by name; all if none is named.

    Raises
    ------
    BridgeError
        There is none of that name.
    """
    known = {relation.name: relation for relation in RELATIONS}
    for name in names or ():
        if name not in known:
            raise BridgeError(f"relation {name!r:.80}: there is none of that name; use {', '.join(known)}")
    return tuple(known[name] for name in names) if names else RELATIONS


@dataclass(frozen=True, eq=False)
class Retold:
    """An entry, one relation, and the image that it makes of the entry."""

    entry: Entry
    original: Original
    relation: Relation
    image: Image

    @cached_property
    def again(self) -> Entry:
        """The image as an entry of its own."""
        return replace(
            self.entry,
            name=f"{self.entry.name} {self.relation.name}",
            formula=self.image.formula,
            frame=self.image.frame,
            path=None,
            data_hash=content_hash(self.image.frame),
            certified=None,
        )


def retold(entry: Entry, relations: Sequence[Relation]) -> Iterator[Retold]:
    """The images of an entry: none where rows are left out, it is ill-posed or errors have parameters."""
    if entry.model.residual or entry.model.dropped or entry.problems() or not entry.model.random:
        return
    original = Original(entry.frame, parse(entry.formula), entry.model, entry.weights, entry.offset)
    for relation in relations:
        image = relation.image(original)
        if image is not None and translation(original, image, original.again(image)) is not None:
            yield Retold(entry, original, relation, image)


def consistency(
    referee: Referee,
    entries: Sequence[Entry],
    *,
    engines: Sequence[str] | None = None,
    relations: Sequence[str] | None = None,
    methods: Sequence[Method] | None = None,
    profiles: Sequence[Profile] = ("default",),
    watch: Watch | None = None,
) -> Agreement:
    """Judge engines by their own answers to the same model in other words.

    Returns
    -------
    Agreement
        A judgement for each case, relation, method, engine and profile; `Judgement.case` is the case's
        name and the relation's. Differences are between the two answers of one engine.
    """
    told = [one for entry in entries for one in retold(entry, chosen(relations))]
    pairs = {
        (one.again.name, method): one
        for one in told
        for method in one.relation.methods
        if method in one.entry.methods and (methods is None or method in methods)
    }
    bases = {(one.entry.name, method): (one.entry, method) for (_, method), one in pairs.items()}
    images = [(one.again, method) for (_, method), one in pairs.items()]
    fits = referee.fits([*bases.values(), *images], engines=engines, profiles=profiles, watch=watch)
    return Agreement(
        tuple(
            _judged(one, base, image)
            for (name, method), one in pairs.items()
            for base, image in zip(fits[one.entry.name, method], fits[name, method], strict=True)
        ),
        counted=f"comparisons (of {sum(map(len, fits.values()))} fits)",
    )


def _judged(one: Retold, base: Fit, image: Fit) -> Judgement:
    verdict, reason, rows = _compared(one, base, image)
    off = next((row.difference for row in rows if row.quantity == "gap"), float("nan"))
    about = image.engine, image.method, image.profile, image.versions
    known = next((k for k in one.entry.known if k.matches(*about, one.relation.name)), None)
    surprise = ""
    if known is not None and not verdict.neutral:
        surprise = gone(known, verdict, silent(image, verdict, claim(image)))
    elif known is None and not (verdict.passes or verdict.neutral):
        # An answer that is known to be wrong in these words need not be the same in others.
        known = next((k for k in one.entry.known if k.matches(*about)), None)
        surprise = "" if known is not None else f"{verdict}: {reason}"
    return Judgement(
        one.again.name, image, verdict, reason, off, rows, claim(image), known, not surprise, surprise
    )


def _compared(one: Retold, base: Fit, image: Fit) -> tuple[Verdict, str, tuple[Comparison, ...]]:
    """Two answers of one engine, the second told back."""
    if base.status != "ok" or image.status != "ok":
        return _unusable(one, base, image)
    engine, method = adapter(base.engine), base.method
    original, again = one.original, one.again.model
    if engine.pooling == "complete":
        original, again = replace(original, model=one.entry.unpooled), one.again.unpooled
    model = original.model
    first = align(model, base)
    second, fit = told_back(original, one.image, again, image, method)
    for answer, where in ((first, "the original"), (second, "the image")):
        fault = answer.faults[0] if answer.faults else usable(answer)
        if fault:
            same = where == "the original"
            verdict = Verdict.UNSUPPORTED if same else Verdict.INCONSISTENT
            return verdict, f"no usable answer for {where}: {fault}", ()
    reference = First.of(model, base, first)
    found = audit(reference.criterion, second, fit, engine)

    def limit(quantity: str) -> float:
        return BOTH * tolerance.lookup(quantity, engine.name, engine.family, base.profile).value

    off = found.value - reference.best.value
    rows = compared(reference, second, found, fit, engine.std_error, off, limit)
    bad = [row for row in rows if not row.ok]
    if not bad:
        return Verdict.AGREE, "the same answer in other words", rows
    worst = max(bad, key=lambda row: row.difference / row.tolerance)
    what = " ".join(part for part in (worst.quantity, worst.group, *worst.level, worst.term) if part)
    return (
        Verdict.INCONSISTENT,
        f"{one.relation.what}: {what} moves by {worst.difference:.2g} {worst.scale} "
        f"(allowed {worst.tolerance:.1g})",
        rows,
    )


def _unusable(one: Retold, base: Fit, image: Fit) -> tuple[Verdict, str, tuple[Comparison, ...]]:
    if base.status != "ok":
        return Verdict.UNSUPPORTED, f"no answer for the original ({base.status}): {base.reason}", ()
    if image.status == "refused" and one.image.spare:
        return Verdict.AGREE, f"refuses the column too many: {image.reason}", ()
    return Verdict.INCONSISTENT, f"{one.relation.what}: {image.status}: {image.reason}", ()
