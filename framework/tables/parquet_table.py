"""`ParquetTable`: the columns of Parquet files as a table that is read one row group at a time.

Files that are read as a whole are in `parquet_source.py`, columns of numbers as a matrix in `sources/parquet_rows.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import EmptyDataError
from ..optional import require
from ..sources.parquet_rows import group_sizes, read_group, reading_parquet
from .arrow_columns import chosen_names, is_text_type, table_of
from .cells import MISSING
from .column_kind import ColumnKind
from .column_values import as_text
from .columns import Column, is_text
from .kinds import apply_kinds, each_kind, require_used
from .layouts import PartFile
from .table import StreamedTable, Table
from .table_files import read_tables
from .validation import refuse_infinity

WINDOW = 4
"""Row groups that are shuffled together."""
_ENTRIES = 1 << 20
"""Entries of columns that are in memory together while it is found out what the columns are."""


class ParquetTable(StreamedTable):
    """Columns of Parquet files, one file after the other.

    Args: paths; names – of the columns to read, in this order; text – those that are text in all row groups, even if they hold
        numbers; kinds, missing – how columns are read, see `apply_kinds`; None: by their types; max_unpacked – bytes that a row
        group may become, see `allowed_bytes`.
    Attributes: path – of the first file.
    Raises: DataFileError for a damaged file, too large row groups, and, when it is read, for columns that are not as the kinds
        say, or infinite; UnknownColumn; EmptyDataError for no rows; MissingDependency without pyarrow.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        names: Sequence[str] | None,
        text: Collection[str] = (),
        kinds: Sequence[ColumnKind] | None = None,
        missing: Collection[str] = MISSING,
        max_unpacked: int | str | None = None,
    ) -> None:
        parquet = require("pyarrow.parquet", "tables", "reading Parquet")
        self.path = paths[0]
        self._paths, self._text, self._kinds, self._missing = paths, text, kinds, missing
        self._files, self._groups, sizes = [], [], [0]
        for place, path in enumerate(paths):
            with reading_parquet(path):
                with parquet.ParquetFile(path) as file:
                    schema = file.schema_arrow
                    wanted = chosen_names(schema.names, names, path)
                    counts = group_sizes(file, wanted, path, max_unpacked)
                names = wanted if names is None else names
                texts = [name for name in wanted if is_text_type(schema.field(name).type)]
                self._files.append(parquet.ParquetFile(path, read_dictionary=texts))
            self._groups += [(place, group) for group in range(len(counts))]
            sizes += counts
        super().__init__(names or (), paths[0].name, np.cumsum(np.array(sizes, np.int64)), WINDOW)
        if not len(self):
            raise EmptyDataError(f"{paths[0]}: expected data rows, found none; check how the file was made")

    def block(self, number: int) -> Table:
        """See StreamedTable.block."""
        place, group = self._groups[number]
        path, before = self._paths[place], int(self.edges[number])
        read = read_group(self._files[place], group, self.names, int(self.edges[number + 1]) - before, path)
        with reading_parquet(path):
            table = table_of(read, path, self._text).select(self.names)
        if self._kinds is not None:
            table = apply_kinds(table, self._kinds, self._missing, before=before)
        refuse_infinity(table.columns.items(), table.source, before)
        return Table({name: as_text(column) if name in self._text else column for name, column in table.columns.items()},
                     table.source)  # fmt: skip


def open_parquet(
    part_files: Sequence[PartFile],
    names: Sequence[str],
    text: Collection[str],
    number: Collection[str],
    drop: Collection[str],
    missing: Collection[str],
    max_unpacked: int | str | None,
) -> tuple[ParquetTable, tuple[ColumnKind, ...]]:
    """The features in Parquet files, and what their columns are, as `find_kinds` decides it of the whole columns.

    Columns are read for that one after the other, several together if they are short.
    """
    source = part_files[0].path.name
    wanted = [name for name in names if name not in drop]
    columns = _each_column(part_files, wanted, text, max_unpacked)
    found: dict[ColumnKind, bool] = {}
    for kind, column in each_kind(names, lambda _: next(columns), text, number, drop, missing, True, source=source):
        found[kind] = column is not None and is_text(column)
        if column is not None:
            refuse_infinity([(kind.name, column)])
    require_used(found, source)
    used = [kind for kind in found if kind.kind != "dropped"]
    texts = {kind.name for kind, is_text in found.items() if is_text}
    paths = [one.path for one in part_files]
    return ParquetTable(paths, [one.name for one in used], texts, used, missing, max_unpacked), tuple(found)


def _each_column(
    part_files: Sequence[PartFile], names: Sequence[str], text: Collection[str], max_unpacked: int | str | None
) -> Iterator[Column]:
    """Whole columns, in this order."""
    together = 1
    for name in names[:1]:
        columns, _, _ = read_tables("parquet", part_files, text, max_unpacked, only=[name])
        together = max(1, _ENTRIES // len(columns[name]))
        yield columns.pop(name)
    for start in range(1, len(names), together):
        chosen = names[start : start + together]
        columns, _, _ = read_tables("parquet", part_files, text, max_unpacked, only=chosen)
        for name in chosen:
            yield columns.pop(name)
