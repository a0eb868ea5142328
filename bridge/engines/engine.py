"""Engine: the Protocol that every mixed-model program is spoken to through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

from bridge.fit import Fit, Method, Profile
from bridge.model import Model


@runtime_checkable
class Engine(Protocol):
    """A mixed-model program. Adapters hold translation only, no statistics.

    Attributes
    ----------
    name : str
        What users type: ``lme4``.
    language : {"Python", "R"}
    family : str
        Key of the tolerances that apply when the engine has none of its own.
    std_error : {"phi", "joint", "kenward-roger", "none"}
        Convention of its standard errors: sqrt diag Phi, from the joint Hessian, or from Kenward and
        Roger's adjusted Phi_A.
    df : {"none", "satterthwaite", "kenward-roger", "containment"}
        What its denominator degrees of freedom are; ``containment`` is Pinheiro & Bates' inner-outer rule.
    pooling : {"partial", "complete"}
        ``complete``: a baseline that ignores the random terms and reports fixed effects only.

    An engine that takes other errors than independent ones of one variance names them in ``errors``, a tuple
    of ``"varIdent"`` and ``"corAR1"``; without it, it is not asked for them.
    """

    name: str
    language: Literal["Python", "R"]
    family: str
    std_error: Literal["phi", "joint", "kenward-roger", "none"]
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"]
    pooling: Literal["partial", "complete"]

    def version(self) -> Mapping[str, str]:
        """Software name to version, all that the numbers depend on. Cheap: starts no engine.

        Raises
        ------
        UnavailableError
            Not on this machine; the message says how to get it.
        """
        ...

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        ...

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit, in the worker's process. Any exception becomes a ``refused`` Fit with its text."""
        ...


def unsupported(engine: Engine, model: Model, method: Method) -> str | None:
    """None if the engine can express the model, else the reason. A baseline may ignore errors' parameters."""
    errors = None if engine.pooling == "complete" else model.residual
    if errors is not None and errors.kind not in getattr(engine, "errors", ()):
        return f"{engine.name} takes errors as independent, of one variance; it has no {errors.kind}()"
    return engine.supports(model, method)
