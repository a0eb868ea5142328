"""Certificates as decimal numbers, on disk and back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from flint import arb

from bridge.certificate import Certificate, Local, Number, Row, read, write
from bridge.errors import StoreError
from bridge.sums import precision


def test_thirty_digits_and_a_radius_that_covers_the_rounding() -> None:
    """A radius without the rounding of the decimals would not enclose the number."""
    with precision(256):
        number = Number.of(arb(2) / 3)
    assert number.value == "0.666666666666666666666666666667"
    assert Decimal("3.3E-31") < Decimal(number.radius) < Decimal("3.5E-31")
    assert number.double == 2 / 3


def test_a_wide_ball_keeps_its_radius() -> None:
    """Digits that the ball does not have must not look certified."""
    with precision(256):
        number = Number.of(arb(1) / 3 + arb(0, 1e-10))
    assert abs(Decimal(number.value) - Decimal(1) / 3) <= Decimal(number.radius)
    assert Decimal("1E-10") <= Decimal(number.radius) < Decimal("1.1E-10")


@pytest.mark.parametrize(("ball", "radius"), [(arb(0), "0"), (arb(1e-60, 2e-60), "3.01E-60")])
def test_zero_is_zero(ball: arb, radius: str) -> None:
    """A BLUP that is zero by symmetry must not come out as 1e-60 with a sign."""
    number = Number.of(ball)
    assert (number.value, number.double) == ("0", 0.0)
    assert Decimal(number.radius) <= Decimal(radius)
    assert Decimal(number.radius) >= Decimal(radius) * Decimal("0.99")


def test_what_is_not_finite_is_said() -> None:
    """An infinite ball with a middle would pass for a number."""
    assert Number.of(arb.nan()).value == "nan"
    assert Number.of(arb(1, float("inf"))).radius == "inf"


def test_numbers_meet_only_within_their_radii() -> None:
    """`check` rests on this comparison."""
    a = Number("1", "1E-30", 1.0)
    assert a.meets(Number("1.000000000000000000000000000002", "1E-30", 1.0))
    assert not a.meets(Number("1.000000000000000000000000000003", "1E-30", 1.0))
    assert not a.meets(Number("nan", "inf", 1.0))


def example() -> Certificate:
    """One of each kind of row."""
    number = Number("0.1", "1E-30", 0.1)
    return Certificate(
        "REML",
        "singular",
        "because",
        "global",
        "a note",
        (
            Row("fixed", None, None, "(Intercept)", number),
            Row("ran_vals", "a:b", ("ü", "10"), "x", number),
            Row("loglik", None, None, "loglik", replace(number, value="-3.25", double=-3.25)),
        ),
        (Local(number, (number, number), (0, 1), True), Local(number, (), (), False, "lost")),
        256,
        ("0",),
        "sha256:00",
        {"python-flint": "0.9"},
    )


def test_a_file_brings_everything_back(tmp_path: Path) -> None:
    """What is lost on the way could not be checked again."""
    both = (example(), Certificate("ML", "unidentified", "one level", data_hash="sha256:00"))
    write(tmp_path / "certified.parquet", both)
    assert read(tmp_path / "certified.parquet") == both
    frame = pd.read_parquet(tmp_path / "certified.parquet")
    columns = ["method", "effect", "group", "level", "term", "value", "radius", "double"]
    assert list(frame.columns) == columns
    assert [p.name for p in tmp_path.iterdir()] == ["certified.parquet"]


def test_a_number_is_found_by_its_label() -> None:
    """Joined by label, never by position."""
    assert example().number("ran_vals", "x", "a:b", ("ü", "10")).value == "0.1"
    with pytest.raises(KeyError):
        example().number("ran_vals", "x", "a:b", ("u", "10"))


@pytest.mark.parametrize("content", ["none", "text", "foreign"])
def test_no_certificate_is_a_message(tmp_path: Path, content: str) -> None:
    """A missing, broken or foreign file must name itself and the fix, not raise a traceback."""
    path = tmp_path / "certified.parquet"
    if content == "text":
        path.write_text("no parquet")
    if content == "foreign":
        pd.DataFrame({"method": ["REML"]}).to_parquet(path)
    with pytest.raises(StoreError, match=r"certified\.parquet: .*make"):
        read(path)


def test_a_folder_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    """The same when writing."""
    with pytest.raises(StoreError, match="cannot be written"):
        write(tmp_path / "no" / "certified.parquet", [example()])
