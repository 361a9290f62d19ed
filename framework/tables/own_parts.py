"""Data that come divided: their parts are joined to one data set, which remembers the rows of its validation and test part.

Which files and arrays are parts is found out in `layouts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, FusedstepError
from ..sources.names import listed
from .columns import Column, is_text
from .text_column import TextColumn

Indices = NDArray[np.int64]

_EMPTY = "no entries"
_EXACT = 2**53
_ROW = re.compile(r"\brow ([\d,]*\d)")


class OwnPart(NamedTuple):
    """Rows start … stop of a data set that are its own validation or test part; origin – the file or array they come from."""

    start: int
    stop: int
    origin: str


class FileRows(NamedTuple):
    """So many rows of one origin, of one part."""

    part: str
    rows: int
    origin: str


def own_parts(joined: Sequence[FileRows]) -> dict[str, OwnPart]:
    """The own parts of data that were joined in this order; those of one part follow each other."""
    found: dict[str, OwnPart] = {}
    start = 0
    for part, rows, origin in joined:
        stop = start + rows
        if part != "training":
            known = found.get(part)
            shown = origin if known is None else f"{known.origin.partition(' …')[0]} … {origin}"
            found[part] = OwnPart(start if known is None else known.start, stop, shown)
        start = stop
    return found


@contextmanager
def rows_of_files(joined: Sequence[FileRows]) -> Iterator[None]:
    """Adds to errors that name a row of joined files which row of which file that is."""
    try:
        yield
    except FusedstepError as error:
        named = _ROW.search(str(error))
        if len(joined) < 2 or named is None:
            raise
        row, start = int(named[1].replace(",", "")), 0
        for one in joined:
            if start < row <= start + one.rows:
                raise type(error)(f"{error}; row {row:,} is row {row - start:,} of {one.origin}") from error
            start += one.rows
        raise


def rows_of_parts(own: Mapping[str, OwnPart]) -> list[FileRows]:
    """For `rows_of_files`: the training part, which comes first, and the own parts."""
    parts = sorted((one.start, one.stop, part, one.origin) for part, one in own.items())
    first = [FileRows("training", parts[0][0], "the training part")] if parts else []
    return first + [FileRows(part, stop - start, origin) for start, stop, part, origin in parts]


def used_parts(own: Mapping[str, OwnPart], fractions: tuple[float | None, float | None]) -> dict[str, OwnPart]:
    """The own parts for which no fraction of the other rows is asked for; fractions – (test, validation)."""
    asked = {part for part, fraction in zip(("test", "validation"), fractions, strict=True) if fraction is not None}
    return {part: one for part, one in own.items() if part not in asked}


def rows_besides(rows: int, own: Mapping[str, OwnPart]) -> Indices:
    """The numbers of the rows that belong to no own part."""
    left = np.ones(rows, dtype=bool)
    for one in own.values():
        left[one.start : one.stop] = False
    return np.flatnonzero(left)


def notes_on_groups(groups: Column, rows: Mapping[str, Indices], own: Mapping[str, OwnPart]) -> tuple[str, ...]:
    """Says how many groups are in the training part and in an own part, which was divided by others.

    Args: groups – [N], of each row; rows – of each part.
    """
    values = groups.codes if is_text(groups) else groups
    training = np.unique(values[rows["training"]])
    notes = []
    for part in own:
        shared = np.intersect1d(training, values[rows[part]])
        if shared.size:
            notes.append(f"{shared.size:,} groups are in the training part and in the data's own {part} part")
    return tuple(notes)


def joined_arrays(arrays: Sequence[NDArray[Any]], names: Sequence[str], source: str) -> NDArray[Any]:
    """Arrays of rows of the same shape and kind, one after the other; names – of the arrays, for messages."""
    first = arrays[0]
    for array, name in zip(arrays, names, strict=True):
        if array.shape[1:] != first.shape[1:] or (array.dtype.kind in "US") != (first.dtype.kind in "US"):
            raise DataFileError(
                f"{source}: expected rows as in {names[0]} ({first.dtype}, {list(first.shape[1:])}) in {name}, found "
                f"{array.dtype}, {list(array.shape[1:])}; make the parts alike"
            )
    return first if len(arrays) == 1 else np.concatenate(arrays)


def joined_columns(tables: Sequence[Mapping[str, Column]], names: Sequence[str], strict: Sequence[bool]) -> dict[str, Column]:
    """Tables of the same columns, one after the other, in the order of the first.

    Args: names – of the tables, for messages; strict – whether a table may have no further columns, as a shard; those of others
        are left out.
    Raises: DataFileError for a table that lacks a column or, if strict, has more, and for a column of different types.
    """
    first = tables[0]
    for table, name, exactly in zip(tables, names, strict, strict=True):
        missing = [column for column in first if column not in table]
        extra = [column for column in table if column not in first] if exactly else []
        if missing or extra:
            what = f"without {listed([repr(column) for column in missing])}" if missing else f"with {listed(extra)}"
            hint = "" if exactly else "; fusedstep predict takes files without the target"
            raise DataFileError(f"{name}: expected the columns of {names[0]}, found a table {what}; make the files alike{hint}")
    if len(tables) == 1:
        return dict(first)
    return {column: _joined([table[column] for table in tables], column, names) for column in first}


def mixed_columns(tables: Sequence[Mapping[str, Column]]) -> list[str]:
    """The columns that are text in some tables and not in others."""
    return [
        column
        for column in tables[0]
        if len({is_text(table[column]) for table in tables if column in table}) > 1
    ]


def _joined(columns: Sequence[Column], name: str, sources: Sequence[str]) -> Column:
    families = {_family(column) for column in columns} - {_EMPTY}
    if "text" in families:
        families -= {"booleans"}
        columns = [column if is_text(column) else _as_text(column) for column in columns] if len(families) == 1 else columns
    elif families == {"dates"}:
        columns = [np.full(len(column), "NaT", "M8[us]") if _family(column) == _EMPTY else column for column in columns]
    elif families == {"booleans"} and any(_family(column) == _EMPTY for column in columns):
        columns = [_as_text(column) for column in columns]
    if len(families) > 1:
        found = [(_family(column), source) for column, source in zip(columns, sources, strict=True)]
        first, other = next(((a, b) for a, b in pairwise(one for one in found if one[0] != _EMPTY) if a[0] != b[0]))
        raise DataFileError(
            f"column {name!r}: expected one type, found {first[0]} in {first[1]} and {other[0]} in {other[1]}; "
            "write it alike in all files"
        )
    texts = [column for column in columns if is_text(column)]
    if texts:
        return _joined_text(texts)
    arrays = [column for column in columns if not is_text(column)]
    kinds = {array.dtype.kind for array in arrays}
    if kinds == {"i", "f"} and max(np.abs(array).max(initial=0) for array in arrays if array.dtype.kind == "i") > _EXACT:
        raise DataFileError(
            f"column {name!r}: expected whole numbers in all files, or none above 2^53, found a larger one in one file and "
            "fractions or missing values in another; write it as text, or alike in all files"
        )
    return np.concatenate(arrays)


def _family(column: Column) -> str:
    if is_text(column):
        return "text"
    if column.dtype.kind == "f" and np.isnan(column).all():
        return _EMPTY
    return {"M": "dates", "b": "booleans"}.get(column.dtype.kind, "numbers")


def _as_text(column: Column) -> TextColumn:
    """Booleans as "true" and "false"; a column without entries as missing text."""
    if is_text(column):
        return column
    if column.dtype == bool:
        return TextColumn(column.astype(np.int32), np.array(["false", "true"], dtype=object))
    return TextColumn(np.full(len(column), -1, dtype=np.int32), np.empty(0, dtype=object))


def _joined_text(columns: Sequence[TextColumn]) -> TextColumn:
    number: dict[str, int] = {}
    codes = []
    for column in columns:
        places = [number.setdefault(value, len(number)) for value in column.values.tolist()]
        codes.append(np.array([*places, -1], dtype=np.int32)[column.codes])
    values = np.empty(len(number), dtype=object)
    values[:] = list(number)
    return TextColumn(np.concatenate(codes), values)
