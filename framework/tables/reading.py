"""`load` and `load_features`: read a bundled set or a file, whose format is given by its extension.

The readers of each format are in the `*_source.py` modules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from ...errors import DataFileError, EmptyDataError, HyperparameterError, UnknownColumn
from ..sources.memory_map import memory_map
from ..sources.names import did_you_mean, listed, unknown_column
from ..sources.parquet_rows import ParquetRows, parquet_names
from ..sources.row_source import RowSource, joined_rows
from ..sources.unpacked import name_in_zip
from .bundled import BUNDLED, read_bundled
from .cells import MISSING
from .column_kind import kinds_from_json
from .columns import Column
from .csv_source import read_csv
from .feather_source import read_feather
from .idx_source import has_labels, read_idx, read_idx_labels
from .kinds import apply_kinds, find_kinds, require_names
from .layouts import PARTS, PartFile, chosen_part, file_names, find_part_files, other_parts_beside
from .npy_source import read_labels, read_npy
from .npz_source import ArchiveData, open_npz, open_npz_features, read_npz, read_npz_features
from .own_parts import FileRows, joined_arrays, joined_columns, mixed_columns, own_parts, rows_of_files
from .parquet_source import read_parquet
from .roles import find_targets, from_matrix, kinds_with_split, split_column, split_names, target_names
from .svmlight_source import read_svmlight
from .table import Dataset, Features, Matrix, Table
from .targets import Target
from .text_layout import TextLayout, TextOptions

Format: TypeAlias = Literal["bundled", "csv", "parquet", "feather", "npy", "npz", "idx", "svmlight"]
TableReader: TypeAlias = Callable[..., Table]
"""Takes path, columns, text columns, max_unpacked, and of text files what is known of their layout, and the missing texts."""

EXTENSIONS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".dat": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".ipc": "feather",
    ".npy": "npy",
    ".npz": "npz",
    ".idx": "idx",
    ".ubyte": "idx",
    ".svm": "svmlight",
    ".svmlight": "svmlight",
    ".libsvm": "svmlight",
}
"""Extension -> format; csv, idx and svmlight may also end in .gz or .zip, and names like `…-idx3-ubyte` are IDX."""

_TABLES: dict[Format, TableReader] = {"csv": read_csv, "parquet": read_parquet, "feather": read_feather}
_IDX_NAME = re.compile(r"[-.]idx\d?(-ubyte)?$")
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
        header – of a text file, see `TextOptions`; by default inferred from it by `find_layout`.
    Returns: Dataset on the host, with a RowSource as features if they are streamed. Its rows are those of all parts; `own` says
        which are its validation and test part: of the files named here, of a folder, of an archive with arrays such as x_train
        and x_test, or of images beside train-images-….
    Raises: DataFileError for a source that is unknown, missing, damaged or too large, and for a column of numbers with a few
        cells that are none; UnknownColumn if a column does not exist or the target is not given; LabelError for missing labels;
        EmptyDataError for no rows or no features; MissingDependency for a missing optional library.
    """
    form, path, part_files = find_files(source, validation, test)
    _labels_only_where_used(form, labels)
    name = path.name.split(".")[0]
    labels_path = None if labels is None else _existing(Path(labels))
    targets = target_names(target)
    by = split_names(group, time, targets)
    if stream:
        return _streamed(form, path, part_files, targets, labels_path, text, drop, missing, task, max_unpacked, group, time)
    if form in _TABLES:
        written = [*targets, *by] if form == "csv" else []
        given = TextOptions(delimiter, encoding, decimal, header)
        columns, rows, layout = _read_tables(form, part_files, [*text, *written], max_unpacked, given, missing)
        mark = layout.decimal if layout else "."
        if not targets:
            raise UnknownColumn(
                f"expected the name of the target column of {path.name}, none was given; "
                f"give --target (in Python target=) one of: {listed(list(columns))}"
            )
        _require_targets(list(columns), targets, path.name)
        _require_options(list(columns), targets, text, number, drop, path.name)
        typed = form != "csv"
        split_by = split_column(columns, group, time, path.name)
        with rows_of_files(rows):
            values, notes = find_targets(columns, targets, text, missing, task, typed, mark)
            others = {name: column for name, column in columns.items() if name not in targets}
            aside = [column for column in by if column not in (*text, *number, *drop)]
            _require_features(path, targets, set(others) - set(aside))
            text = [column for column in text if column not in targets]
            table, kinds = find_kinds(Table(others, path.name), text, number, [*drop, *aside], missing, typed, mark)
        kinds = kinds_with_split(kinds, aside[0]) if aside else kinds
        notes = (*(layout.notes if layout else ()), *notes)
        return Dataset(
            table, values, name, targets[0], None, split_by, kinds, notes, tuple(missing), layout, own_parts(rows)
        )
    if form == "npz":
        read = read_npz(part_files, next(iter(targets), None), max_unpacked)
        assert isinstance(read.features, Matrix)
        matrix, split_by = from_matrix(read.features, group, time, partial(read.column, max_unpacked=max_unpacked))
        return Dataset(matrix, _targets_of(read, targets, max_unpacked), name, read.name, split_by=split_by, own=read.own)
    if form == "npy":
        arrays = [read_npy(one.path) for one in part_files]
        counts = [*map(len, arrays)]
        y = _joined_labels(part_files, labels_path, counts, read_labels)
        x = joined_arrays([x.reshape(len(x), -1) for x in arrays], file_names(part_files), path.name)
        matrix, split_by = from_matrix(Matrix(x, (), path.name), group, time)
        return Dataset(matrix, y, name, split_by=split_by, own=own_parts(_rows(part_files, counts)))
    only_target = "target" if form == "bundled" else "label"
    if targets not in ((), (only_target,)):
        raise unknown_column([one for one in targets if one != only_target], [only_target], path.name, "target")
    if form == "bundled":
        dataset = read_bundled(os.fspath(source))
        assert isinstance(dataset.features, Matrix)
        matrix, split_by = from_matrix(dataset.features, group, time)
        return replace(dataset, features=matrix, split_by=split_by)
    if form == "idx":
        matrix, counts = read_idx([one.path for one in part_files], max_unpacked)
        y = _joined_labels(part_files, labels_path, counts, partial(read_idx_labels, max_unpacked=max_unpacked))
        matrix, split_by = from_matrix(matrix, group, time)
        own = own_parts(_rows(part_files, counts))
        return Dataset(matrix, y, name, only_target, "classification", split_by=split_by, own=own)
    sparse = read_svmlight([one.path for one in part_files], None, max_unpacked)
    matrix, split_by = from_matrix(sparse.features, group, time)
    own = own_parts(_rows(part_files, sparse.rows))
    return Dataset(
        matrix, sparse.target, name, only_target, split_by=split_by, own=own, first_index=sparse.first_index
    )


