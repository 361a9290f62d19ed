"""Data sets and features that are read on demand: which sources can be, and their target, which is in memory.

`load` in `reading.py` reads all of a source.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import DataFileError
from ..sources.memory_map import memory_map
from ..sources.parquet_rows import parquet_names
from ..sources.row_source import RowSource, joined_rows
from .cells import MISSING
from .column_kind import ColumnKind, kinds_from_json
from .csv_source import csv_blocks
from .layouts import PartFile
from .npy_source import read_labels
from .npz_source import open_npz, open_npz_features, targets_of
from .own_parts import own_parts, rows_of_files
from .parquet_table import ParquetTable, open_parquet
from .roles import (
    Roles,
    array_targets,
    find_targets,
    kinds_with_roles,
    require_features,
    require_options,
    require_targets,
)
from .source_files import TABLE_FORMATS, Format, files_to_predict
from .table import Dataset, Table
from .table_files import file_rows, joined_labels, read_tables
from .text_layout import TextOptions

STREAMED = (".npy", ".npz", ".parquet")
"""Files of which rows can be read alone."""


def streamed(
    form: Format,
    path: Path,
    part_files: Sequence[PartFile],
    targets: tuple[str, ...],
    labels: Path | None,
    text: Collection[str],
    number: Collection[str],
    drop: Collection[str],
    missing: Collection[str],
    task: str | None,
    max_unpacked: int | str | None,
    roles: Roles,
) -> Dataset:
    """A data set whose features are read on demand; arguments as of `load`, by the names of the source and its files."""
    name = path.name.split(".")[0]
    if form == "npy":
        if roles.names:
            raise DataFileError(
                f"{path}: expected no {roles.option_of(roles.names[0])} with --stream, as all columns of an NPY file are "
                "features; leave out --stream, or write an NPZ file with an array for it"
            )
        mapped = [memory_map(one.path) for one in part_files]
        counts = [*map(len, mapped)]
        y = joined_labels(part_files, labels, counts, read_labels)
        values = array_targets(y, "target", text, missing, task)
        return Dataset(joined_rows(mapped), values, name, own=own_parts(file_rows(part_files, counts)))
    if form == "npz":
        read = open_npz(part_files, next(iter(targets), None), max_unpacked)
        with rows_of_files(read.file_rows):
            split_by, weights = roles.columns({one: read.column(one, max_unpacked) for one in roles.names}, path.name)
            values = array_targets(targets_of(read, targets, max_unpacked), read.name, text, missing, task)
        return Dataset(read.features, values, name, read.name, split_by=split_by, own=read.own, weights=weights)
    if form == "parquet":
        names = parquet_names(part_files[0].path)
        require_targets(names, targets or ("(none given)",), path.name)
        require_options(names, targets, text, number, drop, path.name)
        others = [column for column in names if column not in targets]
        aside = [column for column in roles.names if column not in (*text, *number, *drop)]
        require_features(path, targets, set(others) - set(aside))
        known = [column for column in roles.names if column in names]
        columns, rows, _ = read_tables(form, part_files, text, max_unpacked, only=[*targets, *known])
        with rows_of_files(rows):
            split_by, weights = roles.columns(columns, path.name, missing)
            values, notes = find_targets(columns, targets, text, missing, task, True)
            text = [column for column in text if column not in targets]
            table, kinds = open_parquet(part_files, others, text, number, [*drop, *aside], missing, max_unpacked)
        kinds = kinds_with_roles(kinds, roles, aside)
        own = own_parts(rows)
        return Dataset(
            table, values, name, targets[0], None, split_by, kinds, notes, tuple(missing), None, own, weights=weights
        )
    raise _not_streamed(path, form)


def open_features(
    source: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    text: Collection[str] = (),
    max_unpacked: int | str | None = None,
    kinds: Mapping[str, Any] | None = None,
    part: str | None = None,
    options: TextOptions | None = None,
) -> RowSource | Iterator[Table]:
    """As `load_features`, with features that are read on demand: arrays of .npy and .npz as a source, tables block by block.

    The blocks of a text file are read with what its first rows say of its layout, and cells by `kinds`, or `text` without them.
    """
    form, path, part_files = files_to_predict(source, part)
    if form in ("npy", "npz"):
        return memory_map(path) if form == "npy" else open_npz_features(path, max_unpacked, part)
    if form not in ("parquet", "csv"):
        raise _not_streamed(path, form, (*STREAMED, ".csv"))
    known, missing = kinds_from_json(kinds) if kinds else (None, MISSING)
    used = None if known is None else {one.name: one for one in known if one.kind != "dropped"}
    names = columns if used is None or columns is not None else [*used]
    chosen = None if used is None else [used[name] for name in names or () if name in used]
    text = [*text, *(one.name for one in chosen or () if one.kind == "text")]
    if form == "parquet":
        paths = [one.path for one in part_files]
        return ParquetTable(paths, names, text, chosen, missing, max_unpacked).blocks()
    if chosen is None:
        chosen = [ColumnKind(name, "text" if name in text else "number") for name in names or ()]
    return csv_blocks([one.path for one in part_files], chosen, max_unpacked, options or TextOptions(), missing)


def _not_streamed(path: Path, form: Format, streamed: Sequence[str] = STREAMED) -> DataFileError:
    if form in TABLE_FORMATS:
        reader = "csv.read_csv" if form == "csv" else "feather.read_table"
        module = reader.partition(".")[0]
        new = f"{path.name.split('.')[0]}.parquet"
        return DataFileError(
            f"--stream: expected an {_either(streamed)} file, whose rows can be read alone; got {str(path)!r} ({form}); "
            f"leave out --stream, or convert it, in Python: from pyarrow import {module}, parquet; "
            f"parquet.write_table({reader}({path.name!r}), {new!r}, row_group_size=100_000)"
        )
    return DataFileError(
        f"--stream: expected an {_either(streamed)} file, whose rows can be read alone; got {str(path)!r} ({form}); "
        "convert it, or leave out --stream"
    )


def _either(extensions: Sequence[str]) -> str:
    return f"{', '.join(extensions[:-1])} or {extensions[-1]}"
