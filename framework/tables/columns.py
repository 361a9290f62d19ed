"""One column of data: its type (float64, int64, bool, dates or text), and the conversion to it.

Tables of columns are in `table.py`, conversion from Arrow is in `arrow_columns.py`; their encoding for a
network is in `column_codings.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...backends.arrays import as_array
from ...backends.entries import refusal
from ...errors import DtypeError, MixedBackends, ShapeError
from .text_column import TextColumn

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Column: TypeAlias = NDArray[Any] | TextColumn
"""1-D float64 (missing: NaN), int64, bool or datetime64[us] (missing: NaT); or text."""

_LARGEST_EXACT = 2.0**53


def is_text(column: Column) -> TypeIs[TextColumn]:
    """Whether a column made by `as_column` holds text."""
    return isinstance(column, TextColumn)


def as_column(values: ArrayLike | TextColumn, name: str) -> Column:
    """Convert values of any common type to one of the five column types.

    Missing entries of an object array (None, NaN) become NaN among numbers and are missing among text.

    Args: values – [N] or [N, 1]; name – their name in error messages.
    Returns: [N] float64, int64, bool, datetime64[us] or TextColumn, on the host.
    Raises: ShapeError for more than one column; DtypeError for complex numbers and mixtures of text and numbers.
    """
    if isinstance(values, TextColumn):
        return values
    array = array_of(values, name)
    if isinstance(values, list | tuple) and array.ndim == 1 and _changes(values, array.dtype):
        array = np.array([None, *values], dtype=object)[1:]
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
    if kind == "M":
        return array.astype("datetime64[us]", copy=False)
    if kind in "UT":
        return TextColumn.of(array.tolist())
    if kind == "S":
        try:
            return TextColumn.of(np.char.decode(array, "utf-8").tolist())
        except UnicodeDecodeError as error:
            raise DtypeError(f"{name}: expected UTF-8 text, got other bytes ({error}); decode it first") from error
    if kind == "O":
        return _from_objects(array, name)
    raise DtypeError(f"{name}: expected numbers, booleans, dates or text, got {array.dtype}; convert it to numbers first")


def array_of(values: Any, name: str) -> NDArray[Any]:
    """Values in any form as a NumPy array of any type, in which masked entries are missing: NaN, NaT or None.

    Raises: DtypeError for iterators, sparse matrices and the like; MixedBackends for arrays on a GPU.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values) and values.dtype.names is None:
        filled = np.array(values.data, dtype=values.dtype if values.dtype.kind in "fM" else object)
        filled[np.ma.getmaskarray(values)] = None
        return filled
    try:
        array = as_array(values)
        if array.ndim == 0 and array.dtype == object:
            raise refusal(values, array)
    except (DtypeError, MixedBackends) as error:
        raise type(error)(f"{name}: {error}") from error
    return array


def _changes(entries: Sequence[Any], dtype: np.dtype[Any]) -> bool:
    """Whether NumPy makes text of numbers, or perhaps other numbers of integers, to give a list one type."""
    if dtype.kind == "U":
        return not all(isinstance(entry, str) for entry in entries)
    return dtype.kind == "f" and any(isinstance(entry, int) for entry in entries)


def narrowed(column: Column) -> Column:
    """Return int64 for float64 that holds only integers, so that a label read as 1.0 becomes 1 again."""
    if is_text(column) or column.dtype != np.float64 or column.size == 0 or not np.isfinite(column).all():
        return column
    whole = bool((np.trunc(column) == column).all()) and float(np.abs(column).max()) < _LARGEST_EXACT
    return column.astype(np.int64) if whole else column


def _as_integers(array: NDArray[Any]) -> Column:
    """int64, or text if one is too large, so that none becomes another number."""
    too_large = array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max
    return TextColumn.of(map(str, array.tolist())) if too_large else array.astype(np.int64, copy=False)


def _from_dates(entries: Iterable[Any]) -> NDArray[np.datetime64]:
    """Dates and times of Python as datetime64[us], those with an offset in UTC; NaT for what is missing."""
    made = []
    for entry in entries:
        zone = entry.utcoffset() if isinstance(entry, datetime) and entry == entry else None
        made.append("NaT" if entry is None or entry != entry else (entry.replace(tzinfo=None) - zone if zone else entry))
    return np.array(made, dtype="datetime64[us]")


def _from_objects(array: NDArray[Any], name: str) -> Column:
    entries = array.tolist()
    missing = [entry is None or (isinstance(entry, (float, np.floating)) and bool(entry != entry)) for entry in entries]
    present = [entry for entry, absent in zip(entries, missing, strict=True) if not absent]
    if present and all(isinstance(entry, str) for entry in present):
        return TextColumn.of(None if absent else str(entry) for entry, absent in zip(entries, missing, strict=True))
    if len(present) == len(entries) and present:
        if all(isinstance(entry, (bool, np.bool_)) for entry in present):
            return np.array(entries, dtype=np.bool_)
        if all(isinstance(entry, (int, np.integer)) and not isinstance(entry, bool) for entry in present):
            whole = [int(entry) for entry in entries]
            fits = min(whole) >= -(2**63) and max(whole) < 2**63
            return np.array(whole, dtype=np.int64) if fits else TextColumn.of(map(str, whole))
    if present and all(isinstance(entry, date) for entry in present):
        return _from_dates(entries)
    if all(isinstance(entry, (bool, np.bool_, int, np.integer, float, np.floating)) for entry in present):
        numbers = [float("nan") if absent else float(entry) for entry, absent in zip(entries, missing, strict=True)]
        return np.array(numbers, dtype=np.float64)
    found = ", ".join(sorted({type(entry).__name__ for entry in present}))
    what = f"a mixture of {found}" if "," in found else f"objects ({found})"
    raise DtypeError(
        f"{name}: expected all numbers, all text or all dates, got {what}; convert it to one type, such as with astype(str)"
    )
