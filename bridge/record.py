"""Records: references and judgements kept beside the fits, by the hash of all they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import StoreError
from bridge.fit import Fit, Method

if TYPE_CHECKING:
    from bridge.model import Model
    from bridge.reference import Reference
    from bridge.verdict import Judgement, Known

_OPTIMUM = (
    "grammar.py",
    "formula.py",
    "coding.py",
    "model.py",
    "structure.py",
    "criterion.py",
    "reference.py",
)
_VERDICT = (
    *_OPTIMUM, "identification.py", "audit.py", "sums.py", "balls.py", "tolerance.py", "tolerance.toml",
    "comparison.py", "verdict.py", "judge.py", "catalogue.py", "record.py", "engines/__init__.py",
)  # fmt: skip


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

    def reference(self, model: Model, method: Method, data_hash: str, pooling: str) -> Reference:
        """The optimum stored for a model and method, else one found from the fixed starts."""
        from bridge.reference import Reference

        path = self._place(model.formula, model.missing, data_hash, method, pooling)
        if path not in self._references:
            text = self._read(path)
            found = _or_none(lambda: Reference.from_json(text, model, method)) if text else None
            if found is None:
                found = Reference.polished(model, method)
                self.keep_reference(found, model, method, data_hash, pooling)
            self._references[path] = found
        return self._references[path]

    def improved(self, reference: Reference, fits: Sequence[Fit]) -> Reference:
        """The same, with the optima that descents from these fits' (Psi, sigma2) reach."""
        from bridge.audit import align, usable

        model = reference.criterion.structure.model
        answers = [align(model, fit) for fit in fits if fit.status == "ok"]
        return reference.with_fits([(a.psi, a.sigma2) for a in answers if not a.faults and not usable(a)])

    def keep_reference(
        self, reference: Reference, model: Model, method: Method, data_hash: str, pooling: str
    ) -> None:
        """Write it in place of the one that was there."""
        path = self._place(model.formula, model.missing, data_hash, method, pooling)
        self._references[path] = reference
        self._write(path, reference.to_json())

    def name(self, case: str, formula: str, missing: str, data_hash: str, method: str) -> dict[str, str]:
        """What a case's judgements depend on besides its fits: the references among it."""
        places = [
            self._place(formula, missing, data_hash, method, pooling) for pooling in ("partial", "complete")
        ]
        return {
            "case": case,
            "sources": sources(_VERDICT),
            **{f"place {i}": place.name for i, place in enumerate(places)},
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

    def _place(self, formula: str, missing: str, data_hash: str, method: str, pooling: str) -> Path:
        return (
            self._root("reference")
            / f"{_digest([formula, missing, data_hash, method, pooling, sources(_OPTIMUM)])}.json"
        )

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
        from bridge.data import write_bytes

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
