"""One column of data: its type (float64, int64, bool or text), and the conversion to it.

Tables of columns are in `table.py`; standardisation and one-hot encoding are in `feature_coding.py`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DtypeError, ShapeError

Column: TypeAlias = NDArray[Any]
"""1-D, and float64, int64, bool, or object holding `str` only."""

_LARGEST_EXACT = 2.0**53


def is_text(column: Column) -> bool:
    """Whether a column made by `as_column` holds text."""
    return bool(column.dtype == object)


def as_column(values: ArrayLike, name: str) -> Column:
    """Convert values of any common type to one of the four column types.

    Missing entries of an object array (None, NaN) become NaN among numbers and the empty string among text.

    Args: values – [N] or [N, 1]; name – their name in error messages.
    Returns: [N] float64, int64, bool, or object of `str`, on the host.
    Raises: ShapeError for more than one column; DtypeError for dates, complex numbers and mixtures of text and numbers.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(f"{name}: expected one value per row, got shape {array.shape}; give a 1-D array")
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.bool_, copy=False)
    if kind in "iu":
        return _as_integers(array)
    if kind == "f":
        return array.astype(np.float64, copy=False)
    if kind in "UT":
        return array.astype(object)
    if kind == "S":
        try:
            return np.char.decode(array, "utf-8").astype(object)
        except UnicodeDecodeError as error:
            raise DtypeError(f"{name}: expected UTF-8 text, got other bytes ({error}); decode it first") from error
    if kind == "O":
        return _from_objects(array, name)
    raise DtypeError(f"{name}: expected numbers, booleans or text, got {array.dtype}; convert it to numbers first")


def as_feature(values: ArrayLike, name: str) -> Column:
    """Like `as_column`, but all numbers, including integers and booleans, become float64."""
    column = as_column(values, name)
    return column if is_text(column) else column.astype(np.float64, copy=False)


def narrowed(column: Column) -> Column:
    """Return int64 for float64 that holds only integers, so that a label read as 1.0 becomes 1 again."""
    if column.dtype != np.float64 or column.size == 0 or not np.isfinite(column).all():
        return column
    whole = bool((np.trunc(column) == column).all()) and float(np.abs(column).max()) < _LARGEST_EXACT
    return column.astype(np.int64) if whole else column


def _as_integers(array: NDArray[Any]) -> Column:
    too_large = array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max
    return array.astype(np.float64 if too_large else np.int64, copy=False)


def _from_objects(array: NDArray[Any], name: str) -> Column:
    entries = array.tolist()
    missing = [entry is None or (isinstance(entry, (float, np.floating)) and bool(entry != entry)) for entry in entries]
    present = [entry for entry, absent in zip(entries, missing, strict=True) if not absent]
    if present and all(isinstance(entry, str) for entry in present):
        texts = ["" if absent else str(entry) for entry, absent in zip(entries, missing, strict=True)]
        return np.array(texts, dtype=object)
    if len(present) == len(entries) and present:
        if all(isinstance(entry, (bool, np.bool_)) for entry in present):
            return np.array(entries, dtype=np.bool_)
        if all(isinstance(entry, (int, np.integer)) and not isinstance(entry, bool) for entry in present):
            return _as_integers(np.array(entries))
    if all(isinstance(entry, (bool, np.bool_, int, np.integer, float, np.floating)) for entry in present):
        numbers = [float("nan") if absent else float(entry) for entry, absent in zip(entries, missing, strict=True)]
        return np.array(numbers, dtype=np.float64)
    found = ", ".join(sorted({type(entry).__name__ for entry in present}))
    raise DtypeError(f"{name}: expected all numbers or all text, got a mixture of {found}; convert it to one type")
