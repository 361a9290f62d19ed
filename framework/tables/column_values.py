"""The values of a column: the different ones of a text, a column written as text, and its values in a few words.

What a column is taken for is decided in `kinds.py`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cells import is_missing
from .columns import Column, is_text
from .text_column import TextColumn

FEW_ROWS = 10
"""Fewest rows in which values that all differ, are all the same, or count the rows say that a column is useless."""

_EXACT = 2**53


class TextCells:
    """The different values of a column of text that are not missing, and the rows in which they are.

    Attributes: values – [K] different texts that occur; present, missing – number of cells.
    """

    def __init__(self, column: TextColumn, tokens: frozenset[str]) -> None:
        counts = column.counts()
        used = (counts > 0) & ~is_missing(column.values, tokens) if len(counts) else np.zeros(0, np.bool_)
        self.column = column
        self.values: list[str] = column.values[used].tolist()
        self._counts = counts[used]
        self.present = int(self._counts.sum())
        self.missing = len(column) - self.present
        self._used = used

    @cached_property
    def _places(self) -> NDArray[np.int32]:
        """[N]: which of the values each row has, or -1."""
        place = np.full(len(self._used) + 1, -1, dtype=np.int32)  # the last one is that of the code -1
        place[:-1][self._used] = np.arange(len(self.values))
        places: NDArray[np.int32] = place[self.column.codes]
        return places

    @property
    def absent_rows(self) -> NDArray[np.bool_]:
        """[N]: whether the value of a row is missing."""
        return self._places < 0

    def rows_of(self, chosen: NDArray[np.bool_]) -> int:
        """Number of rows with one of the chosen values."""
        return int(self._counts[chosen].sum())

    def first(self, chosen: NDArray[np.bool_]) -> tuple[int, int, str]:
        """Number of rows with one of the chosen values, the first such row counted from 1, and its cell."""
        rows = np.flatnonzero(np.append(chosen, False)[self._places])
        return len(rows), int(rows[0]) + 1, self.values[self._places[rows[0]]]

    def spread(self, of_values: NDArray[Any]) -> NDArray[Any]:
        """[N]: for each row what belongs to its value; NaN, NaT or 0 where it is missing."""
        blank: Any = np.zeros(1, dtype=of_values.dtype)
        if of_values.dtype.kind in "fM":
            blank[:] = "NaT" if of_values.dtype.kind == "M" else np.nan
        return np.concatenate([of_values, blank])[self._places]


def as_text(column: Column) -> TextColumn:
    """A column as text: whole numbers without a point, booleans as true and false, dates in ISO 8601; blank text is missing."""
    if is_text(column):
        blank = np.array([not value or value.isspace() for value in column.values], dtype=np.bool_)
        if not blank.any():
            return column
        return TextColumn(np.where(np.append(blank, True)[column.codes], -1, column.codes).astype(np.int32), column.values)
    values, places = np.unique(column, return_inverse=True)
    codes = places.reshape(-1).astype(np.int32)
    codes[absent_rows(column)] = -1
    texts = np.empty(len(values), dtype=object)
    texts[:] = _texts(values)
    return TextColumn(codes, texts)


def _texts(values: NDArray[Any]) -> list[str]:
    if values.dtype == np.bool_:
        return ["true" if value else "false" for value in values]
    if values.dtype.kind == "M":
        whole = bool((values[~np.isnat(values)].astype("datetime64[D]") == values[~np.isnat(values)]).all())
        return [str(text) for text in np.datetime_as_string(values, unit="D" if whole else "auto")]
    if values.dtype == np.float64:
        known = values[np.isfinite(values)]
        if known.size and bool((known == np.trunc(known)).all()) and float(np.abs(known).max()) < _EXACT:
            return [str(int(value)) if np.isfinite(value) else repr(float(value)) for value in values]
        return [repr(float(value)) for value in values]
    return [str(value) for value in values.tolist()]


def absent_rows(column: Column) -> NDArray[np.bool_]:
    """[N]: whether the value of a row is missing."""
    if is_text(column):
        return column.missing
    if column.dtype.kind == "M":
        return np.isnat(column)
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=np.bool_)


def counts_rows(column: Column) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, … in at least `FEW_ROWS` rows."""
    if is_text(column) or column.dtype.kind not in "if" or len(column) < FEW_ROWS or column[0] not in (0, 1):
        return False
    return bool(np.array_equal(column, np.arange(len(column)) + int(column[0])))


def like_an_index(column: NDArray[Any]) -> bool:
    """Whether a column holds whole numbers that mostly differ, or count by one: of the rows of one or several tables."""
    if column.dtype.kind not in "if" or not bool((column == np.floor(column)).all()):
        return False
    return 2 * len(np.unique(column)) > len(column) or 10 * int(np.count_nonzero(np.diff(column) == 1)) > 9 * len(column)


def describe(column: Column, boolean: bool = False) -> str:
    """The values of a column in a few words: their range, or how many there are and which.

    Args: column; boolean – whether text is that of booleans of which some are missing.
    """
    absent = absent_rows(column)
    if absent.all():
        return "no values"
    if is_text(column) and boolean:
        return describe((column.values == "true")[column.codes[~absent]])
    if is_text(column):
        used = column.values[column.counts() > 0].tolist()
        names = ", ".join(sorted(used))
        count = "1 value" if len(used) == 1 else f"{len(used):,} values"
        return f"{count}: {names}" if len(used) <= 6 and len(names) <= 48 else count
    if column.dtype == np.bool_:
        return f"{100.0 * float(np.mean(column)):.3g} % true"
    known = column[~absent]
    return f"{short(known.min())} to {short(known.max())}"


def quoted(text: str) -> str:
    """A text in quotes, of which at most 60 characters are shown."""
    return repr(str(text) if len(text) <= 60 else f"{text[:57]}…")


def short(value: Any) -> str:
    """One value of a column in at most 19 characters."""
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, unit="D" if value == value.astype("datetime64[D]") else "s")).replace("T", " ")
    if isinstance(value, (np.bool_, bool)):
        return str(bool(value)).lower()
    return str(int(value)) if float(value).is_integer() and abs(float(value)) < 1e7 else f"{float(value):.6g}"