def find_files(
    source: str | os.PathLike[str],
    validation: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
) -> tuple[Format, Path, list[PartFile]]:
    """The format of a source, its path, and its files in the order of their parts.

    Raises: DataFileError as `find_format` and `find_part_files`, and for files of other parts in another format.
    """
    form, path, part_files = _files_of(source)
    given = {"validation": validation, "test": test}
    if form == "idx":
        part_files += [one for one in other_parts_beside(path) if given[one.part] is None and has_labels(one.path)]
    for part, other in given.items():
        if other is None:
            continue
        other_form, _, files = _files_of(other)
        if other_form != form or form == "bundled":
            raise DataFileError(
                f"--{part}: expected a file of the format of {os.fspath(source)!r} ({form}), got {os.fspath(other)!r} "
                f"({other_form}); convert one of them"
            )
        if os.path.samefile(source, other):
            raise DataFileError(f"--{part}: expected another file than {os.fspath(source)!r}, got the same; give other rows")
        named = [one.path for one in files if one.part == part] or [one.path for one in files]
        part_files = [one for one in part_files if one.part != part] + [PartFile(part, one) for one in named]
    part_files.sort(key=lambda one: PARTS.index(one.part))
    return form, path, part_files


def _files_of(source: str | os.PathLike[str]) -> tuple[Format, Path, list[PartFile]]:
    path = Path(source)
    if os.fspath(source) not in BUNDLED and os.path.isdir(path):
        part_files = find_part_files(path, [extension for extension, form in EXTENSIONS.items() if form in _TABLES])
        return find_format(part_files[0].path)[0], path, part_files
    form, path = find_format(source)
    return form, path, [PartFile("training", path)]


