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

from ...errors import DataFileError, EmptyDataError, HyperparameterError, UnknownColumn
from ..sources.memory_map import memory_map
from ..sources.names import did_you_mean, listed, unknown_column
from ..sources.parquet_rows import ParquetRows, parquet_names
from ..sources.row_source import RowSource
from ..sources.unpacked import name_in_zip
from .bundled import BUNDLED, read_bundled
from .cells import MISSING
from .column_kind import kinds_from_json
from .csv_source import read_csv
from .feather_source import read_feather
from .idx_source import read_idx
from .kinds import apply_kinds, find_kinds, require_names
from .npy_source import read_labels, read_npy
from .npz_source import open_npz, read_npz, read_npz_column
from .parquet_source import read_parquet
from .roles import find_targets, from_matrix, kinds_with_split, split_column, split_names, target_names
from .svmlight_source import read_svmlight
from .table import Dataset, Features, Matrix, Table
from .targets import Target
from .text_layout import TextOptions

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
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
) -> Dataset:
    """Read features and target, and find out what each column of a table is: see `find_kinds` and `find_target`.

    Args: source – one of `BUNDLED`, or the path of a file with one of `EXTENSIONS`; target – name of the target column, or
        names of several; required for tables (CSV, Parquet, Feather); for .npz the name of the target array ("y" by default);
        other sources have only one target; labels – path of the labels file of an IDX source, if it is not in the same folder,
        or of an .npy source, which requires one; text – names of table columns to read as text even if they hold numbers, such
        as postcodes; stream – read the features on demand from their file (.npy, .npz, .parquet); the target is in memory;
        max_unpacked – bytes that a compressed file, or an svmlight file without its zeros, may become in memory, such as
        8_000_000_000 or "8GB"; by default 128 MiB, or 50 times its size if that is more; number – names of table columns to
        read as numbers, where other cells count as missing; drop – names of table columns to leave out; missing – texts in
        table cells that stand for a missing value; task – of the target, if it is not to be inferred: labels that are written
        as numbers are text in a classification if they would be printed otherwise, such as 01; group, time – name of a column
        by which the rows are to be divided: no group is in two parts, or the test part is the latest. It is no feature,
        unless `text` or `number` name it too. In .npz it may be an array of its own; delimiter, encoding, decimal, header – of
        a text file, see `TextOptions`; by default inferred from it by `find_layout`.
    Returns: Dataset on the host, with a RowSource as features if they are streamed.
    Raises: DataFileError for a source that is unknown, missing, damaged or too large, and for a column of numbers with a few
        cells that are none; UnknownColumn if a column does not exist or the target is not given; LabelError for missing labels;
        EmptyDataError for no rows or no features; MissingDependency for a missing optional library.
    """
    form, path = find_format(source)
    _labels_only_where_used(form, labels)
    name = path.name.split(".")[0]
    labels_path = None if labels is None else _existing(Path(labels))
    targets = target_names(target)
    by = split_names(group, time, targets)
    if stream:
        return _streamed(form, path, targets, labels_path, text, drop, missing, task, max_unpacked, group, time)
    if form in _TABLES:
        written = [*targets, *by] if form == "csv" else []
        given = TextOptions(delimiter, encoding, decimal, header)
        read = _TABLES[form](path, None, [*text, *written], max_unpacked, given, missing)
        columns, layout = dict(read.columns), read.layout
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
        values, notes = find_targets(columns, targets, text, missing, task, typed, mark)
        others = {name: column for name, column in columns.items() if name not in targets}
        aside = [column for column in by if column not in (*text, *number, *drop)]
        _require_features(path, targets, set(others) - set(aside))
        text = [column for column in text if column not in targets]
        table, kinds = find_kinds(Table(others, path.name), text, number, [*drop, *aside], missing, typed, mark)
        kinds = kinds_with_split(kinds, aside[0]) if aside else kinds
        notes = (*(layout.notes if layout else ()), *notes)
        return Dataset(
            table, values, name, targets[0], kinds=kinds, notes=notes, missing=tuple(missing), split_by=split_by, layout=layout
        )
    if form == "npz":
        chosen = targets or ("y",)
        matrix, y = read_npz(path, chosen[0], max_unpacked)
        assert y is not None
        array = partial(read_npz_column, path, rows=len(matrix), max_unpacked=max_unpacked)
        matrix, split_by = from_matrix(matrix, group, time, array)
        several = {chosen[0]: y, **{one: array(one) for one in chosen[1:]}}
        return Dataset(matrix, several if len(chosen) > 1 else y, name, chosen[0], split_by=split_by)
    if form == "npy":
        x = read_npy(path)
        matrix, split_by = from_matrix(Matrix(x.reshape(len(x), -1), (), path.name), group, time)
        return Dataset(matrix, read_labels(labels_path, len(x), path), name, split_by=split_by)
    only_target = "target" if form == "bundled" else "label"
    if targets not in ((), (only_target,)):
        raise unknown_column([one for one in targets if one != only_target], [only_target], path.name, "target")
    if form == "bundled":
        dataset = read_bundled(os.fspath(source))
        assert isinstance(dataset.features, Matrix)
        matrix, split_by = from_matrix(dataset.features, group, time)
        return replace(dataset, features=matrix, split_by=split_by)
    if form == "idx":
        matrix, y = read_idx(path, labels_path, True, max_unpacked)
        assert y is not None
        matrix, split_by = from_matrix(matrix, group, time)
        return Dataset(matrix, y, name, only_target, "classification", split_by=split_by)
    matrix, y = read_svmlight(path, None, max_unpacked)
    matrix, split_by = from_matrix(matrix, group, time)
    return Dataset(matrix, y, name, only_target, split_by=split_by)


