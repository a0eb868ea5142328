"""Fit: one engine's answer, as a tidy table with broom.mixed's columns and one row of facts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

Method = Literal["REML", "ML"]
Profile = Literal["default", "tight"]
Status = Literal["ok", "refused", "unsupported", "unavailable", "crashed", "timed_out"]
Effect = Literal["fixed", "ran_pars", "ran_vals"]

LONGEST = 1e7
"""Seconds that a time limit may be: four months. Far larger ones overflow the clocks of the system."""


class Row(NamedTuple):
    """One estimate, in broom.mixed's terms; a tuple, for a large fit has a hundred thousand of them.

    Attributes
    ----------
    effect : {"fixed", "ran_pars", "ran_vals"}
    term : str
        Fixed and ran_vals: lme4's coefficient name. ran_pars: ``var__<name>`` or
        ``cov__<name1>.<name2>`` (names in the term's column order), *variance scale*;
        the residual is ``var__Observation`` in group ``Residual``.
    estimate : float
    group : str or None
        lme4's name of the grouping factor (``g``, ``b:a``); None for fixed effects.
    level : tuple of str or None
        One label per crossed factor, in the order of `group`; ran_vals only.
    std_error : float or None
        The engine's own, in the engine's own convention (see `Engine.std_error`).
    df : float or None
        Denominator degrees of freedom, the engine's own (see `Engine.df`); fixed only.
    """

    effect: Effect
    term: str
    estimate: float
    group: str | None = None
    level: tuple[str, ...] | None = None
    std_error: float | None = None
    df: float | None = None

    def having(self, **changes: Any) -> Row:
        """Copy with some fields changed."""
        return self._replace(**changes)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a Fit is from that was not made on this machine.

    Attributes
    ----------
    software : str
        ``R 4.5.0, lme4 1.1-37``.
    platform, date : str
    why : str
        Why it could not be made here.
    """

    software: str
    platform: str
    date: str
    why: str

    def __str__(self) -> str:
        return f"recorded, {self.software}"


@dataclass(frozen=True, slots=True)
class Fit:
    """What one engine said of one model by one method under one profile.

    Attributes
    ----------
    engine, method, profile : str
    status : Status
        ``ok``: numbers came back, whatever the engine thinks of them. Any other status has no rows.
    rows : tuple of Row
    loglik : float
        Log-likelihood as the engine prints it (REML: without log|X'X|), NaN if none.
    sigma : float
        Residual standard deviation, NaN if none.
    n : int
        Rows the engine says it used.
    converged : bool or None
        The engine's own claim; None if it makes none.
    messages : tuple of str
        Warnings, messages and captured output, in the engine's own words.
    reason : str
        Why there are no numbers, when `status` is not ``ok``.
    seconds : float
        Wall time of the engine's own call (design and formula included if the engine does them).
    versions : mapping
        Software name to version.
    limit : float
        Time limit in seconds under which it ran.
    recorded : Origin or None
        Of a recorded fit (`bridge.recording`); None: made on this machine. Not stored.
    """

    engine: str
    method: Method
    profile: Profile
    status: Status = "ok"
    rows: tuple[Row, ...] = ()
    loglik: float = math.nan
    sigma: float = math.nan
    n: int = 0
    converged: bool | None = None
    messages: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = math.nan
    versions: Mapping[str, str] = field(default_factory=dict)
    limit: float = math.nan
    recorded: Origin | None = None

    def select(self, effect: Effect) -> tuple[Row, ...]:
        """Rows of one kind of effect."""
        return tuple(row for row in self.rows if row.effect == effect)

    def having(self, **changes: Any) -> Fit:
        """Copy with some fields changed."""
        return replace(self, **changes)


def schema() -> pa.Schema:
    """Arrow schema of stored fits: one record per fit, its tidy rows nested in it."""
    import pyarrow as pa

    row = pa.struct(
        [
            ("effect", pa.string()),
            ("group", pa.string()),
            ("level", pa.list_(pa.string())),
            ("term", pa.string()),
            ("estimate", pa.float64()),
            ("std_error", pa.float64()),
            ("df", pa.float64()),
        ]
    )
    return pa.schema(
        [
            ("engine", pa.string()),
            ("method", pa.string()),
            ("profile", pa.string()),
            ("status", pa.string()),
            ("rows", pa.list_(row)),
            ("loglik", pa.float64()),
            ("sigma", pa.float64()),
            ("n", pa.int64()),
            ("converged", pa.bool_()),
            ("messages", pa.list_(pa.string())),
            ("reason", pa.string()),
            ("seconds", pa.float64()),
            ("versions", pa.string()),
            ("limit", pa.float64()),
        ]
    )


def to_arrow(fits: Iterable[Fit]) -> pa.Table:
    """Fits as one Arrow table, a record each."""
    import pyarrow as pa

    records = [
        {
            **{name: getattr(fit, name) for name in schema().names},
            "rows": [
                {
                    "effect": r.effect,
                    "group": r.group,
                    "level": None if r.level is None else list(r.level),
                    "term": r.term,
                    "estimate": r.estimate,
                    "std_error": r.std_error,
                    "df": r.df,
                }
                for r in fit.rows
            ],
            "messages": list(fit.messages),
            "versions": json.dumps(dict(fit.versions), sort_keys=True),
        }
        for fit in fits
    ]
    return pa.Table.from_pylist(records, schema=schema())


def from_arrow(table: pa.Table) -> list[Fit]:
    """Inverse of `to_arrow`."""
    return [
        Fit(
            **{
                **{name: record[name] for name in schema().names},
                "rows": tuple(
                    Row(**{**r, "level": None if r["level"] is None else tuple(r["level"])})
                    for r in record["rows"]
                ),
                "messages": tuple(record["messages"]),
                "versions": json.loads(record["versions"]),
            }
        )
        for record in table.to_pylist()
    ]
