"""Records: references and judgements kept beside the fits, by the hash of all they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import StoreError
from bridge.fit import Fit, Method

if TYPE_CHECKING:
    from bridge.certificate import Certificate
    from bridge.criterion import Factors
    from bridge.model import Model
    from bridge.reference import Reference
    from bridge.verdict import Judgement, Known

_OPTIMUM = (
    "grammar.py",
    "formula.py",
    "variable.py",
    "coding.py",
    "source.py",
    "model.py",
    "structure.py",
    "criterion.py",
    "derivatives.py",
    "newton.py",
    "reference.py",
    "identification.py",
    "sums.py",
    "balls.py",
    "chart.py",
    "search.py",
    "proof.py",
    "branch.py",
    "estimates.py",
    "certificate.py",
    "certify.py",
)
_VERDICT = (
    *_OPTIMUM,
    "denominator.py",
    "audit.py",
    "tolerance.py",
    "tolerance.toml",
    "comparison.py",
    "verdict.py",
    "judge.py",
    "entry.py",
    "catalogue.py",
    "record.py",
    "engines/__init__.py",
)


LOWER = 1e-7
"""Deviance by which an optimum must be lower than the reference to take its place."""
ELSEWHERE = 1e-3
"""Deviance from the optimum beyond which an engine's answer may lie in another basin."""


@dataclass(frozen=True, slots=True)
class Place:
    """All that a reference depends on, besides the code: the certificate that came with the case among it."""

    formula: str
    missing: str
    data_hash: str
    method: str
    pooling: str
    certificate: str = ""
    weights: str = ""
    offset: str = ""


def certified(
    model: Model,
    method: Method,
    data_hash: str,
    known: Sequence[tuple[Factors, float]] = (),
    given: Certificate | None = None,
) -> Reference:
    """The reference by a certificate, given or made now; polished where nothing is certified."""
    from bridge.certify import certify
    from bridge.reference import Reference

    certificate = given or certify(model, method, data_hash, known)
    return (
        Reference.certified(certificate, model)
        if certificate.rows
        else Reference.polished(model, method, known)
    )