def _streamed(
    form: Format,
    path: Path,
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
        rows = memory_map(path)
        return Dataset(rows, read_labels(labels, len(rows), path), name)
    if form == "npz":
        chosen = targets or ("y",)
        rows = open_npz(path, None, max_unpacked)[0]
        arrays = {one: read_npz_column(path, one, len(rows), max_unpacked) for one in (*chosen, *by)}
        split_by = split_column(arrays, group, time, path.name)
        values: Target = {one: arrays[one] for one in chosen} if len(chosen) > 1 else arrays[chosen[0]]
        return Dataset(rows, values, name, chosen[0], split_by=split_by)
    if form == "parquet":
        names = parquet_names(path)
        _require_targets(names, targets or ("(none given)",), path.name)
        _require_options(names, targets, text, (), drop, path.name)
        others = [column for column in names if column not in (*targets, *by, *drop)]
        _require_features(path, targets, others)
        known = [column for column in by if column in names]
        columns = read_parquet(path, [*targets, *known], text, max_unpacked).columns
        split_by = split_column(columns, group, time, path.name)
        values, _ = find_targets(columns, targets, text, missing, task, True)
        rows_of_file = ParquetRows(path, others, max_unpacked=max_unpacked)
        return Dataset(rows_of_file, values, name, targets[0], split_by=split_by)
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
    source: str | os.PathLike[str], columns: Sequence[str] | None = None, max_unpacked: int | str | None = None
) -> RowSource:
    """As `load_features`, with features that are read on demand (.npy, .npz, .parquet)."""
    form, path = find_format(source)
    if form == "parquet":
        return ParquetRows(path, columns, max_unpacked=max_unpacked)
    if form in ("npy", "npz"):
        return memory_map(path) if form == "npy" else open_npz(path, None, max_unpacked)[0]
    raise _not_streamed(path, form)


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
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
) -> Features:
    """Read features without a target, for prediction; the source may contain a target.

    Args: source – as for `load`; columns – names of the feature columns, in this order (`input_names` of a fitted
        preprocessor); other columns are ignored; None reads all, in tables including the target; text – names of table columns
        to read as text (`text_columns` of a fitted preprocessor); max_unpacked – as for `load`; kinds – those of a fitted
        preprocessor, by which the columns of a table are read; without them, columns of a CSV file are what they seem;
        delimiter, encoding, decimal, header – as for `load`.
    Returns: Table for CSV, Parquet and Feather, Matrix for the other formats, on the host.
    Raises: as `load`; UnknownColumn for columns that do not exist.
    """
    form, path = find_format(source)
    given = TextOptions(delimiter, encoding, decimal, header)
    features: Features
    if form in _TABLES and kinds:
        known, missing = kinds_from_json(kinds)
        used = {one.name: one for one in known if one.kind != "dropped"}
        names = [*used] if columns is None else columns
        text = [*text, *(one.name for one in used.values() if one.kind == "text")]
        table = _TABLES[form](path, names, text, max_unpacked, given, missing)
        mark = table.layout.decimal if table.layout else "."
        made = apply_kinds(table, [used[name] for name in names if name in used], missing, mark)
        return Table(made.columns, made.source, table.layout)
    if form in _TABLES:
        features = _TABLES[form](path, columns, text, max_unpacked, given, MISSING)
    elif form == "npz":
        features, _ = read_npz(path, None, max_unpacked)
    elif form == "npy":
        x = read_npy(path)
        features = Matrix(x.reshape(len(x), -1), (), path.name)
    elif form == "bundled":
        bundled = read_bundled(os.fspath(source)).features
        assert not isinstance(bundled, RowSource)
        features = bundled
    elif form == "idx":
        features, _ = read_idx(path, None, False, max_unpacked)
    else:
        numbered = [_NUMBERED.fullmatch(name) for name in columns or ()]
        features, _ = read_svmlight(path, max((int(match[1]) + 1 for match in numbered if match), default=None), max_unpacked)
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
