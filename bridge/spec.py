"""Spec: what a case.toml may say, field by field, and the known differences in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from bridge.errors import FormulaError
from bridge.fit import LONGEST, Method, Profile
from bridge.formula import parse
from bridge.generate import Design
from bridge.verdict import Verdict

SCHEMA = "lmmbridge/1"
Expect = Literal["ok", "singular", "unidentified", "refused"]
Text = Annotated[str, Field(min_length=1)]
_RANGE = re.compile(r"\s*([A-Za-z][\w.]*)\s*(<=|>=|==|!=|<|>)\s*(\d[\w.+-]*)\s*")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownDifference(_Part):
    """A verdict that is known and understood, so that only its absence is news.

    Attributes
    ----------
    engine : str
    profile, methods : tuple of str
        Those it holds for; ``"*"`` in the file means all.
    verdicts : tuple of Verdict
        Any of these is what is expected.
    silent : bool or "varies"
        Whether the engine gives wrong numbers without a word of warning (`Judgement.silent`); ``"varies"``
        where rounding decides, from machine to machine.
    versions : str
        Such as ``lme4 < 1.1-35`` or ``R >= 4.2, lme4 == 1.1-31`` (all must hold); empty: any version.
    relation : str
        Name of a relation (`bridge.relation`) that the engine breaks here; empty: the case as it is.
    size : float or str
        As measured.
    reason, link : str
    """

    engine: Text
    profile: Annotated[tuple[Profile, ...], Field(min_length=1)] = ("default", "tight")
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("REML", "ML")
    verdicts: Annotated[tuple[Verdict, ...], Field(min_length=1)]
    silent: Annotated[bool, Field(strict=True)] | Literal["varies"] = False
    versions: str = ""
    relation: str = ""
    size: Annotated[float, Field(strict=True, allow_inf_nan=False)] | str = ""
    reason: Text
    link: str = ""

    @field_validator("profile", "methods", mode="before")
    @classmethod
    def _star(cls, value: Any, info: ValidationInfo) -> Any:
        return cls.model_fields[str(info.field_name)].default if value == "*" else value

    @field_validator("verdicts")
    @classmethod
    def _of_the_engine(cls, value: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        if Verdict.AGREE in value and Verdict.TIMED_OUT not in value:  # with it: near the limit of time
            raise ValueError("AGREE is no difference; leave it out")
        if Verdict.REFERENCE_WRONG in value:
            raise ValueError(
                "REFERENCE_WRONG is the referee's own fault, no case can expect it; leave it out"
            )
        return value

    @field_validator("versions")
    @classmethod
    def _readable(cls, value: str) -> str:
        _conditions(value)
        return value

    def matches(
        self, engine: str, method: str, profile: str, versions: Mapping[str, str], relation: str = ""
    ) -> bool:
        """Whether it speaks of this fit, of the case or of its image by a relation."""
        same = (relation, engine) == (self.relation, self.engine)
        return same and method in self.methods and profile in self.profile and self.applies(versions)

    def applies(self, versions: Mapping[str, str]) -> bool:
        """Whether it is about software of these versions; what is not in `versions` does not satisfy it."""
        return satisfied(self.versions, versions)


class DataFile(_Part):
    """The data's file in the case's folder, its content hash and number of rows.

    No file (``""``): they are not stored, but drawn by ``[generate]`` each time.
    """

    file: str = "data.parquet"
    hash: str
    rows: Annotated[int, Field(strict=True, ge=1)]

    @field_validator("file")
    @classmethod
    def _beside(cls, value: str) -> str:
        if value and not re.fullmatch(r"[^./\\\0][^/\\\0]*", value):
            raise ValueError(f"{value!r} is not the name of a file in the case's folder")
        return value

    @field_validator("hash")
    @classmethod
    def _sha256(cls, value: str) -> str:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
            raise ValueError(f"{value!r} is not sha256: and 64 hexadecimal digits")
        return value


class Spec(_Part):
    """What case.toml says; docs/cases.md explains every field."""

    schema_: Annotated[Literal["lmmbridge/1"], Field(alias="schema")]
    title: Text
    formula: Text
    methods: Annotated[tuple[Method, ...], Field(min_length=1)]
    tags: tuple[Text, ...] = ()
    family: str = ""
    source: Text
    licence: Text
    why: str = ""
    expect: Expect | dict[Method, Expect] = "ok"
    missing: Literal["omit", "pass"] = "omit"
    weights: str = ""
    offset: str = ""
    time_limit: Annotated[float, Field(strict=True, gt=0, le=LONGEST, allow_inf_nan=False)] | None = None
    data: DataFile | None = None
    generate: Design | None = None
    known_difference: tuple[KnownDifference, ...] = ()

    @field_validator("expect", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            _among(value, get_args(Expect))
            return value
        for method, word in value.items():
            _among(method, get_args(Method))
            _among(word, get_args(Expect))
        return dict(value)

    @field_validator("formula")
    @classmethod
    def _parsed(cls, value: str) -> str:
        try:
            parse(value)
        except FormulaError as error:
            raise ValueError(str(error).removeprefix("formula ")) from None
        return value

    @field_validator("methods")
    @classmethod
    def _once(cls, value: tuple[Method, ...]) -> tuple[Method, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a method twice; remove one")
        return value

    @model_validator(mode="after")
    def _sourced(self) -> Spec:
        if self.data is None and self.generate is None:
            raise ValueError("data: missing; add a [data] table, or a [generate] table")
        if self.data is not None and not self.data.file and self.generate is None:
            raise ValueError('data.file: is "", data that are drawn; name a file, or add a [generate] table')
        return self


def satisfied(conditions: str, versions: Mapping[str, str]) -> bool:
    """Whether versions meet ``lme4 < 1.1-35, R >= 4.2``; ValueError if that is not of this form."""
    return all(
        name in versions and _holds(version(versions[name]), relation, bound)
        for name, relation, bound in _conditions(conditions)
    )


def _among(value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(known)}")


def _conditions(text: str) -> list[tuple[str, str, Version]]:
    """``lme4 < 1.1-35, R >= 4.2`` as triples; ValueError."""
    found = []
    for part in text.split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is not like 'lme4 < 1.1-35'")
        found.append((match[1], match[2], version(match[3])))
    return found


def version(text: str) -> Version:
    """R's ``1.1-35`` as 1.1.35; what follows a blank (``4.2.2 Patched``) is left out; ValueError."""
    try:
        return Version(text.split()[0].replace("-", "."))
    except (InvalidVersion, IndexError):
        raise ValueError(f"{text!r} is not a version such as 1.1-35") from None


def _holds(version: Version, relation: str, bound: Version) -> bool:
    return {
        "<": version < bound,
        "<=": version <= bound,
        ">": version > bound,
        ">=": version >= bound,
        "==": version == bound,
        "!=": version != bound,
    }[relation]
