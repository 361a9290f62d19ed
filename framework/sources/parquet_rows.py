"""`ParquetRows`: columns of a Parquet file as rows of numbers, decoded one row group at a time.

Tables of other columns are read from Parquet in `tables/parquet_source.py` and `tables/parquet_table.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, FusedstepError
from ..optional import require
from ..settings import whole
from ..suggestions import suggests_arguments
from .block_rows import BlockRows
from .names import listed, unknown_column
from .unpacked import allowed_bytes, require_allowed

PANDAS_INDEX = "__index_level_"
_FIRST_BYTES = 1 << 16
"""Read at a time of a column of which only the first entry is needed."""


def parquet_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the columns of a file, without an index that pandas wrote along."""
    with reading_parquet(path):
        schema = require("pyarrow.parquet", "tables", "reading Parquet").read_schema(path)
    return [name for name in schema.names if not name.startswith(PANDAS_INDEX)]


def decoded_bytes(file: Any, columns: Sequence[str], group: int | None = None) -> int:
    """Bytes that columns take when they are decoded, by what the file says of itself, for one row group or all of them.

    Not by the metadata of single columns: PyArrow ends the process if those are damaged.
    Raises: ValueError for impossible numbers.
    """
    metadata, total = file.metadata, 0
    for number in range(metadata.num_row_groups) if group is None else (group,):
        part = metadata.row_group(number)
        if part.num_rows < 0 or part.total_byte_size < 0:
            raise ValueError(f"{part.num_rows} rows of {part.total_byte_size} bytes")
        total += max(part.total_byte_size, 8 * part.num_rows * len(columns))
    return total


@contextmanager
def reading_parquet(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what PyArrow raises for a file into DataFileError."""
    arrow = require("pyarrow", "tables", "reading Parquet")
    try:
        yield
    except FileNotFoundError as error:
        raise DataFileError(f"expected a Parquet file; {os.fspath(path)!r} does not exist; give its path") from error
    except (arrow.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        if isinstance(error, FusedstepError):
            raise
        raise DataFileError(f"{path}: expected a Parquet file, reading failed ({error}); write it again") from error


def group_sizes(file: Any, columns: Sequence[str], path: Path, max_unpacked: int | str | None) -> list[int]:
    """Rows of each row group; DataFileError if the columns of one become too large in memory."""
    metadata, allowed = file.metadata, allowed_bytes(path, max_unpacked)
    for group in range(metadata.num_row_groups):
        require_allowed(path, decoded_bytes(file, columns, group), allowed)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def read_group(file: Any, group: int, columns: Sequence[str], rows: int, path: Path) -> Any:
    """A row group as pyarrow.Table, which must have so many rows."""
    with reading_parquet(path):
        # Single-threaded, for the cores are at work on the minibatch before.
        table = file.read_row_group(group, columns=columns, use_threads=False)
        if table.num_rows != rows:
            raise ValueError(f"{table.num_rows} rows in group {group}")
    return table


@suggests_arguments
class ParquetRows(BlockRows):
    """Numeric columns of a Parquet file; at most `window` row groups and the next one are in memory.

    The rows of an epoch are shuffled in blocks: row groups are read in random order, and the rows of `window` consecutive ones
    are shuffled together. Smaller row groups and a larger window give a better shuffle.

    Args: path; columns – names of the columns to read, in this order: a list gives rows [N, d], one name gives [N]; None reads
        all; window – number of row groups shuffled together, default 4; max_unpacked – bytes that a row group may become, such
        as 8_000_000_000 or "8GB", by default 128 MiB or 50 times the size of the file.
    Raises: DataFileError for a damaged file, too large row groups, and columns of text, dates and the like; UnknownColumn;
        EmptyDataError; MissingDependency without pyarrow. Missing entries become NaN, for which training raises an error with
        the row number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: str | Sequence[str] | None = None,
        window: int = 4,
        max_unpacked: int | str | None = None,
    ) -> None:
        self._arrow = require("pyarrow", "tables", "reading Parquet")
        self._parquet = require("pyarrow.parquet", "tables", "reading Parquet")
        self.path = Path(path)
        with reading_parquet(self.path):
            self._file = self._parquet.ParquetFile(self.path)
            self.columns = self._chosen(columns)
            sizes = group_sizes(self._file, self.columns, self.path, max_unpacked)
            dtype = np.result_type(*(self._kind(self._file.schema_arrow.field(name)) for name in self.columns))
        starts = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)
        rows = int(starts[-1])
        shape = (rows,) if isinstance(columns, str) else (rows, len(self.columns))
        super().__init__(shape, dtype, self.path.name, tuple(self.columns), starts, whole(window, "window"))

    def _chosen(self, columns: str | Sequence[str] | None) -> list[str]:
        """The names of the columns to read, which must be there."""
        known = [name for name in self._file.schema_arrow.names if not name.startswith(PANDAS_INDEX)]
        if len(set(known)) < len(known):
            raise DataFileError(f"{self.path}: expected different column names, found {listed(known)}; rename them")
        chosen = [columns] if isinstance(columns, str) else list(known if columns is None else columns)
        missing = [name for name in chosen if name not in known]
        if missing:
            raise unknown_column(missing, known, self.path.name)
        return chosen

    def _kind(self, field: Any) -> np.dtype[Any]:
        types, kind = self._arrow.types, field.type
        if types.is_decimal(kind) or types.is_null(kind):
            return np.dtype(np.float64)
        if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
            plain = np.dtype(kind.to_pandas_dtype())
            return np.dtype(np.float64) if field.nullable and plain.kind != "f" and self._has_nulls(field.name) else plain
        raise DataFileError(
            f"{self.path}, column {field.name!r}: expected numbers or booleans; found {kind}; write it as numbers, "
            "name the columns to read, or read the file into memory (without --stream)"
        )

    def _has_nulls(self, name: str) -> bool:
        """Whether a column may lack entries, by the statistics of the file."""
        metadata = self._file.metadata
        position = self._file.schema_arrow.names.index(name)
        with self._parquet.ParquetFile(self.path, buffer_size=_FIRST_BYTES) as probe:
            for group in range(metadata.num_row_groups):
                # PyArrow ends the process when it is asked for damaged metadata of a column, but not when it reads the column.
                next(probe.iter_batches(1, row_groups=[group], columns=[name], use_threads=False), None)
                statistics = metadata.row_group(group).column(position).statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    return True
        return False

    def read_block(self, number: int) -> NDArray[Any]:
        """The numbers of a row group."""
        rows = int(self._starts[number + 1] - self._starts[number])
        table = read_group(self._file, number, self.columns, rows, self.path)
        with reading_parquet(self.path):
            return self._decoded(table)

    def _decoded(self, table: Any) -> NDArray[Any]:
        """The numbers of a row group."""
        decoded = np.empty((table.num_rows, *self.row_shape), self.dtype)
        for position, name in enumerate(self.columns):
            column = table.column(name)
            if self._arrow.types.is_boolean(column.type) and column.null_count:
                column = column.cast(self._arrow.int8())
            if self._arrow.types.is_decimal(column.type) or self._arrow.types.is_null(column.type):
                column = column.cast(self._arrow.float64(), safe=False)
            (decoded[:, position] if decoded.ndim == 2 else decoded)[...] = column.to_numpy()
        return decoded
