"""What the commands share: options, and how errors end."""

from __future__ import annotations

import codecs
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from bridge.errors import BridgeError
from bridge.fit import Method, Profile

if TYPE_CHECKING:
    from bridge.case import Case

P = ParamSpec("P")
DEFAULT: tuple[Profile, ...] = ("default",)
TIGHT: tuple[Profile, ...] = ("tight",)


class Which(StrEnum):
    """Profiles that a user can ask for."""

    default = "default"
    tight = "tight"
    both = "both"


class Criterion(StrEnum):
    """Methods."""

    REML = "REML"
    ML = "ML"


class Expected(StrEnum):
    """What may be expected of a model."""

    ok = "ok"
    singular = "singular"
    unidentified = "unidentified"
    refused = "refused"


class Holes(StrEnum):
    """What to do with missing values."""

    omit = "omit"
    passed = "pass"


Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CASE]...", help="Ids of cases; all that are not slow if none is named."),
]
Engines = Annotated[
    str | None,
    typer.Option(
        "--engines", "--engine", metavar="A,B", help="Only these engines, such as lme4,statsmodels."
    ),
]
Profiles = Annotated[
    Which, typer.Option("--profile", help="As a user gets them, at their most careful, or both.")
]
Methods = Annotated[
    list[Criterion] | None, typer.Option("--method", help="REML or ML; may be given twice; by default both.")
]
OneMethod = Annotated[
    list[Criterion] | None, typer.Option("--method", help="REML or ML; may be given twice; by default REML.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="Fits at a time; by default one a CPU.")]
Limit = Annotated[
    float | None, typer.Option("--limit", help="Seconds a fit may take; by default 60, or as its case says.")
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of finished fits; by default $LMMBRIDGE_STORE or .lmmbridge."),
]
Required = Annotated[
    str | None,
    typer.Option("--require", metavar="A,B", help="Engines whose absence is a failure, such as lme4,nlme."),
]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="csv, tsv, parquet or feather file.")]
FormulaText = Annotated[str, typer.Argument(metavar="FORMULA", help='lme4\'s language: "y ~ x + (1 | g)".')]

Missing = Annotated[
    Holes,
    typer.Option("--missing", help="Leave rows with missing values out for all alike, or pass them on."),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="COLUMN",
        help="Precision weights, as lme4's: the residual variance of a row is sigma2 / its weight.",
    ),
]
Offset = Annotated[
    str, typer.Option("--offset", metavar="COLUMN", help="A known part of the mean, on the response's scale.")
]
Expect = Annotated[
    Expected,
    typer.Option("--expect", help="What the model is known to be; unidentified lets an ill-posed one run."),
]


def split(text: str | None) -> list[str] | None:
    """``"a, b"`` as its parts; None for None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def profiles(which: Which) -> tuple[Profile, ...]:
    """The profiles meant."""
    return {Which.default: DEFAULT, Which.tight: TIGHT, Which.both: DEFAULT + TIGHT}[which]


def methods(chosen: Sequence[Criterion] | None, default: Sequence[Method]) -> list[Method]:
    """The methods meant."""
    return ["REML" if m is Criterion.REML else "ML" for m in chosen] if chosen else list(default)


def ending(command: Callable[P, int | None]) -> Callable[P, None]:
    """Bad input in one line and exit code 2, Ctrl-C as 130, else what the command returns."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BridgeError as error:
            say(f"lmmbridge: {error}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            say("; ".join(["lmmbridge: stopped", *map(str, stop.args)]))
            raise typer.Exit(130) from None
        except BrokenPipeError:  # `| head`: as a program ends that SIGPIPE kills
            _forget(1)
            raise typer.Exit(141) from None
        except OSError as error:
            say(f"lmmbridge: {error.filename or 'the output'}: {error.strerror or error}")
            _forget(1)
            raise typer.Exit(2) from None
        raise typer.Exit(code or 0)

    return wrapped


def say(text: str) -> None:
    """One line on stderr, whatever is in it; nothing if nobody can hear it."""
    if sys.stderr is None:
        return
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    try:
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)
    except OSError:
        _forget(2)


def tenths(noun: str, after: float = 0.0) -> Callable[[int, int], None]:
    """Progress without a terminal: a line on stderr for every tenth, none in the first `after` seconds."""
    begin, told = perf_counter(), -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if perf_counter() - begin >= after and (tenth := 10 * done // max(total, 1)) > told:
            told = tenth
            say(f"{done:,} of {total:,} {noun}")

    return tell


def ready() -> None:
    """Make stdout and stderr take whatever is said, closed or of another encoding as they may be."""
    for file in (0, 1, 2):
        try:
            os.fstat(file)
        except OSError:  # else a worker's pipe would get the number, and be closed or written to as output
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("lmmbridge", _instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="lmmbridge")


_INSTEAD = {"✓": "+", "✗": "x", "–": "-", "≈": "~", "²": "2", "…": "."}


def _instead(error: UnicodeError) -> tuple[str, int]:
    """One character for each that the stream's encoding does not have: tables stay aligned."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_INSTEAD.get(c, "?") for c in error.object[error.start : error.end]), error.end


def _forget(file: int) -> None:
    """Let what stdout or stderr could not write go, else Python tries again at exit and ends with 120."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), file)


def select(ids: Sequence[str], places: Sequence[Path] | None = None) -> tuple[list[Case], list[Case]]:
    """Cases that are named, or all but the slow ones; and those left out, for `omitted`.

    Parameters
    ----------
    ids : sequence of str
        None: all that are not tagged ``slow``; if there are no others, those.
    places : sequence of Path, optional
        Folders of cases; by default `roots`.

    Raises
    ------
    CaseError
        There is no case, or not the one that is named.
    """
    from bridge.case import find
    from bridge.errors import CaseError

    places = roots(ids) if places is None else places
    every = find(ids, places)
    if not every:
        raise CaseError(f"{places[0]}: there is no case in it; make one with lmmbridge add")
    kept = [case for case in every if ids or "slow" not in case.spec.tags] or every
    return kept, [case for case in every if case not in kept]


def omitted(cases: Sequence[Case]) -> None:
    """Say on stderr, last of all, which cases `select` left out."""
    if cases:
        names = " ".join(case.id for case in cases)
        typer.echo(f"left out, as they are tagged slow: {names} (name them to have them)", err=True)


def typed() -> str:
    """The command as it was typed, less ``--store``: a folder of this machine, which no page should name."""
    kept, words = list[str](), iter(sys.argv[1:])
    for word in words:
        if word == "--store":
            next(words, None)
        elif not word.startswith("--store="):
            kept.append(word)
    return shlex.join(["lmmbridge", *kept])


def roots(ids: Sequence[str]) -> list[Path]:
    """Folders to look for cases in: ./cases if there is one, else the bundled ones; by name, both."""
    from bridge.resources import find

    here = Path("cases")
    if not here.is_dir():
        return [find("cases")]
    return [here, find("cases")] if ids else [here]
