"""Attempt: one call of a Python engine, with all that it said, and the versions that it depends on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bridge.errors import UnavailableError
from bridge.fit import Fit

Answer = dict[str, Any]
"""Fields of `Fit` that an adapter fills in; ``messages`` are added to the warnings caught."""


@cache
def versions(engine: str, *packages: str) -> Mapping[str, str]:
    """What an engine's numbers depend on, read from metadata: nothing is imported.

    Raises
    ------
    UnavailableError
        One of the packages is not installed.
    """
    try:
        return {name: version(name) for name in packages}
    except PackageNotFoundError as error:
        raise UnavailableError(
            f"engine {engine}: {error.name} is not installed; pip install {error.name}"
        ) from error


def attempt(blank: Fit, run: Callable[[], Answer]) -> Fit:
    """Run with warnings caught; any exception is a refusal in the engine's own words."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = run()
        except Exception as error:
            answer = {"status": "refused", "reason": f"{type(error).__name__}: {error}"}
    said = [f"{w.category.__name__}: {w.message}" for w in caught]
    messages = tuple(dict.fromkeys([*said, *answer.pop("messages", ())]))
    return blank.having(messages=messages, seconds=time.perf_counter() - start, **answer)


def load(engine: str, module: str) -> Any:
    """An engine's module, imported when it is used.

    Raises
    ------
    UnavailableError
        It is installed and cannot be imported.
    """
    try:
        return import_module(module)
    except Exception as error:
        raise UnavailableError(
            f"engine {engine}: {module} cannot be imported: {type(error).__name__}: {error}"
        ) from error
