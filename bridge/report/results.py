"""Results: all that a report shows, as one JSON file: a page is drawn from it, runs are compared by it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema

from bridge.errors import StoreError
from bridge.fit import Method, Profile
from bridge.verdict import Claim, Verdict

SCHEMA: Literal["lmmbridge-report/1"] = "lmmbridge-report/1"
FILE = "report.json"
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _number(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _spelled(value: float) -> float | str:
    if value != value:
        return "NaN"
    return value if abs(value) != float("inf") else "Infinity" if value > 0 else "-Infinity"


Number = Annotated[
    float,
    BeforeValidator(_number),
    PlainSerializer(_spelled),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_WORDS)}]}),
]
"""A float; JSON has no word for those that are not finite, so they are written as texts."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Part):
    """One number of a fit beside the reference's: see `bridge.comparison.Comparison`."""

    quantity: str
    group: str = ""
    level: tuple[str, ...] = ()
    term: str = ""
    estimate: Number
    reference: Number
    difference: Number
    scale: str
    tolerance: Number
    lre: Number
    ok: bool


class Difference(_Part):
    """What a case says beforehand of a fit that differs."""

    reason: str
    verdicts: tuple[Verdict, ...]
    versions: str = ""
    size: str = ""
    link: str = ""


class FitResult(_Part):
    """One fit and its verdict.

    Attributes
    ----------
    rows : tuple of Line
        Those beyond tolerance, worst first, then the worst of each quantity, group and term.
    left_out : int
        Rows of results.parquet that are not among them.
    digits : mapping of str to (float, float)
        Worst and median correct digits (LRE) by kind of number.
    gap : float
        Deviance units above the optimum, at the engine's own variances.
    recorded : str
        Software of a recorded fit; empty for one made on that machine.
    seconds : float
        The engine's own wall time.
    """

    case: str
    method: Method
    engine: str
    profile: Profile
    verdict: Verdict
    words: str
    symbol: str
    claim: Claim
    silent: bool
    expected: bool
    surprise: str
    reason: str
    cause: str
    advice: str
    gap: Number
    loglik: Number
    seconds: Number
    messages: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    recorded: str = ""
    known: Difference | None = None
    rows: tuple[Line, ...] = ()
    left_out: int = 0
    digits: dict[str, tuple[Number, Number]] = {}

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Case, method, engine, profile."""
        return self.case, self.method, self.engine, self.profile

    @property
    def name(self) -> str:
        """``sleepstudy-REML-lme4-default``: the fit's address in the page."""
        return "-".join(self.key)


class CaseResult(_Part):
    """What was fitted. `references`: how the truth was found, by method; `allowed`: digits the data allow."""

    name: str
    title: str = ""
    formula: str = ""
    family: str = ""
    tags: tuple[str, ...] = ()
    rows: int = 0
    why: str = ""
    source: str = ""
    licence: str = ""
    data_hash: str = ""
    expect: dict[str, str] = {}
    references: dict[str, str] = {}
    allowed: dict[str, dict[str, Number]] = {}
    command: str = ""


class EngineResult(_Part):
    """Who fitted. `missing`: why it was not available; empty if it was."""

    name: str
    language: str = ""
    pooling: str = "partial"
    std_error: str = ""
    df: str = ""
    versions: dict[str, str] = {}
    missing: str = ""


class Pair(_Part):
    """One number from a Python and from an R engine; `difference` in the unit of the tolerances."""

    quantity: str
    python: str
    r: str
    case: str
    method: Method
    what: str
    a: Number
    b: Number
    difference: Number


class Table(_Part):
    """A table to show as it is."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = False
    title: str = ""
    note: str = ""


class Explained(_Part):
    """What clusters weigh in one case; `pictures` are names of SVG files beside report.json."""

    case: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[str, ...] = ()


class Allowed(_Part):
    """One tolerance, with the measurement and the reason for it, and what this run's agreeing fits left."""

    owner: str
    profile: str
    quantity: str
    value: Number
    worst: Number
    where: str
    reason: str
    here: Number
    here_where: str


class Requirement(_Part):
    """How often one engine's numbers of a kind were checked and held, over all fits with numbers."""

    id: str
    statement: str
    engine: str
    profile: str
    checked: int
    met: int
    known: int
    worst: Number
    where: str

    @property
    def outcome(self) -> str:
        """In words."""
        if self.met == self.checked:
            return "met"
        return "met but for known differences" if self.met + self.known == self.checked else "not met"


class Results(_Part):
    """A whole run.

    Attributes
    ----------
    facts : tuple of (str, str)
        Provenance: versions, BLAS, CPU, platform, date, command, hash of the tolerances.
    numbers : tuple of Table
        Of a run of one model: a row a quantity, a column an engine, for each method and profile.
    """

    schema_: Literal["lmmbridge-report/1"] = SCHEMA
    sentence: str
    exit_code: int
    notes: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    engines: tuple[EngineResult, ...] = ()
    cases: tuple[CaseResult, ...] = ()
    fits: tuple[FitResult, ...] = ()
    pairs: tuple[Pair, ...] = ()
    pairs_left_out: int = 0
    numbers: tuple[Table, ...] = ()
    league: tuple[Table, ...] = ()
    explained: tuple[Explained, ...] = ()
    tolerances: tuple[Allowed, ...] = ()
    requirements: tuple[Requirement, ...] = ()

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, alias_generator=lambda name: name.rstrip("_")
    )

    @property
    def versions(self) -> dict[str, str]:
        """Software of all engines that were there."""
        return {name: v for engine in self.engines for name, v in engine.versions.items()}

    @property
    def date(self) -> str:
        """When it was written."""
        return dict(self.facts).get("date", "")


def dump(results: Results) -> str:
    """report.json's text; the same results give the same text."""
    return results.model_dump_json(by_alias=True, indent=None) + "\n"


def read(place: Path) -> Results:
    """The results in a folder, or in a file.

    Raises
    ------
    StoreError
        There is no such file, it cannot be read, or it is something else; the message says what.
    """
    path = place / FILE if place.is_dir() else place
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror}); name a folder that lmmbridge run --report wrote"
        ) from None
    try:
        return Results.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise StoreError(
            f"{path}: {field}: {first['msg']}; it is not a report.json of this lmmbridge, make the run again"
        ) from None


def schema() -> dict[str, Any]:
    """JSON Schema of report.json."""
    found = Results.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
