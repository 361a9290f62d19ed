"""Weights of rows from a column of a file. How they enter a loss is in framework/sample_weights.py."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ...errors import SampleWeightError
from .cells import MISSING, missing_tokens, numbers
from .column_values import TextCells, absent_rows
from .columns import Column, is_text


def weights_of(
    column: Column, name: str, missing: Collection[str] = MISSING, decimal: str = "."
) -> NDArray[np.float64]:
    """A column as weights [N].

    Args: column – numbers, or text as it is written; name – for messages; missing – texts that stand for a missing value;
        decimal – the decimal mark of text.
    Raises: SampleWeightError for cells that are missing, text, negative or infinite, with their number and the first row.
    """
    expected = f"--weight {name}: expected a number >= 0 in every row"
    if is_text(column):
        cells = TextCells(column, missing_tokens(missing))
        weights: NDArray[np.float64] = cells.spread(numbers(cells.values, decimal)).astype(np.float64)
        absent = cells.absent_rows
    elif column.dtype.kind in "iuf":
        weights, absent = column.astype(np.float64), absent_rows(column)
    else:
        what = {"b": "booleans", "M": "dates"}.get(column.dtype.kind, str(column.dtype))
        raise SampleWeightError(f"{expected}; got {what}; write them as numbers")
    wrong = ~(np.isfinite(weights) & (weights >= 0.0))
    if not wrong.any():
        return weights
    row, count = int(np.argmax(wrong)), int(wrong.sum())
    cell = repr(column[row : row + 1].tolist()[0]) if is_text(column) else f"{weights[row]:g}"
    more = f", and in {count - 1:,} more" if count > 1 else ""
    what = "no value" if absent[row] else cell
    raise SampleWeightError(
        f"{expected}; got {what} in row {row + 1:,}{more}; correct them, or give rows that are to be left out the weight 0"
    )
