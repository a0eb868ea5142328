"""Text that is meant as numbers is refused, labels are not."""

import pandas as pd
import pytest

from bridge.errors import DataError
from bridge.numerals import refuse_text


def _says(error: Exception, *words: str) -> None:
    assert all(word in str(error) for word in words), str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ["1", "2.5", None, "-3e2", "4", ".", "."],
            ["is text, but 66 % of its values are numbers", "'.' in row 6: mark it as missing"],
        ),
        (["7", "1,5", "2"], ["its numbers have commas, first '1,5' in row 2"]),
        (["1", "2", "a", "b"], None),
        (["1", "2", "3"], None),
        (["a", "b", "."], None),
    ],
    ids=["SAS", "commas", "half", "labels", "text"],
)
def test_text_that_is_meant_as_numbers(texts, words):
    """A ``.`` for missing would make a factor of blood pressures, with a coefficient for each."""
    frame = pd.DataFrame({"x y": pd.Series(texts, dtype=object)})
    if words is None:
        refuse_text(frame, "t.csv", ["x y"], [])
        return
    with pytest.raises(DataError) as caught:
        refuse_text(frame, "t.csv", ["x y"], [])
    _says(caught.value, "t.csv: column 'x y'", *words, "or write factor(`x y`)")
    with pytest.raises(DataError) as caught:
        refuse_text(frame, "t.csv", ["x y"], ["x y"])
    assert "factor(" not in str(caught.value)


def test_a_response_with_few_numbers():
    """The response would be refused without a word about which value is wrong."""
    frame = pd.DataFrame({"y": ["1.5", "low", "high", "high"]})
    with pytest.raises(DataError) as caught:
        refuse_text(frame, "t.csv", ["y"], ["y"])
    _says(caught.value, "25 % of its values", "'low' in row 2")
