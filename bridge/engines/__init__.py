"""The engines there are, by name. Each is a class behind an entry point of ``lmmbridge.engines``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from bridge.engines.engine import Engine
from bridge.errors import BridgeError, UnavailableError

GROUP = "lmmbridge.engines"

# For a checkout that is not installed; pyproject.toml declares the same, and a test holds them equal.
BUILT_IN = {
    "numpy": "bridge.engines.numpy:Numpy",
    "statsmodels": "bridge.engines.statsmodels:Statsmodels",
    "ols": "bridge.engines.statsmodels:Ols",
    "glmm": "bridge.engines.glmm:Glmm",
    "mixedlm": "bridge.engines.mixedlm:Mixedlm",
    "mixedlm-rs": "bridge.engines.mixedlm_rs:MixedlmRs",
    "lme-python": "bridge.engines.lme_python:LmePython",
    "kamino-lme": "bridge.engines.kamino:Kamino",
    "interlace-lme": "bridge.engines.interlace:Interlace",
    "gpboost": "bridge.engines.gpboost:GPBoost",
    "lme4": "bridge.engines.lme4:Lme4",
    "lmerTest": "bridge.engines.lmertest:LmerTest",
    "pbkrtest": "bridge.engines.pbkrtest:Pbkrtest",
    "nlme": "bridge.engines.nlme:Nlme",
    "glmmTMB": "bridge.engines.glmmtmb:GlmmTMB",
    "lm": "bridge.engines.lm:Lm",
}


@cache
def targets() -> Mapping[str, str]:
    """Engine name to ``module:Class``: the built-in ones first, then those that others declare."""
    declared = {point.name: point.value for point in entry_points(group=GROUP)}
    return {**BUILT_IN, **dict(sorted(declared.items()))}


def names() -> list[str]:
    """Names of all declared engines, available here or not."""
    return list(targets())


def target(name: str) -> str:
    """``module:Class`` of an engine.

    Raises
    ------
    BridgeError
        Neither a declared name nor of the form ``module:Class``.
    """
    if ":" in name:
        return name
    if name not in targets():
        known = ", ".join(names())
        raise BridgeError(f'engine "{name}": there is none of that name; use one of {known}, or module:Class')
    return targets()[name]


def check(name: str) -> None:
    """Refuse an engine that cannot be meant; a declared one may be missing, ``module:Class`` may not.

    Raises
    ------
    BridgeError
        Not a declared name, or a ``module:Class`` that cannot be imported.
    """
    target(name)
    if ":" in name:
        try:
            get(name)
        except UnavailableError as error:
            unfound = isinstance(error.__cause__, ImportError | AttributeError | ValueError)
            advice = "; mend the name, or put its folder on PYTHONPATH" if unfound else ""
            raise BridgeError(f"{error}{advice}") from None


def get(name: str) -> Engine:
    """Engine by name, or by ``module:Class``; its module is imported now, its software is not.

    Raises
    ------
    BridgeError
        No such engine.
    UnavailableError
        The adapter's own module cannot be imported, or what was found is not an `Engine`.
    """
    return _load(target(name))


@cache
def _load(place: str) -> Engine:
    module, _, attribute = place.partition(":")
    try:
        found = getattr(import_module(module), attribute)()
        fault = _fault(found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may call sys.exit, or raise what is no Exception
        raise UnavailableError(
            f"engine {place}: cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if fault:
        raise UnavailableError(f"engine {place}: {fault}")
    return cast(Engine, found)


_MEMBERS = ("name", "language", "family", "std_error", "df", "pooling", "version", "supports", "fit")
_WORDS = {
    "language": ("Python", "R"),
    "std_error": ("phi", "joint", "kenward-roger", "none"),
    "df": ("none", "satterthwaite", "kenward-roger", "containment"),
    "pooling": ("partial", "complete"),
}


def _fault(found: object) -> str:
    """Why something is not an `Engine`; empty if it looks like one."""
    if lacks := [member for member in _MEMBERS if not hasattr(found, member)]:
        return f"is not an Engine; give it {', '.join(lacks)}"
    for name in ("name", "family"):
        if not isinstance(getattr(found, name), str):
            return f"its {name} is {getattr(found, name)!r:.80}; make it text"
    for name, known in _WORDS.items():
        if getattr(found, name) not in known:
            return f"its {name} is {getattr(found, name)!r:.80}; make it one of {', '.join(known)}"
    return ""


def stated(engine: Engine) -> dict[str, str]:
    """What an adapter's ``version()`` says; UnavailableError if that fails or is no text."""
    try:
        found = dict(engine.version())
        if all(isinstance(text, str) for item in found.items() for text in item):
            return found
        said = f"gave {found!r:.200}"
    except (KeyboardInterrupt, UnavailableError):
        raise
    except BaseException as error:
        said = f"failed ({type(error).__name__}: {error})"
    raise UnavailableError(f"engine {engine.name}: version() {said}; make it give names and versions as text")


def variable(name: str) -> str:
    """The environment variable that names an engine's own Python: ``LMMBRIDGE_ENGINE_KAMINO_LME_PYTHON``."""
    return f"LMMBRIDGE_ENGINE_{''.join(c if c.isalnum() else '_' for c in name.upper())}_PYTHON"


def interpreter(name: str) -> str:
    """Python that runs the engine: what its `variable` says if set, else this one."""
    return os.environ.get(variable(name)) or sys.executable


def versions(name: str) -> dict[str, str]:
    """Software that the engine's numbers depend on, asked of the interpreter that will run it.

    Raises
    ------
    UnavailableError
        Not on this machine; the message says why.
    """
    python = interpreter(name)
    if python == sys.executable:
        return stated(get(name))
    from bridge.process import Worker

    with Worker(python) as worker:
        try:
            return worker.versions(name)
        except UnavailableError as error:
            where = "" if python in str(error) else f" (there: {variable(name)} is {python})"
            raise UnavailableError(f"{error}{where}") from error


def available() -> dict[str, dict[str, str] | str]:
    """Each engine's versions, or in a sentence why it cannot be used here."""
    found: dict[str, dict[str, str] | str] = {}
    for name in names():
        try:
            found[name] = versions(name)
        except BridgeError as error:
            found[name] = str(error)
    return found
