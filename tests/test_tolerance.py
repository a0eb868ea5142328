"""Tolerances: each has its measurement, and the one that applies is the most particular."""

from __future__ import annotations

import pytest

from bridge.tolerance import Tolerance, lookup, table

ENTRIES = [
    pytest.param(quantity, entry, id=f"{owner}-{profile}-{quantity}")
    for owner, profiles in table().items()
    for profile, quantities in profiles.items()
    for quantity, entry in quantities.items()
]


@pytest.mark.parametrize(("quantity", "entry"), ENTRIES)
def test_every_tolerance_says_what_was_measured_where_and_why(quantity: str, entry: Tolerance) -> None:
    """A bare number cannot be reviewed, and one below its own measurement cannot hold."""
    assert entry.margin > 2
    assert entry.reason
    assert (entry.worst > 0) == bool(entry.where)
    assert entry.worst > 0 or quantity in ("self: sigma", "self: df")  # the same number twice, or a count


def test_tight_is_never_looser_than_default() -> None:
    """An engine's most careful settings held to less than its default would say nothing."""
    for owner, profiles in table().items():
        for quantity, entry in profiles["tight"].items():
            assert entry.value <= profiles["default"][quantity].value, (owner, quantity)


def test_an_engine_comes_before_its_family_before_anyone() -> None:
    """The engine glmmTMB has its own beta, statsmodels its own G, the rest is anyone's."""
    own = table()
    assert lookup("beta", "glmmTMB", "R", "default") is own["glmmTMB"]["default"]["beta"]
    assert lookup("G", "glmmTMB", "R", "default") is own["any"]["default"]["G"]
    assert lookup("G", "someone", "statsmodels", "default") is own["statsmodels"]["default"]["G"]
    with pytest.raises(KeyError):
        lookup("nonsense", "lme4", "R", "default")
