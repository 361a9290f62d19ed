"""Reading of Parquet files, through pyarrow, into columns of numbers, booleans or text.

Choosing the target among the columns lives in `sources.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataFileError, EmptyDataError
from ..optional import require
from ..sources.names import listed, unknown_column
from .columns import Column

_PANDAS_INDEX = "__index_level_"


def read_parquet(path: Path, only: Collection[str] | None = None, text: Collection[str] = ()) -> dict[str, Column]:
    """Read a Parquet file.

    Missing entries become NaN in numeric columns and the empty string in text columns. An index column written by pandas is
    left out.

    Args: path – of the file; only – names of the columns to read, all by default; text – names of columns to turn into text
        even if they hold numbers.
    Returns: name -> [N] float64, int64, bool, or object of `str`.
    Raises: DataFileError for a damaged file and for columns of dates, lists and the like; EmptyDataError for no rows;
        UnknownColumn if one of `only` does not exist; MissingDependency without pyarrow.
    """
    arrow = require("pyarrow", "data", "reading Parquet")
    parquet = require("pyarrow.parquet", "data", "reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if not name.startswith(_PANDAS_INDEX)]
            missing = [name for name in only or () if name not in names]
            if missing:
                raise unknown_column(missing, names, path.name)
            wanted = [name for name in names if only is None or name in only]
            if len(set(names)) < len(names):
                raise DataFileError(f"{path}: expected different column names, found {listed(names)}; rename them")
            table = file.read(columns=wanted)
            if table.num_rows == 0:
                raise EmptyDataError(f"{path}: expected data rows, found none; check how the file was made")
            return {
                name: _column(arrow, table.column(name), name in text, f"{path}, column {name!r}") for name in wanted
            }
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataFileError(f"{path}: expected a Parquet file, reading failed ({error}); write it again") from error


def _column(arrow: Any, column: Any, as_text: bool, label: str) -> Column:
    types = arrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)
    if types.is_string(kind) or types.is_large_string(kind) or (as_text and (numeric or types.is_boolean(kind))):
        return np.array([entry or "" for entry in column.cast(arrow.string()).to_pylist()], dtype=object)
    if not (numeric or types.is_boolean(kind)):
        raise DataFileError(
            f"{label}: expected numbers, booleans or text, found {kind}; drop the column or turn it into numbers"
        )
    if column.null_count == 0 and (types.is_boolean(kind) or types.is_signed_integer(kind)):
        values: Column = column.to_numpy()
        return values if types.is_boolean(kind) else values.astype(np.int64, copy=False)
    if types.is_boolean(kind):
        column = column.cast(arrow.int8())
    return np.asarray(column.cast(arrow.float64(), safe=False).to_numpy(), dtype=np.float64)