def _read_tables(
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
    return columns, _rows(part_files, [*map(len, tables)]), tables[0].layout


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


def _rows(part_files: Sequence[PartFile], counts: Sequence[int]) -> list[FileRows]:
    counted = zip(part_files, counts, file_names(part_files), strict=True)
    return [FileRows(one.part, count, name) for one, count, name in counted]


def _joined_labels(
    part_files: Sequence[PartFile],
    labels: Path | None,
    rows: Sequence[int],
    read: Callable[[Path, Path | None, int], NDArray[Any]],
) -> NDArray[Any]:
    """The labels of all files; `labels` – of the first one, others are found by the names of their features."""
    given = [labels, *[None] * (len(part_files) - 1)]
    columns = [read(one.path, beside, count) for one, beside, count in zip(part_files, given, rows, strict=True)]
    return joined_arrays(columns, file_names(part_files), part_files[0].path.name)


def _targets_of(read: ArchiveData, targets: Sequence[str], max_unpacked: int | str | None) -> Target:
    """The target of an archive, or several by name."""
    if len(targets) < 2:
        return read.target
    return {targets[0]: read.target, **{one: read.column(one, max_unpacked) for one in targets[1:]}}


def _streamed(
    form: Format,
    path: Path,
    part_files: Sequence[PartFile],
    targets: tuple[str, ...],
    labels: Path | None,
    text: Collection[str],
    drop: Collection[str],
    missing: Collection[str],
    task: str | None,
    max_unpacked: int | str | None,
    group: str | None,
    time: str | None,
) -> Dataset:
    """A data set whose features are read on demand."""
    name = path.name.split(".")[0]
    by = split_names(group, time, targets)
    if form == "npy":
        if by:
            raise DataFileError(
                f"{path}: expected no --group or --time with --stream, as all columns of an NPY file are features"
            )
        mapped = [memory_map(one.path) for one in part_files]
        counts = [*map(len, mapped)]
        y = _joined_labels(part_files, labels, counts, read_labels)
        return Dataset(joined_rows(mapped), y, name, own=own_parts(_rows(part_files, counts)))
    if form == "npz":
        read = open_npz(part_files, next(iter(targets), None), max_unpacked)
        split_by = split_column({one: read.column(one, max_unpacked) for one in by}, group, time, path.name)
        values = _targets_of(read, targets, max_unpacked)
        return Dataset(read.features, values, name, read.name, split_by=split_by, own=read.own)
    if form == "parquet":
        names = parquet_names(part_files[0].path)
        _require_targets(names, targets or ("(none given)",), path.name)
        _require_options(names, targets, text, (), drop, path.name)
        others = [column for column in names if column not in (*targets, *by, *drop)]
        _require_features(path, targets, others)
        known = [column for column in by if column in names]
        columns, rows, _ = _read_tables(form, part_files, text, max_unpacked, only=[*targets, *known])
        split_by = split_column(columns, group, time, path.name)
        with rows_of_files(rows):
            values, _ = find_targets(columns, targets, text, missing, task, True)
        opened = [ParquetRows(one.path, others, max_unpacked=max_unpacked) for one in part_files]
        return Dataset(joined_rows(opened), values, name, targets[0], split_by=split_by, own=own_parts(rows))
    raise _not_streamed(path, form)


def _require_targets(names: Sequence[str], targets: Sequence[str], source: str) -> None:
    unknown = [target for target in targets if target not in names]
    if unknown:
        raise unknown_column(unknown, names, source, "target column")


def _require_features(path: Path, targets: Sequence[str], features: Collection[str]) -> None:
    if not features:
        beside = f"the target {targets[0]!r}" if len(targets) == 1 else f"the targets {listed(targets)}"
        raise EmptyDataError(f"{path}: expected feature columns beside {beside}, found none; add some")


def _require_options(
    names: Sequence[str], targets: Collection[str], text: Collection[str], number: Collection[str], drop: Collection[str],
    source: str,
) -> None:  # fmt: skip
    """Checks the columns that the caller decides about."""
    require_names(names, text, number, drop, source)
    for option, chosen in (("number", number), ("drop", drop)):
        for target in targets:
            if target in chosen:
                raise HyperparameterError(f"--{option} {target}: expected a feature column, got the target; name another one")


def open_features(
    source: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    max_unpacked: int | str | None = None,
    part: str | None = None,
) -> RowSource:
    """As `load_features`, with features that are read on demand (.npy, .npz, .parquet)."""
    form, path, part_files = _files_to_predict(source, part)
    if form == "parquet":
        return joined_rows([ParquetRows(one.path, columns, max_unpacked=max_unpacked) for one in part_files])
    if form in ("npy", "npz"):
        return memory_map(path) if form == "npy" else open_npz_features(path, max_unpacked, part)
    raise _not_streamed(path, form)


def _files_to_predict(source: str | os.PathLike[str], part: str | None) -> tuple[Format, Path, list[PartFile]]:
    """The format, the path, and the files of one part of a folder."""
    if part is not None and part not in PARTS:
        raise DataFileError(f"--part: expected one of {', '.join(PARTS)}, got {part!r}; give the part to predict")
    form, path, part_files = _files_of(source)
    if os.path.isdir(path):
        parts: dict[str, list[PartFile]] = {}
        for one in part_files:
            parts.setdefault(one.part, []).append(one)
        return form, path, chosen_part(parts, part, str(path))
    if part is not None and form != "npz":
        raise DataFileError(f"--part: expected a folder or an .npz archive of several parts, got {path}; leave it out")
    return form, path, part_files


def _not_streamed(path: Path, form: Format) -> DataFileError:
    return DataFileError(
        f"--stream: expected an .npy, .npz or .parquet file, whose rows can be read alone; got {str(path)!r} ({form}); "
        "convert it, or leave out --stream"
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
    form, path, part_files = _files_to_predict(source, part)
    given = TextOptions(delimiter, encoding, decimal, header)
    features: Features
    if form in _TABLES and kinds:
        known, missing = kinds_from_json(kinds)
        used = {one.name: one for one in known if one.kind != "dropped"}
        names = [*used] if columns is None else columns
        text = [*text, *(one.name for one in used.values() if one.kind == "text")]
        read, rows, layout = _read_tables(form, part_files, text, max_unpacked, given, missing, names)
        mark = layout.decimal if layout else "."
        with rows_of_files(rows):
            made = apply_kinds(Table(read, path.name), [used[name] for name in names if name in used], missing, mark)
        return Table(made.columns, made.source, layout)
    if form in _TABLES:
        read, _, layout = _read_tables(form, part_files, text, max_unpacked, given, MISSING, columns)
        features = Table(read, path.name, layout)
    elif form == "npz":
        features = read_npz_features(path, max_unpacked, part)
    elif form == "npy":
        x = read_npy(path)
        features = Matrix(x.reshape(len(x), -1), (), path.name)
    elif form == "bundled":
        bundled = read_bundled(os.fspath(source)).features
        assert not isinstance(bundled, RowSource)
        features = bundled
    elif form == "idx":
        features, _ = read_idx([path], max_unpacked)
    else:
        numbered = [_NUMBERED.fullmatch(name) for name in columns or ()]
        width = max((int(match[1]) + 1 for match in numbered if match), default=None)
        features = read_svmlight([path], width, max_unpacked, first_index).features
    return features if columns is None else features.select(columns)


def find_format(source: str | os.PathLike[str]) -> tuple[Format, Path]:
    """Determine the format of a source from its name; of files, only their existence is checked.

    Raises: DataFileError if the name is neither a bundled set nor ends in a known extension, or there is no such file.
    """
    text = os.fspath(source)
    path = Path(text)
    if text in BUNDLED:
        return "bundled", path
    name = path.name.lower()
    plain = name.removesuffix(".gz").removesuffix(".zip")
    form = EXTENSIONS.get(Path(plain).suffix) or ("idx" if _IDX_NAME.search(plain) or name.endswith(".gz") else None)
    if form is None and name.endswith(".zip"):
        plain = name_in_zip(_existing(path)).lower()
        form = EXTENSIONS.get(Path(plain).suffix)
    if form is None and os.path.isdir(path):
        _existing(path)
    if form is None:
        raise DataFileError(
            f"expected a bundled set ({', '.join(BUNDLED)}) or a file ending in {', '.join(EXTENSIONS)} "
            f"(.gz and .zip also for text and IDX), got {text!r}{did_you_mean(text, BUNDLED) or '; rename or convert the file'}"
        )
    if plain != name and form in ("parquet", "feather", "npy", "npz"):
        raise DataFileError(f"{path}: expected an uncompressed {form} file, got {path.suffix}; unpack it first")
    return form, _existing(path)


def _existing(path: Path) -> Path:
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        raise DataFileError(f"expected a data file, {str(path)!r} is a folder; give the path of one file in it")
    if os.path.exists(path):
        raise DataFileError(
            f"expected a data file, {str(path)!r} is a pipe, socket or device and not a regular file; "
            f"write the data to a file first"
        )
    if os.path.islink(path):
        raise DataFileError(f"expected a data file, {str(path)!r} is a link to a file that does not exist; fix the link")
    there = [entry.name for entry in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    nearest = get_close_matches(path.name, there, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"check the path (current folder: {Path.cwd()})"
    raise DataFileError(f"expected a data file, {str(path)!r} does not exist; {hint}")


def _labels_only_where_used(form: Format, labels: str | os.PathLike[str] | None) -> None:
    if labels is not None and form not in ("idx", "npy"):
        raise DataFileError(
            f"expected labels= with an IDX images file or an .npy file only, got it with a {form} source; "
            "give target= instead"
        )