class Records:
    """JSON files in ``reference/`` and ``judgement/`` of a store's folder; in memory only without one.

    `fresh`: what was there before is not read.
    Doubles are written as the shortest text that reads back the same.
    """

    def __init__(self, folder: Path | None, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        self._texts: dict[Path, str] = {}
        self._references: dict[Path, Reference] = {}

    def reference(self, model: Model, method: Method, place: Place, given: Certificate | None) -> Reference:
        """The optimum stored for a model and method, else its certificate's: one given, or made now.

        Polished in float64 where nothing can be certified.
        """
        from bridge.reference import Reference

        path = self._place(place)
        if path not in self._references:
            text = self._read(path)
            found = _or_none(lambda: Reference.from_json(text, model, method)) if text else None
            if found is None:
                found = certified(model, method, place.data_hash, (), given)
                self.keep_reference(found, place)
            self._references[path] = found
        return self._references[path]

    def improved(self, reference: Reference, fits: Sequence[Fit], data_hash: str) -> Reference:
        """The same, or a new one if a descent from one of these fits' (Psi, sigma2) ends lower.

        Answers next to the optimum lead nowhere else, and one proven to be the lowest needs no search.
        """
        from bridge.audit import align, usable

        if reference.certificate is not None and reference.certificate.proof == "global":
            return reference
        criterion, best = reference.criterion, reference.best.value
        model = criterion.structure.model
        answers = [align(model, fit) for fit in fits if fit.status == "ok"]
        starts = [(a.psi, a.sigma2) for a in answers if not a.faults and not usable(a)]
        starts = [start for start in starts if abs(criterion.unprofiled(*start)[0] - best) > ELSEWHERE]
        found = reference.with_fits(starts) if starts else reference
        if found.best.value > best - LOWER or reference.certificate is None:
            return found
        return certified(model, criterion.method, data_hash, starts)

    def keep_reference(self, reference: Reference, place: Place) -> None:
        """Write it in place of the one that was there."""
        path = self._place(place)
        self._references[path] = reference
        self._write(path, reference.to_json())

    def name(self, case: str, places: Sequence[Place]) -> dict[str, str]:
        """What a case's judgements depend on besides its fits: the references among it."""
        return {
            "case": case,
            "sources": sources(_VERDICT),
            **{f"place {i}": self._place(place).name for i, place in enumerate(places)},
        }

    def judgements(
        self, name: Mapping[str, str], fits: Sequence[Fit], expect: str, known: Sequence[Known]
    ) -> tuple[list[Judgement], list[str]] | None:
        """Judgements of exactly these fits and their notes, None if they are to be made."""
        text = self._read(self._judged(name, fits, expect, known))
        return _or_none(lambda: _revive(json.loads(text), fits, known)) if text else None

    def keep(
        self,
        name: Mapping[str, str],
        fits: Sequence[Fit],
        expect: str,
        known: Sequence[Known],
        judgements: Sequence[Judgement],
        notes: Sequence[str],
    ) -> None:
        """Write them."""
        record = {"notes": list(notes), "judgements": [_flat(j, known) for j in judgements]}
        self._write(self._judged(name, fits, expect, known), json.dumps(record))

    def _judged(
        self, name: Mapping[str, str], fits: Sequence[Fit], expect: str, known: Sequence[Known]
    ) -> Path:
        places = [self._root("reference") / value for key, value in name.items() if key.startswith("place")]
        said = [
            dict(name),
            [self._read(place) for place in places],
            expect,
            list(map(repr, known)),
            list(map(repr, fits)),
        ]
        return self._root("judgement") / f"{_digest(said)}.json"

    def _place(self, place: Place) -> Path:
        return self._root("reference") / f"{_digest([*astuple(place), sources(_OPTIMUM)])}.json"

    def _root(self, kind: str) -> Path:
        return (self.folder or Path()) / kind

    def _read(self, path: Path) -> str:
        if path not in self._texts and self.folder is not None and not self.fresh:
            try:
                self._texts[path] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                return ""
        return self._texts.get(path, "")

    def _write(self, path: Path, text: str) -> None:
        from bridge.output import write_bytes

        self._texts[path] = text
        if self.folder is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store {path.parent}: cannot be made ({error.strerror}); name another with --store"
            ) from None
        write_bytes(text.encode(), path)


@cache
def sources(names: tuple[str, ...]) -> str:
    """SHA-256 over files of the package: an edited criterion or tolerance makes records out of date."""
    root = files("bridge")
    return _digest(
        [
            [name, root.joinpath(name).read_text(encoding="utf-8")]
            for name in names
            if root.joinpath(name).is_file()
        ]
    )


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _flat(judgement: Judgement, known: Sequence[Known]) -> dict[str, Any]:
    mine = next((i for i, entry in enumerate(known) if entry is judgement.known), None)
    names = ("case", "verdict", "reason", "gap", "claim", "expected", "surprise")
    plain = {name: getattr(judgement, name) for name in names}
    return {**plain, "known": mine, "rows": [astuple(row) for row in judgement.rows]}


def _revive(
    record: Mapping[str, Any], fits: Sequence[Fit], known: Sequence[Known]
) -> tuple[list[Judgement], list[str]]:
    from bridge.comparison import Comparison
    from bridge.verdict import Judgement, Verdict

    judgements = [
        Judgement(
            fit=fit,
            **{
                **flat,
                "verdict": Verdict(flat["verdict"]),
                "known": None if flat["known"] is None else known[flat["known"]],
                "rows": tuple(Comparison(q, g, tuple(lv), *rest) for q, g, lv, *rest in flat["rows"]),
            },
        )
        for flat, fit in zip(record["judgements"], fits, strict=True)
    ]
    return judgements, list(record["notes"])


def _or_none(make: Any) -> Any:
    """What `make` returns; None where a stored file is not what was written."""
    try:
        return make()
    except (ValueError, KeyError, TypeError, IndexError):
        return None
