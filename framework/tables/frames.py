"""What a user has as a table, seen as named columns: data frames of any library, mappings, arrays, tables of this package.

Columns are converted one at a time, when they are asked for, so a frame is never in memory a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import DataFileError, DtypeError, ShapeError
from ..optional import require
from ..sources.names import listed, unknown_column
from .arrow_columns import column_of
from .columns import Column, array_of, as_column
from .table import Matrix, Table
from .text_column import Rows, TextColumn


@dataclass(frozen=True, eq=False)
class NamedColumns:
    """Columns of equal length.

    Args: names – d; rows – N; column – column number -> [N], of the types of `Column`, or of any numeric dtype; named – whether
        the names were given, otherwise they are x0, x1, …; source – where it came from, for error messages.
    """

    names: tuple[str, ...]
    rows: int
    column: Callable[[int], Column]
    named: bool = True
    source: str = ""

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: Rows) -> NamedColumns:
        """Only these rows; each column is converted whole when it is asked for."""
        count = len(np.empty(self.rows, np.bool_)[rows])
        return NamedColumns(self.names, count, lambda number: self.column(number)[rows], self.named, self.source)

    def select(self, names: Sequence[str]) -> tuple[NamedColumns, list[str]]:
        """These columns, by name, or by position if the columns are not named, and the names of all others.

        Raises: UnknownColumn for names that are not there; ShapeError for an array of another width.
        """
        if not self.named:
            if len(names) != len(self.names):
                raise ShapeError(
                    f"features: expected shape [N, {len(names)}] with the columns {listed(names)}, got "
                    f"({self.rows}, {len(self.names)}); give the columns that were fitted"
                )
            return NamedColumns(tuple(names), self.rows, self.column, True, self.source), []
        index = {name: number for number, name in enumerate(self.names)}
        missing = [name for name in names if name not in index]
        if missing:
            raise unknown_column(missing, self.names, self.source)
        numbers = [index[name] for name in names]
        others = [] if len(names) == len(self.names) else sorted(set(self.names).difference(names), key=index.__getitem__)
        return NamedColumns(tuple(names), self.rows, lambda number: self.column(numbers[number]), True, self.source), others


def named_columns(data: Any) -> NamedColumns:
    """The columns of data in any form.

    Args: data – Table, Matrix, mapping of columns, data frame (pandas, Polars, PyArrow and others that narwhals knows), or an
        array [N, d] of numbers or objects, or [N] of records.
    Raises: ShapeError for other shapes and names that occur twice; DtypeError for what is no table, or a lazy one;
        DataFileError for a column whose values have no meaning here; MissingDependency for frames without the extra `tables`.
    """
    if isinstance(data, NamedColumns):
        return data
    if isinstance(data, Table):
        columns = list(data.columns.values())
        return NamedColumns(data.names, len(data), columns.__getitem__, True, data.source)
    if isinstance(data, Matrix):
        values = data.values
        return NamedColumns(data.names, len(data), lambda number: values[:, number], True, data.source)
    if isinstance(data, Mapping):
        made = {str(name): series_column(values, str(name)) for name, values in data.items()}
        return named_columns(Table(made))
    if is_frame(data):
        return _frame_columns(data)
    array = array_of(data, "features")
    if array.dtype.names:
        return named_columns({name: array[name] for name in array.dtype.names})
    return _array_columns(array)


def is_frame(data: Any) -> bool:
    """Whether this looks like a data frame of some library; nothing is imported or converted."""
    kind = type(data)
    return not isinstance(data, np.ndarray) and (hasattr(kind, "columns") or hasattr(kind, "column_names"))


def series_column(values: Any, name: str) -> Column:
    """A column of a frame, an Arrow array, or anything that NumPy reads."""
    kind = type(values)
    if isinstance(values, np.ndarray | list | tuple | TextColumn) or not (hasattr(kind, "dtype") or hasattr(kind, "type")):
        return as_column(values, f"column {name!r}")
    narwhals = require("narwhals", "tables", "reading columns of data frames")
    series = narwhals.from_native(values, series_only=True, pass_through=True)
    if series is values and hasattr(kind, "from_buffers"):  # an array of Arrow
        return column_of(require("pyarrow", "tables", "reading tables").chunked_array([values]), name)
    return as_column(values, f"column {name!r}") if series is values else _series(series, name)


def _frame_columns(data: Any) -> NamedColumns:
    narwhals = require("narwhals", "tables", "reading data frames")
    if hasattr(type(data), "to_struct_array"):  # a table of Arrow, or a batch, which narwhals does not know
        data = require("pyarrow", "tables", "reading tables").table(data)
    try:
        frame = narwhals.from_native(data, eager_only=True)
    except narwhals.exceptions.DuplicateError as error:
        raise ShapeError(f"features: expected different column names, got some twice ({error}); rename them") from error
    except TypeError as error:
        name = type(data).__name__
        advice = "call collect() first" if "Lazy" in name else "give a data frame or an array [N, d]"
        raise DtypeError(f"features: expected a table in memory, got a {type(data).__module__}.{name}; {advice}") from error
    labels = list(frame.columns)
    names = tuple(map(str, labels))
    if len(set(names)) < len(names):
        raise ShapeError(f"features: expected different column names, got {listed(names)}; rename them")
    like_pandas = hasattr(type(data), "iloc")

    def column(number: int) -> Column:
        found = _of_numpy(data[labels[number]], names[number]) if like_pandas else None  # much faster than through narwhals
        return _series(frame.get_column(labels[number]), names[number]) if found is None else found

    return NamedColumns(names, len(frame), column)


def _of_numpy(native: Any, name: str) -> Column | None:
    """A series that is stored as numbers or dates of NumPy; None for others."""
    dtype = getattr(native, "dtype", None)
    plain = isinstance(dtype, np.dtype) and dtype.kind in "biufM"
    return as_column(native.to_numpy(), f"column {name!r}") if plain else None


def _series(series: Any, name: str) -> Column:
    """A column of a narwhals frame: through NumPy where it is stored so, otherwise through Arrow."""
    native = series.to_native()
    found = _of_numpy(native, name)
    if found is not None:
        return found
    arrow = require("pyarrow", "tables", "reading data frames")
    if isinstance(native, arrow.ChunkedArray):
        return column_of(native, name)
    try:
        column = series.to_arrow()
    except (arrow.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        # Sparse columns of pandas, integers of Python that are too large, and mixtures, which are refused.
        return as_column(native.to_numpy(), f"column {name!r}")
    try:
        return column_of(column if isinstance(column, arrow.ChunkedArray) else arrow.chunked_array([column]), name)
    except DataFileError as error:
        raise DtypeError(str(error)) from error


def _array_columns(array: np.ndarray[Any, Any]) -> NamedColumns:
    if array.ndim != 2:
        rows = array.ndim == 1 and array.dtype == object and len(array) and isinstance(array[0], Mapping)
        advice = "make a data frame of these rows" if rows else "give one column as [N, 1] and one row as [1, d]"
        raise ShapeError(f"features: expected a matrix [rows, columns], got shape {array.shape}; {advice}")
    names = tuple(f"x{number}" for number in range(array.shape[1]))
    if array.dtype.kind in "biuf":
        return NamedColumns(names, len(array), lambda number: array[:, number], False)
    if array.dtype.kind not in "OUSTM":
        raise DtypeError(f"features: expected a matrix of numbers or objects, got {array.dtype}; convert it first")
    return NamedColumns(names, len(array), lambda number: as_column(array[:, number], f"column {names[number]!r}"), False)
