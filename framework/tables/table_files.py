"""Tables in one or several files: each is read by its format, and all are joined, one after the other.

What a column is taken for is decided in `kinds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from .cells import MISSING
from .columns import Column
from .csv_source import read_csv
from .feather_source import read_feather
from .layouts import PartFile, file_names
from .own_parts import FileRows, joined_arrays, joined_columns, mixed_columns
from .parquet_source import read_parquet
from .source_files import Format
from .table import Table
from .text_layout import TextLayout, TextOptions

TableReader: TypeAlias = Callable[..., Table]
"""Takes path, columns, text columns, max_unpacked, and of text files what is known of their layout, and the missing texts."""


_TABLES: dict[Format, TableReader] = {"csv": read_csv, "parquet": read_parquet, "feather": read_feather}


def read_tables(
    form: Format,
    part_files: Sequence[PartFile],
    text: Collection[str],
    max_unpacked: int | str | None,
    options: TextOptions | None = None,
    missing: Collection[str] = MISSING,
    only: Collection[str] | None = None,
) -> tuple[dict[str, Column], list[FileRows], TextLayout | None]:
    """The columns of all files, one after the other, how many rows are of which file, and the layout of the first.

    Args: only – columns to read; others as of `read_csv`. Further text files have the decimal mark of the first one, and names
        in the first row if it has.
    """
    tables = _tables(form, part_files, text, max_unpacked, options or TextOptions(), missing, only)
    mixed = mixed_columns([table.columns for table in tables]) if form == "csv" else []
    if mixed:  # numbers in one file only: as it is written in all of them
        tables = _tables(form, part_files, [*text, *mixed], max_unpacked, options or TextOptions(), missing, only)
    shards = [one.part == "training" for one in part_files]
    columns = joined_columns([table.columns for table in tables], file_names(part_files), shards)
    return columns, file_rows(part_files, [*map(len, tables)]), tables[0].layout


def _tables(
    form: Format,
    part_files: Sequence[PartFile],
    text: Collection[str],
    max_unpacked: int | str | None,
    options: TextOptions,
    missing: Collection[str],
    only: Collection[str] | None,
) -> list[Table]:
    tables: list[Table] = []
    for one in part_files:
        tables.append(_TABLES[form](one.path, only, text, max_unpacked, options, missing))
        layout = tables[0].layout
        if layout is not None:
            options = replace(options, decimal=layout.decimal, header=layout.header)
    return tables


def file_rows(part_files: Sequence[PartFile], counts: Sequence[int]) -> list[FileRows]:
    """How many rows are of which file."""
    counted = zip(part_files, counts, file_names(part_files), strict=True)
    return [FileRows(one.part, count, name) for one, count, name in counted]


def joined_labels(
    part_files: Sequence[PartFile],
    labels: Path | None,
    rows: Sequence[int],
    read: Callable[[Path, Path | None, int], NDArray[Any]],
) -> NDArray[Any]:
    """The labels of all files; `labels` – of the first one, others are found by the names of their features."""
    given = [labels, *[None] * (len(part_files) - 1)]
    columns = [read(one.path, beside, count) for one, beside, count in zip(part_files, given, rows, strict=True)]
    return joined_arrays(columns, file_names(part_files), part_files[0].path.name)
