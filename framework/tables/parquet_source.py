"""Reading of Parquet files, through pyarrow, into columns of numbers, booleans or text.

Choosing the target among the columns lives in `sources.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataFileError, EmptyDataError, FusedstepError
from ..optional import require
from ..sources.names import listed, unknown_column
from ..sources.parquet_rows import decoded_bytes
from ..sources.unpacked import allowed_bytes, require_allowed
from .columns import Column

_PANDAS_INDEX = "__index_level_"


def read_parquet(
    path: Path, only: Collection[str] | None = None, text: Collection[str] = (), max_unpacked: int | str | None = None
) -> dict[str, Column]:
    """Read a Parquet file.

    Missing entries become NaN in numeric columns and the empty string in text columns. An index column written by pandas is
    left out.

    Args: path – of the file; only – names of the columns to read, all by default; text – names of columns to turn into text
        even if they hold numbers; max_unpacked – see `allowed_bytes`.
    Returns: name -> [N] float64, int64, bool, or object of `str`.
    Raises: DataFileError for a damaged file, one that becomes too large, and columns of dates, lists and the like;
        EmptyDataError for no rows; UnknownColumn if one of `only` does not exist; MissingDependency without pyarrow.
    """
    arrow = require("pyarrow", "data", "reading Parquet")
    parquet = require("pyarrow.parquet", "data", "reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = [name for name in schema.names if not name.startswith(_PANDAS_INDEX)]
            missing = [name for name in only or () if name not in names]
            if missing:
                raise unknown_column(missing, names, path.name)
            wanted = [name for name in names if only is None or name in only]
            if len(set(names)) < len(names):
                raise DataFileError(f"{path}: expected different column names, found {listed(names)}; rename them")
            require_allowed(path, decoded_bytes(file, wanted), allowed_bytes(path, max_unpacked))
            texts = [name for name in wanted if _is_text(arrow, schema.field(name).type)]
            with parquet.ParquetFile(path, read_dictionary=texts) as coded:  # each text once, however often it occurs
                table = coded.read(columns=wanted)
            if table.num_rows == 0:
                raise EmptyDataError(f"{path}: expected data rows, found none; check how the file was made")
            return {
                name: _column(arrow, table.column(name), name in text, f"{path}, column {name!r}") for name in wanted
            }
    except (arrow.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        if isinstance(error, FusedstepError):
            raise
        raise DataFileError(f"{path}: expected a Parquet file, reading failed ({error}); write it again") from error


def _column(arrow: Any, column: Any, as_text: bool, label: str) -> Column:
    types = arrow.types
    if types.is_dictionary(column.type):
        if _is_text(arrow, column.type.value_type):
            return _texts(column)
        column = column.cast(column.type.value_type)
    kind = column.type
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)
    if _is_text(arrow, kind) or (as_text and (numeric or types.is_boolean(kind))):
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


def _texts(column: Any) -> Column:
    """Text of which each value is stored once; equal entries are the same object."""
    parts = []
    for chunk in column.chunks:
        values = np.array([*(entry or "" for entry in chunk.dictionary.to_pylist()), ""], dtype=object)
        parts.append(values[chunk.indices.fill_null(len(values) - 1).to_numpy()])
    return np.concatenate(parts)


def _is_text(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_string(kind) or arrow.types.is_large_string(kind))
