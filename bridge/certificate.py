"""Certificate: what is proven of a model's optimum, as decimal numbers with their radii."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import ROUND_CEILING, Context, Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import StoreError
from bridge.fit import Method

if TYPE_CHECKING:
    import pyarrow as pa
    from flint import arb

    from bridge.model import Matrix, Model

DIGITS = 30
SCHEMA = "lmmbridge-certificate/1"
Status = Literal["ok", "singular", "undecided", "refined", "unidentified"]
Proof = Literal["global", "local (searched)", "none"]
Quantity = Literal["fixed", "phi", "std_error", "ran_pars", "theta", "ran_vals", "loglik"]


@dataclass(frozen=True, slots=True)
class Number:
    """A real number, enclosed.

    Attributes
    ----------
    value : str
        Decimal, at most 30 significant digits; ``0`` where 0 is inside the enclosure.
    radius : str
        The true number is within this of `value`: proven if the certificate is, else an estimate.
    double : float
        Nearest double to `value`.
    """

    value: str
    radius: str
    double: float

    @classmethod
    def of(cls, ball: arb) -> Number:
        """From a ball, rounded to 30 digits; the rounding is in the radius."""
        if not ball.is_finite():
            return cls("nan", "inf", math.nan)
        if ball.contains(0):
            return cls("0", "0" if ball == 0 else _up(_decimal(abs(ball).upper())), 0.0)
        with localcontext(Context(prec=120)):
            middle, radius, exponent = (Decimal(int(v)) for v in ball.mid_rad_10exp(DIGITS + 10))
            exact = middle.scaleb(int(exponent))
            rounded = Context(prec=DIGITS).plus(exact)
            total = radius.scaleb(int(exponent)) + abs(exact - rounded)
        value = str(rounded.normalize(Context(prec=DIGITS))) if rounded else "0"
        return cls(value, _up(total), float(rounded))

    def meets(self, other: Number) -> bool:
        """Whether the two enclosures have a point in common."""
        if "nan" in (self.value, other.value):
            return self.value == other.value
        with localcontext(Context(prec=120)):
            between = abs(Decimal(self.value) - Decimal(other.value))
            return between <= Decimal(self.radius) + Decimal(other.radius)


def _decimal(ball: arb) -> Decimal:
    """An upper bound of a non-negative exact ball."""
    middle, radius, exponent = (int(v) for v in ball.mid_rad_10exp(10))
    return Decimal(middle + radius).scaleb(exponent)


def _up(radius: Decimal) -> str:
    return str(Context(prec=3, rounding=ROUND_CEILING).plus(radius))


@dataclass(frozen=True, slots=True)
class Row:
    """One certified number, labelled as a Fit's rows are.

    Attributes
    ----------
    effect : str
        ``fixed`` (beta), ``phi`` (diagonal of (X'V^-1X)^-1), ``std_error`` (its root), ``ran_pars``
        (variance scale), ``theta`` (lme4's, by columns; term ``row.column``), ``ran_vals``, ``loglik``.
    """

    effect: Quantity
    group: str | None
    level: tuple[str, ...] | None
    term: str
    number: Number

    @property
    def label(self) -> str:
        """For messages."""
        parts = [self.effect, self.group or "", "/".join(self.level or ()), self.term]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Local:
    """A local optimum.

    Attributes
    ----------
    criterion : Number
        Deviance scale.
    relative : tuple of Number
        Lower triangles, by columns, of each term's G / sigma2, the user's units.
    ranks : tuple of int
        Rank of each term's G.
    proven : bool
        Whether a unique local minimum is proven to lie there.
    why : str
        Why not.
    """

    criterion: Number
    relative: tuple[Number, ...]
    ranks: tuple[int, ...]
    proven: bool
    why: str = ""


@dataclass(frozen=True)
class Certificate:
    """The optimum of one model by one method.

    Attributes
    ----------
    method : {"REML", "ML"}
    status : Status
        ``ok`` and ``singular`` are proven; ``refined`` is not and its radii are estimates;
        ``undecided`` and ``unidentified`` have no rows.
    why : str
        The reason for any other status than ok.
    proof : {"global", "local (searched)", "none"}
        Whether the lowest optimum is proven to be the lowest of all, or the lowest of those found.
    note : str
        Why a global proof that was tried did not succeed.
    rows : tuple of Row
    optima : tuple of Local
        Every local optimum found, lowest first.
    bits : int
        Working precision of the proof.
    starts : tuple of str
        Where the search began.
    formula : str
        Of the model, as it was written.
    weights, offset : str
        Columns of the data; empty for none.
    data_hash : str
        Content hash of the data.
    versions : mapping
    allowed : mapping of str to float
        Digits of each quantity that the data determine (bridge.allowed); not proven.
    """

    method: Method
    status: Status
    why: str = ""
    proof: Proof = "none"
    note: str = ""
    rows: tuple[Row, ...] = ()
    optima: tuple[Local, ...] = ()
    bits: int = 0
    starts: tuple[str, ...] = ()
    formula: str = ""
    data_hash: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, float] = field(default_factory=dict)
    weights: str = ""
    offset: str = ""

    @property
    def about(self) -> tuple[str, str, str, str]:
        """What it is a certificate of: formula, columns of weights and offset, hash of the data."""
        return self.formula, self.weights, self.offset, self.data_hash

    @property
    def proven(self) -> bool:
        """Whether its numbers are enclosures."""
        return self.status in ("ok", "singular")

    def number(
        self, effect: Quantity, term: str, group: str | None = None, level: tuple[str, ...] | None = None
    ) -> Number:
        """One number by its label.

        Raises
        ------
        KeyError
        """
        for row in self.rows:
            if (row.effect, row.group, row.level, row.term) == (effect, group, level, term):
                return row.number
        raise KeyError((effect, group, level, term))

    def facts(self) -> dict[str, Any]:
        """All but the rows, as JSON can hold it."""
        return {
            "status": self.status,
            "why": self.why,
            "proof": self.proof,
            "note": self.note,
            "digits": DIGITS,
            "bits": self.bits,
            "starts": list(self.starts),
            "formula": self.formula,
            "weights": self.weights,
            "offset": self.offset,
            "data_hash": self.data_hash,
            "versions": dict(self.versions),
            "allowed": dict(self.allowed),
            "optima": [asdict(o) for o in self.optima],
        }


def covariances(certificate: Certificate, model: Model) -> tuple[tuple[Matrix, ...], float]:
    """(Psi, sigma2) as nearest doubles: (k, k) arrays by random term, variance scale, user's units."""
    import numpy as np

    numbers = {(r.group, r.term): r.number.double for r in certificate.rows if r.effect == "ran_pars"}
    psi = []
    for term in model.random:
        G = np.zeros((len(term.names), len(term.names)))
        for i, first in enumerate(term.names):
            for j, second in enumerate(term.names[i:], i):
                name = f"var__{first}" if i == j else f"cov__{first}.{second}"
                G[i, j] = G[j, i] = numbers[term.group, name]
        psi.append(G)
    return tuple(psi), numbers["Residual", "var__Observation"]


def schema() -> pa.Schema:
    """Arrow schema of certified.parquet; the facts are JSON in its metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            ("method", pa.string()),
            ("effect", pa.string()),
            ("group", pa.string()),
            ("level", pa.list_(pa.string())),
            ("term", pa.string()),
            ("value", pa.string()),
            ("radius", pa.string()),
            ("double", pa.float64()),
        ]
    )


def write(path: str | os.PathLike[str], certificates: Iterable[Certificate]) -> None:
    """One certified.parquet for a case's methods, whole or not at all.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    certificates = tuple(certificates)
    records = [
        {
            "method": c.method,
            "effect": r.effect,
            "group": r.group,
            "level": None if r.level is None else list(r.level),
            "term": r.term,
            **asdict(r.number),
        }
        for c in certificates
        for r in c.rows
    ]
    facts = json.dumps({c.method: c.facts() for c in certificates})
    table = pa.Table.from_pylist(records, schema().with_metadata({"schema": SCHEMA, "certificates": facts}))
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: cannot be written: {error.strerror}; free space or change its rights"
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[Certificate, ...]:
    """Inverse of `write`.

    Raises
    ------
    StoreError
        No such file, or not a certificate.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        metadata = table.schema.metadata or {}
        if metadata.get(b"schema") != SCHEMA.encode() or not table.schema.equals(schema()):
            raise StoreError(
                f"{path}: not a certificate of this version ({SCHEMA}); remove it, then make it again"
            )
        return tuple(
            _certificate(method, facts, [r for r in table.to_pylist() if r["method"] == method])
            for method, facts in json.loads(metadata[b"certificates"]).items()
        )
    except FileNotFoundError as error:
        raise StoreError(f"{path}: there is no certificate; make one") from error
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: not a certificate ({type(error).__name__}); remove it, then make it again"
        ) from error


def _certificate(method: Method, facts: dict[str, Any], records: list[dict[str, Any]]) -> Certificate:
    rows = tuple(
        Row(
            r["effect"],
            r["group"],
            None if r["level"] is None else tuple(r["level"]),
            r["term"],
            Number(r["value"], r["radius"], r["double"]),
        )
        for r in records
    )
    optima = tuple(
        Local(
            Number(**o["criterion"]),
            tuple(Number(**v) for v in o["relative"]),
            tuple(o["ranks"]),
            o["proven"],
            o["why"],
        )
        for o in facts["optima"]
    )
    names = ("status", "why", "proof", "note", "bits", "formula", "data_hash", "versions", "allowed")
    # Certificates made before there were weights say nothing of them.
    given = {n: facts[n] for n in names} | {n: facts.get(n, "") for n in ("weights", "offset")}
    return Certificate(method, **given, rows=rows, optima=optima, starts=tuple(facts["starts"]))


def to_record(certificate: Certificate) -> dict[str, Any]:
    """A certificate as JSON can hold it."""
    rows = [[r.effect, r.group, r.level, r.term, *asdict(r.number).values()] for r in certificate.rows]
    return {"method": certificate.method, "facts": certificate.facts(), "rows": rows}


def from_record(record: Mapping[str, Any]) -> Certificate:
    """Inverse of `to_record`."""
    names = ("effect", "group", "level", "term", "value", "radius", "double")
    return _certificate(
        record["method"], record["facts"], [dict(zip(names, r, strict=True)) for r in record["rows"]]
    )
