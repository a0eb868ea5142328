"""Call: what a script calls, an engine on a model. `repro_r` and `repro_python` put it into code."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.engines.engine import Engine
from bridge.engines.table import Table
from bridge.fit import Method, Profile
from bridge.model import Model


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """What is called: an engine on a model.

    Attributes
    ----------
    engine : Engine
    model : Model
        For a complete-pooling baseline, the one without random terms.
    method, profile : str
    table : Table or None
        The data of engines that read coefficients as columns of their own.
    """

    engine: Engine
    model: Model
    method: Method
    profile: Profile
    table: Table | None = None

    @property
    def tight(self) -> bool:
        """Whether the most careful settings are meant."""
        return self.profile == "tight"


def roles(call: Call, form: str, start: str = ", ") -> str:
    """Arguments for the columns of weights and offset, as `form` says."""
    spelling = call.model.spelling
    given = [("weights", spelling.weights), ("offset", spelling.offset)]
    found = [form.format(role=role, alias=alias) for role, alias in given if alias]
    return start + ", ".join(found) if found else ""
