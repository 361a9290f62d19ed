"""`load` and `load_features`: read a bundled set or a file, whose format is given by its extension.

The readers of each format are in the `*_source.py` modules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
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
from .labels import find_target
from .npy_source import read_labels, read_npy
from .npz_source import open_npz, read_npz
from .parquet_source import read_parquet
from .svmlight_source import read_svmlight
from .table import Dataset, Features, Matrix, Table
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
    target: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    text: Collection[str] = (),
    stream: bool = False,
    max_unpacked: int | str | None = None,
    number: Collection[str] = (),
    drop: Collection[str] = (),
    missing: Collection[str] = MISSING,
    task: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
) -> Dataset:
    """Read features and target, and find out what each column of a table is: see `find_kinds` and `find_target`.

    Args: source – one of `BUNDLED`, or the path of a file with one of `EXTENSIONS`; target – name of the target column;
        required for tables (CSV, Parquet, Feather); for .npz the name of the target array ("y" by default); other sources have
        only one target; labels – path of the labels file of an IDX source, if it is not in the same folder, or of an .npy
        source, which requires one; text – names of table columns to read as text even if they hold numbers, such as postcodes;
        stream – read the features on demand from their file (.npy, .npz, .parquet); the target is in memory; max_unpacked –
        bytes that a compressed file, or an svmlight file without its zeros, may become in memory, such as 8_000_000_000 or
        "8GB"; by default 128 MiB, or 50 times its size if that is more; number – names of table columns to read as numbers,
        where other cells count as missing; drop – names of table columns to leave out; missing – texts in table cells that
        stand for a missing value; task – of the target, if it is not to be inferred: labels that are written as numbers are
        text in a classification if they would be printed otherwise, such as 01; delimiter, encoding, decimal, header – of a
        text file, see `TextOptions`; by default inferred from it by `find_layout`.
    Returns: Dataset on the host, with a RowSource as features if they are streamed.
    Raises: DataFileError for a source that is unknown, missing, damaged or too large, and for a column of numbers with a few
        cells that are none; UnknownColumn if a column does not exist or the target is not given; LabelError for missing labels;
        EmptyDataError for no rows or no features; MissingDependency for a missing optional library.
    """
    form, path = find_format(source)
    _labels_only_where_used(form, labels)
    name = path.name.split(".")[0]
    labels_path = None if labels is None else _existing(Path(labels))
    if stream:
        return _streamed(form, path, target, labels_path, text, drop, missing, task, max_unpacked)
    if form in _TABLES:
        written = [target] if form == "csv" and target is not None else []
        given = TextOptions(delimiter, encoding, decimal, header)
        read = _TABLES[form](path, None, [*text, *written], max_unpacked, given, missing)
        columns, layout = dict(read.columns), read.layout
        mark = layout.decimal if layout else "."
        if target is None:
            raise UnknownColumn(
                f"expected the name of the target column of {path.name}, none was given; "
                f"give --target (in Python target=) one of: {listed(list(columns))}"
            )
        if target not in columns:
            raise unknown_column([target], list(columns), path.name, "target column")
        _require_options(list(columns), target, text, number, drop, path.name)
        typed = form != "csv"
        values, kind = find_target(columns.pop(target), target, text, missing, task, typed, mark)
        if not columns:
            raise EmptyDataError(f"{path}: expected feature columns beside the target {target!r}, found none; add some")
        others = [column for column in text if column != target]
        table, kinds = find_kinds(Table(columns, path.name), others, number, drop, missing, typed, mark)
        notes = (*(layout.notes if layout else ()), *((kind.note,) if kind.note else ()))
        return Dataset(table, values, name, target, kinds=kinds, notes=notes, missing=tuple(missing), layout=layout)
    if form == "npz":
        matrix, y = read_npz(path, target or "y", max_unpacked)
        assert y is not None
        return Dataset(matrix, y, name, target or "y")
    if form == "npy":
        x = read_npy(path)
        return Dataset(Matrix(x.reshape(len(x), -1), (), path.name), read_labels(labels_path, len(x), path), name)
    only_target = "target" if form == "bundled" else "label"
    if target not in (None, only_target):
        raise unknown_column([target], [only_target], path.name, "target")
    if form == "bundled":
        return read_bundled(os.fspath(source))
    if form == "idx":
        matrix, y = read_idx(path, labels_path, True, max_unpacked)
        assert y is not None
        return Dataset(matrix, y, name, only_target, "classification")
    matrix, y = read_svmlight(path, None, max_unpacked)
    return Dataset(matrix, y, name, only_target)


def _streamed(
    form: Format,
    path: Path,
    target: str | None,
    labels: Path | None,
    text: Collection[str],
    drop: Collection[str],
    missing: Collection[str],
    task: str | None,
    max_unpacked: int | str | None,
) -> Dataset:
    """A data set whose features are read on demand."""
    name = path.name.split(".")[0]
    if form == "npy":
        rows = memory_map(path)
        return Dataset(rows, read_labels(labels, len(rows), path), name)
    if form == "npz":
        rows, y = open_npz(path, target or "y", max_unpacked)
        assert y is not None
        return Dataset(rows, y, name, target or "y")
    if form == "parquet":
        names = parquet_names(path)
        if target not in names:
            raise unknown_column([target or "(none given)"], names, path.name, "target column")
        _require_options(names, target, text, (), drop, path.name)
        others = [column for column in names if column != target and column not in drop]
        if not others:
            raise EmptyDataError(f"{path}: expected feature columns beside the target {target!r}, found none; add some")
        column = read_parquet(path, [target], text, max_unpacked).columns[target]
        values, _ = find_target(column, target, text, missing, task, True)
        return Dataset(ParquetRows(path, others, max_unpacked=max_unpacked), values, name, target)
    raise _not_streamed(path, form)


def _require_options(
    names: Sequence[str], target: str, text: Collection[str], number: Collection[str], drop: Collection[str], source: str
) -> None:
    """Checks the columns that the caller decides about."""
    require_names(names, text, number, drop, source)
    for option, chosen in (("number", number), ("drop", drop)):
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
