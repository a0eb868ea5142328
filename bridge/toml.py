"""TOML files read and checked, with every fault told in one line: file, field, value, fix."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.errors import BridgeError

T = TypeVar("T", bound=BaseModel)


def load(path: Path, error: type[BridgeError]) -> dict[str, Any]:
    """Document as plain values; `error` with file and line if it cannot be read."""
    try:
        text = path.read_bytes().decode()
        if text.startswith("\ufeff"):
            raise error(f"{path}: begins with a byte order mark; save it as UTF-8 without one")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the name") from None
    except OSError as fault:
        raise error(f"{path}: cannot read it ({fault.strerror}); check the file and its mode") from None
    except UnicodeDecodeError as fault:
        raise error(f"{path}: byte {fault.start} is not UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as fault:
        raise error(f"{path}: not valid TOML: {fault}; mend that line") from None
    except RecursionError:
        raise error(f"{path}: brackets are nested too deeply; take some away") from None
    except ValueError:  # Python's limit on the digits of an integer, or a path with a NUL
        raise error(f"{str(path)!r}: holds an integer of thousands of digits; mend it") from None


def validate(
    model: type[T],
    document: Mapping[str, Any],
    where: object,
    error: type[BridgeError],
    page: str = "docs/cases.md",
) -> T:
    """Document as a `model`; `error` telling the first fault, and how many more there are.

    `page` lists the fields.
    """
    try:
        return model.model_validate(document)
    except ValidationError as fault:
        first, *more = (_explain(dict(item), document, page) for item in fault.errors())
        others = sorted(set(more) - {first})
        tail = f" (and {len(others)} more)" if others else ""
        raise error(f"{where}: {first}{tail}") from None


def _explain(fault: dict[str, Any], document: Mapping[str, Any], page: str) -> str:
    """One fault of pydantic's as ``methods[0]: 'REMLL' is not one of REML, ML``."""
    field = _field(fault["loc"], document, fault["type"])
    given, context = fault["input"], fault.get("ctx", {})
    if fault["type"] == "missing":
        return f"{field}: missing; add it"
    if fault["type"] == "extra_forbidden":
        return f"{field}: unknown key; check its spelling or remove it ({page} lists them all)"
    if fault["type"] == "literal_error":
        known = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"{field}: {given!r} is not one of {known}"
    if fault["type"] == "value_error":
        return f"{field}: {context['error']}" if field else str(context["error"])
    for bound, words in (("le", "at most"), ("ge", "at least")):
        if bound in context:
            return f"{field}: {given!r}: must be {words} {context[bound]:g}"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{field}: {given!r}: {message}"


def _field(location: tuple[int | str, ...], document: Any, kind: str) -> str:
    """``methods[0]`` or ``data.rows``: pydantic's location without the names of union branches."""
    field = ""
    for part in location:
        inside = isinstance(document, Mapping) and part in document
        element = isinstance(document, list | tuple) and isinstance(part, int) and part < len(document)
        if inside or element:
            document = document[part]
        elif kind != "missing":
            continue
        field += f"[{part}]" if isinstance(part, int) else f".{part}"
    return field.removeprefix(".")
