"""Numerals: text in a table that is meant as numbers, and must not become a factor."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import DataError
from bridge.grammar import quoted

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def refuse_text(frame: pd.DataFrame, name: str, columns: Iterable[str], response: Iterable[str]) -> None:
    """Refuse text that is meant as numbers; as a factor, each number would get a coefficient of its own.

    Text is meant so if most of its values are numbers but not all, as where ``.`` says missing, or if
    they have decimal commas. Numbers alone in a column of text are taken for labels that somebody made.

    Parameters
    ----------
    frame : DataFrame
        As read, not normalised.
    name : str
        What to call the table in messages.
    columns : iterable of str
        Those to look at.
    response : iterable of str
        Those among them for which one number is enough.

    Raises
    ------
    DataError
        Naming the column, the first value that is no number, and its row.
    """
    import pandas as pd

    labels, needed = [str(column) for column in frame.columns], list(response)
    for column in columns:
        values = frame.iloc[:, labels.index(column)]
        if pd.api.types.infer_dtype(values, skipna=True) != "string":
            continue
        codes, distinct = pd.factorize(values.to_numpy(object))
        shapes = [_NUMBER.fullmatch(text) for text in distinct]
        comma = np.array([shape is not None and "," in shape[0] for shape in shapes])[codes[codes >= 0]]
        number = np.array([shape is not None for shape in shapes])[codes[codes >= 0]]
        odd = comma if comma.any() else ~number
        if not odd.any() or number.mean() <= (0.0 if column in needed else 0.5):
            continue
        row = int(np.flatnonzero(codes >= 0)[np.argmax(odd)])
        found = f"{str(values.iloc[row])!r:.80} in row {row + 1}"
        made = "" if column in needed else f", or write factor({quoted(column)}) if they are labels"
        if comma.any():
            fault = (
                f"as its numbers have commas, first {found}; write a decimal point, nothing between thousands"
            )
        else:
            share = f"{int(100 * number.mean())} % of its values are numbers"
            fault = f"but {share}; the first that is not is {found}: mark it as missing (NA)"
        raise DataError(f"{name}: column {column!r} is text, {fault}{made}")
