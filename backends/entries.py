"""Objects that hold numbers become numbers; of everything else the first wrong entry is named, with what to do about it.

Which values are taken as they are is decided in arrays.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from numbers import Real
from typing import Any

import numpy as np

from ..errors import DtypeError, UnknownColumn

_ENCODE = "encode text as numbers first; fs.TableEncoder does so for tables"
_COLUMNS_SHOWN = 6


def describe(values: Any) -> str:
    """A short description of a value, for error messages."""
    kind = f"{type(values).__module__.partition('.')[0]}.{type(values).__name__}"
    try:
        shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
    except RuntimeError:  # nested tensors of PyTorch
        return kind
    return kind + (f" of shape {tuple(shape)}" if shape is not None else "") + (f" and dtype {dtype}" if dtype else "")


def require_unmasked(values: np.ma.MaskedArray[Any, Any]) -> None:
    """Raises DtypeError for masked entries, and names the first."""
    mask = np.ma.getmaskarray(values)
    if mask.dtype == bool and mask.any():
        raise DtypeError(
            f"expected numbers without a mask; got a {describe(values)} with {int(mask.sum())} entries masked, the first"
            f"{_place(values, mask.shape, int(mask.argmax()))}; fill them, such as with .filled(0.0), or drop their rows"
        )


def numbers_of(array: np.ndarray[Any, Any], given: Any) -> np.ndarray[Any, Any]:
    """The numbers in an array of objects, whole ones as integers, each of them rounded at most to float64.

    Args: array – of another type than numbers; given – what the caller gave, from which NumPy made it.
    Raises: DtypeError for anything but numbers, with the place of the first entry.
    """
    if array.dtype != object or array.ndim == 0 or _wrong(array) is not None:
        raise refusal(given, array)
    made = np.array(array.tolist())
    if made.dtype.kind not in "biuf" or made.shape != array.shape:
        try:
            made = array.astype(np.float64)
        except (OverflowError, TypeError, ValueError) as error:
            raise DtypeError(
                f"expected real numbers; got a {describe(given)} with a number that float64 cannot hold ({error}); scale it"
            ) from error
    return made


def refusal(given: Any, array: np.ndarray[Any, Any] | None = None) -> DtypeError:
    """The error for values that are no real numbers; array – what NumPy makes of them."""
    found, hint = _found(np.asarray(given) if array is None else array, given)
    return DtypeError(f"expected real numbers; got a {describe(given)}{found}; {hint}")


def unreadable(given: Any, error: Exception) -> DtypeError:
    """The error for what NumPy could not make an array of."""
    uneven = _uneven(given)
    if uneven:
        return DtypeError(
            f"expected numbers in a rectangular array; got a {describe(given)}, {uneven}; make all rows equally long"
        )
    if getattr(given, "is_nested", False):
        return DtypeError(f"expected rows of one length; got a nested {describe(given)}; .to_padded_tensor() fills them")
    return DtypeError(
        f"expected an array that NumPy can read; got a {describe(given)} ({error}); "
        f"{'.to_dense() makes it dense' if 'sparse' in str(getattr(given, 'layout', '')) else 'convert it to float32'}"
    )


def column_names(given: Any) -> tuple[str, ...] | None:
    """The names of the columns of a data frame of any library; None for other values, and if a name is no text."""
    kind = type(given)
    if kind is np.ndarray or not (hasattr(kind, "columns") or hasattr(kind, "column_names")):
        return None
    names = tuple(given.column_names if hasattr(kind, "column_names") else given.columns)
    return names if names and all(isinstance(name, str) for name in names) else None


def with_columns(given: Any, names: tuple[str, ...], role: str = "x") -> Any:
    """A data frame with its columns in this order, without others; values that are none are returned as they are.

    Raises: UnknownColumn for names that it lacks; `role` – what it is called there.
    """
    found = column_names(given)
    if found is None or found == names:
        return given
    missing = [name for name in names if name not in found]
    if missing:
        raise UnknownColumn(
            f"{role}: expected the columns of the training, found none called {', '.join(map(repr, missing[:_COLUMNS_SHOWN]))} "
            f"among {', '.join(found[:40])}; rename them, or give an array, whose columns have no names"
        )
    return given.select(list(names)) if hasattr(type(given), "select") else given[list(names)]


def _wrong(array: np.ndarray[Any, Any]) -> int | None:
    """The number of the first entry that is no real number, in row-major order."""
    from decimal import Decimal

    kinds = list(map(type, array.ravel().tolist()))
    wrong = {kind for kind in set(kinds) if not issubclass(kind, (Real, Decimal, np.bool_))}
    return next((number for number, kind in enumerate(kinds) if kind in wrong), None) if wrong else None


def _found(array: np.ndarray[Any, Any], given: Any) -> tuple[str, str]:
    """What an array holds instead of numbers, and what to do about it."""
    kind = array.dtype.kind
    if hasattr(given, "toarray"):
        return "", ".toarray() makes a sparse matrix dense"
    if array.dtype.names:
        names = ", ".join(array.dtype.names[:_COLUMNS_SHOWN])
        return f" with the fields {names}", "np.lib.recfunctions.structured_to_unstructured makes a matrix of them"
    if array.ndim == 0:
        return "", _hint_for_single(given)
    if kind == "c":
        return "", "its .real and .imag are real numbers"
    if kind in "mM":
        return "", "turn dates into numbers, such as (dates - dates.min()) / np.timedelta64(1, 'D')"
    if kind not in "OUST" or array.size == 0:
        return "", _ENCODE
    if kind in "UST" and not isinstance(given, np.ndarray) and isinstance(given, (list, tuple)):
        array = np.asarray(given, dtype=object)  # NumPy has made text of numbers beside text
    number = _wrong(array) or 0
    entry = array.reshape(-1)[number]
    where = _place(given, array.shape, number)
    if entry is None or str(entry) in ("<NA>", "NaT"):
        also = ", or let fs.TableEncoder fill them in" if column_names(given) else ""
        return f" with a missing value ({entry}){where}", f"fill in or drop such rows{also}"
    if isinstance(entry, (str, bytes)):
        hint = ".astype(float) converts it if every entry is a number"
        if array.size == len(array) and not column_names(given):
            return f" with {_shown(entry)}{where}", f"{hint}; names, y = np.unique(y, return_inverse=True) numbers the classes"
        return f" with {_shown(entry)}{where}", f"{hint}; {_ENCODE}"
    if isinstance(entry, Sized):
        uneven = _uneven(array.tolist())
        if uneven:
            return f", {uneven}", "make all rows equally long"
        return f" with a {type(entry).__name__}{where}", "np.stack makes one array of rows that are arrays"
    also = "; fs.TableEncoder does so for tables" if column_names(given) else ""
    return f" with {_shown(entry)}{where}", f"turn every entry into a number{also}"


def _hint_for_single(given: Any) -> str:
    if isinstance(given, Mapping):
        return "np.column_stack(list(columns.values())) makes a matrix of columns of numbers, fs.TableEncoder of any"
    if isinstance(given, (set, frozenset)):
        return "a set has no order; give a list or an array"
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        return "list(rows) makes a list of it; derive from fs.RowSource for rows that are read on demand"
    return "give an array, a list or an fs.RowSource" if given is None else _ENCODE


def _place(given: Any, shape: tuple[int, ...], number: int) -> str:
    """Where an entry is, with the column's name if the columns have names."""
    if len(shape) != 2:
        return f" in row {number // max(1, int(np.prod(shape[1:], dtype=np.int64))) + 1} (counted from 1)"
    row, column = divmod(number, shape[1])
    names = getattr(given, "column_names", None) or getattr(given, "columns", None)
    names = [] if names is None else list(names)
    label = repr(names[column]) if len(names) == shape[1] else f"{column + 1}"
    return f" in row {row + 1}, column {label} (counted from 1)"


def _uneven(rows: Any) -> str:
    """Names the first row that is longer or shorter than the first one; "" if there is none."""
    if not isinstance(rows, (list, tuple)):
        return ""
    lengths = [len(row) if isinstance(row, Sized) and getattr(row, "shape", (0,)) != () else None for row in rows]
    number = next((number for number, length in enumerate(lengths) if length != lengths[0]), None)
    if number is None:
        return ""
    first, other = ("a single value" if length is None else f"{length} values" for length in (lengths[0], lengths[number]))
    return f"with {first} in row 1 and {other} in row {number + 1}"


def _shown(entry: Any) -> str:
    text = repr(entry.item() if isinstance(entry, np.generic) else entry)
    return text if len(text) <= 40 else f"{text[:39]}…"
