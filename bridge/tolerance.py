"""Tolerance: how far an engine may be from the reference, with the measurement that says why."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bridge.fit import Profile


@dataclass(frozen=True, slots=True)
class Tolerance:
    """One entry of tolerance.toml.

    Attributes
    ----------
    value : float
        Largest difference allowed, on the quantity's scale (docs/verdicts.md).
    worst : float
        Largest difference measured over the catalogue's fits that agree.
    where : str
        The fit in which it was measured.
    reason : str
    """

    value: float
    worst: float
    where: str
    reason: str

    @property
    def margin(self) -> float:
        """How many times the measured worst case fits into the tolerance."""
        return self.value / self.worst if self.worst > 0 else float("inf")


@cache
def table() -> dict[str, dict[str, dict[str, Tolerance]]]:
    """tolerance.toml: owner (engine or family) -> profile -> quantity -> Tolerance."""
    text = files("bridge").joinpath("tolerance.toml").read_text(encoding="utf-8")
    return {
        owner: {
            profile: {quantity: Tolerance(**entry) for quantity, entry in quantities.items()}
            for profile, quantities in profiles.items()
        }
        for owner, profiles in tomllib.loads(text).items()
    }


def owner(quantity: str, engine: str, family: str, profile: Profile) -> str:
    """Whose tolerance applies: the engine's own, else its family's, else ``any``.

    Raises
    ------
    KeyError
        A quantity that tolerance.toml does not know.
    """
    for name in (engine, family, "any"):
        if quantity in table().get(name, {}).get(profile, {}):
            return name
    raise KeyError(quantity)


def lookup(quantity: str, engine: str, family: str, profile: Profile) -> Tolerance:
    """The tolerance that applies; see `owner`."""
    return table()[owner(quantity, engine, family, profile)][profile][quantity]
