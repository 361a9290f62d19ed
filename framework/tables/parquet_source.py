"""Reading of Parquet files, through pyarrow.

Files that are not read as a whole are in `parquet_table.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..optional import require
from ..sources.parquet_rows import decoded_bytes, reading_parquet
from ..sources.unpacked import allowed_bytes, require_allowed
from .arrow_columns import chosen_names, is_text_type, table_of
from .table import Table


def read_parquet(
    path: Path,
    only: Collection[str] | None = None,
    text: Collection[str] = (),
    max_unpacked: int | str | None = None,
    *_: object,
    drop: Collection[str] = (),
) -> Table:
    """Read a Parquet file.

    The types of columns are converted by `column_of`. An index column written by pandas is left out.

    Args: path – of the file; only – names of the columns to read, all by default; text – names of columns to turn into text
        even if they hold numbers; max_unpacked – see `allowed_bytes`; drop – names of columns that are not read, and missing
        in all rows.
    Returns: the columns, in the order of the file.
    Raises: DataFileError for a damaged file, one that becomes too large, and columns of lists and the like;
        EmptyDataError for no rows; UnknownColumn if one of `only` does not exist; MissingDependency without pyarrow.
    """
    parquet = require("pyarrow.parquet", "tables", "reading Parquet")
    with reading_parquet(path):
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = chosen_names(schema.names, only, path)
            wanted = [name for name in names if name not in drop]
            require_allowed(path, decoded_bytes(file, wanted), allowed_bytes(path, max_unpacked))
        texts = [name for name in wanted if is_text_type(schema.field(name).type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as coded:  # each text once, however often it occurs
            return table_of(coded.read(columns=wanted), path, text, names)
