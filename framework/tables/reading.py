"""`load` and `load_features`: read a bundled set or a file, whose format is given by its extension.

The readers of each format are in the `*_source.py` modules, which files a source names is found out in `source_files.py`;
what is read on demand is in `streaming.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UnknownColumn
from ..sources.names import listed, unknown_column
from .bundled import read_bundled
from .cells import MISSING
from .column_kind import kinds_from_json
from .idx_source import read_idx, read_idx_labels
from .kinds import apply_kinds, as_numbers, find_kinds
from .layouts import file_names
from .npy_source import read_labels, read_npy
from .npz_source import read_npz, read_npz_features, targets_of
from .own_parts import joined_arrays, own_parts, rows_of_files
from .roles import (
    array_targets,
    find_targets,
    from_matrix,
    kinds_with_roles,
    require_features,
    require_options,
    require_targets,
    roles_of,
    target_names,
)
from .source_files import TABLE_FORMATS, existing, files_to_predict, find_files, labels_only_where_used
from .streaming import streamed
from .svmlight_source import read_svmlight
from .table import Dataset, Features, Matrix, Table
from .table_files import file_rows, joined_labels, read_tables
from .text_layout import TextOptions

_NUMBERED = re.compile(r"x(\d+)")


def load(
    source: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    text: Collection[str] = (),
    stream: bool = False,
    max_unpacked: int | str | None = None,
    number: Collection[str] = (),
    drop: Collection[str] = (),
    missing: Collection[str] = MISSING,
    task: str | None = None,
    group: str | None = None,
    time: str | None = None,
    validation: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    weight: str | None = None,
) -> Dataset:
    """Read features and target, and find out what each column of a table is: see `find_kinds` and `find_target`.

    Args: source – one of `BUNDLED`, the path of a file with one of `EXTENSIONS`, or a folder of tables, see `find_part_files`;
        target – name of the target column, or names of several; required for tables (CSV, Parquet, Feather); for .npz the name
        of the target array, see `find_arrays`; other sources have only one target; labels – path of the labels file of an IDX
        or .npy source, if it is not found by the name of the features in the same folder; text – names of table columns to
        read as text even if they hold numbers, such as postcodes; stream – read the features on demand from their file (.npy,
        .npz, .parquet); the target is in memory; max_unpacked – bytes that a compressed file, or an svmlight file without its
        zeros, may become in memory, such as 8_000_000_000 or "8GB"; by default 128 MiB, or 50 times its size if that is more;
        number – names of table columns to read as numbers, where other cells count as missing; drop – names of table columns
        to leave out; missing – texts in table cells that stand for a missing value; task – of the target, if it is not to be
        inferred: labels that are written as numbers are text in a classification if they would be printed otherwise, such as
        01; group, time – name of a column by which the rows are to be divided: no group is in two parts, or the test part is
        the latest. It is no feature, unless `text` or `number` name it too. In .npz it may be an array of its own; validation,
        test – further files, or folders, of the same format: the validation and the test part; delimiter, encoding, decimal,
        header – of a text file, see `TextOptions`; by default inferred from it by `find_layout`; weight – name of a column of
        numbers >= 0 by which the rows count, which is no feature, as `group`.
    Returns: Dataset on the host, with a RowSource as features if they are streamed. Its rows are those of all parts; `own` says
        which are its validation and test part: of the files named here, of a folder, of an archive with arrays such as x_train
        and x_test, or of images beside train-images-….
    Raises: DataFileError for a source that is unknown, missing, damaged or too large, and for a column of numbers with a few
        cells that are none; UnknownColumn if a column does not exist or the target is not given; LabelError for missing labels;
        SampleWeightError for weights that are no numbers >= 0; EmptyDataError for no rows or no features; MissingDependency for
        a missing optional library.
    """
    form, path, part_files = find_files(source, validation, test)
    labels_only_where_used(form, labels)
    name = path.name.split(".")[0]
    labels_path = None if labels is None else existing(Path(labels))
    targets = target_names(target)
    roles = roles_of(group, time, weight, targets)
    if stream:
        return streamed(
            form, path, part_files, targets, labels_path, text, number, drop, missing, task, max_unpacked, roles
        )
    if form in TABLE_FORMATS:
        written = [*targets, *roles.names] if form == "csv" else []
        given = TextOptions(delimiter, encoding, decimal, header)
        unread = {*drop} - {*targets, *roles.names}
        columns, rows, layout = read_tables(form, part_files, [*text, *written], max_unpacked, given, missing, drop=unread)
        mark = layout.decimal if layout else "."
        if not targets:
            raise UnknownColumn(
                f"expected the name of the target column of {path.name}, none was given; "
                f"give --target (in Python target=) one of: {listed(list(columns))}"
            )
        require_targets(list(columns), targets, path.name)
        require_options(list(columns), targets, text, number, drop, path.name)
        typed = form != "csv"
        with rows_of_files(rows):
            split_by, weights = roles.columns(columns, path.name, missing, mark)
            values, notes = find_targets(columns, targets, text, missing, task, typed, mark)
            others = {name: column for name, column in columns.items() if name not in targets}
            aside = [column for column in roles.names if column not in (*text, *number, *drop)]
            require_features(path, targets, set(others) - set(aside))
            text = [column for column in text if column not in targets]
            table, kinds = find_kinds(Table(others, path.name, layout), text, number, [*drop, *aside], missing, typed, mark)
        kinds = kinds_with_roles(kinds, roles, aside)
        notes = (*(layout.notes if layout else ()), *notes)
        return Dataset(
            table, values, name, targets[0], None, split_by, kinds, notes, tuple(missing), layout, own_parts(rows),
            weights=weights,
        )  # fmt: skip
    if form == "npz":
        read = read_npz(part_files, next(iter(targets), None), max_unpacked)
        assert isinstance(read.features, Matrix)
        with rows_of_files(read.file_rows):
            matrix, split_by, weights = from_matrix(read.features, roles, partial(read.column, max_unpacked=max_unpacked))
            values = array_targets(targets_of(read, targets, max_unpacked), read.name, text, missing, task)
        return Dataset(matrix, values, name, read.name, split_by=split_by, own=read.own, weights=weights)
    if form == "npy":
        arrays = [read_npy(one.path) for one in part_files]
        counts = [*map(len, arrays)]
        y = joined_labels(part_files, labels_path, counts, read_labels)
        x = joined_arrays([x.reshape(len(x), -1) for x in arrays], file_names(part_files), path.name)
        matrix, split_by, weights = from_matrix(Matrix(x, (), path.name), roles)
        values = array_targets(y, "target", text, missing, task)
        own = own_parts(file_rows(part_files, counts))
        return Dataset(matrix, values, name, split_by=split_by, own=own, weights=weights)
    only_target = "target" if form == "bundled" else "label"
    if targets not in ((), (only_target,)):
        raise unknown_column([one for one in targets if one != only_target], [only_target], path.name, "target")
    if form == "bundled":
        dataset = read_bundled(os.fspath(source))
        assert isinstance(dataset.features, Matrix)
        matrix, split_by, weights = from_matrix(dataset.features, roles)
        return replace(dataset, features=matrix, split_by=split_by, weights=weights)
    if form == "idx":
        matrix, counts = read_idx([one.path for one in part_files], max_unpacked)
        y = joined_labels(part_files, labels_path, counts, partial(read_idx_labels, max_unpacked=max_unpacked))
        matrix, split_by, weights = from_matrix(matrix, roles)
        own = own_parts(file_rows(part_files, counts))
        return Dataset(matrix, y, name, only_target, "classification", split_by=split_by, own=own, weights=weights)
    sparse = read_svmlight([one.path for one in part_files], None, max_unpacked)
    matrix, split_by, weights = from_matrix(sparse.features, roles)
    own = own_parts(file_rows(part_files, sparse.rows))
    return Dataset(
        matrix, sparse.target, name, only_target, split_by=split_by, own=own, first_index=sparse.first_index, weights=weights
    )


def load_features(
    source: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    text: Collection[str] = (),
    max_unpacked: int | str | None = None,
    kinds: Mapping[str, Any] | None = None,
    part: str | None = None,
    first_index: int | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
) -> Features:
    """Read features without a target, for prediction; the source may contain a target.

    Args: source – as for `load`; columns – names of the feature columns, in this order (`input_names` of a fitted
        preprocessor); other columns are ignored; None reads all, in tables including the target; text – names of table columns
        to read as text (`text_columns` of a fitted preprocessor); max_unpacked – as for `load`; kinds – those of a fitted
        preprocessor, by which the columns of a table are read; without them, columns of a CSV file are what they seem; part –
        training, validation or test, of a folder or an archive that has several; first_index – that of a fitted preprocessor,
        for svmlight files; delimiter, encoding, decimal, header – as for `load`.
    Returns: Table for CSV, Parquet and Feather, Matrix for the other formats, on the host.
    Raises: as `load`; UnknownColumn for columns that do not exist.
    """
    form, path, part_files = files_to_predict(source, part)
    given = TextOptions(delimiter, encoding, decimal, header)
    features: Features
    if form in TABLE_FORMATS and kinds:
        known, missing = kinds_from_json(kinds)
        used = {one.name: one for one in known if one.kind != "dropped"}
        names = [*used] if columns is None else columns
        text = [*text, *(one.name for one in used.values() if one.kind == "text")]
        read, rows, layout = read_tables(form, part_files, text, max_unpacked, given, missing, names)
        mark = layout.decimal if layout else "."
        with rows_of_files(rows):
            made = apply_kinds(Table(read, path.name), [used[name] for name in names if name in used], missing, mark)
        return Table(made.columns, made.source, layout)
    if form in TABLE_FORMATS:
        read, _, layout = read_tables(form, part_files, text, max_unpacked, given, MISSING, columns)
        if layout is not None:
            read = {name: column if name in text else as_numbers(column, layout.decimal) for name, column in read.items()}
        features = Table(read, path.name, layout)
    elif form == "npz":
        features = read_npz_features(path, max_unpacked, part)
    elif form == "npy":
        x = read_npy(path)
        features = Matrix(x.reshape(len(x), -1), (), path.name)
    elif form == "bundled":
        bundled = read_bundled(os.fspath(source)).features
        assert isinstance(bundled, Matrix)
        features = bundled
    elif form == "idx":
        features, _ = read_idx([path], max_unpacked)
    else:
        numbered = [_NUMBERED.fullmatch(name) for name in columns or ()]
        width = max((int(match[1]) + 1 for match in numbered if match), default=None)
        features = read_svmlight([path], width, max_unpacked, first_index).features
    return features if columns is None else features.select(columns)
