"""The target as it was written: numbers for a regression, labels in the spelling of the file for a classification.

Feature columns are decided in `kinds.py`; the encoding of a target is in `target_coding.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ...errors import DataFileError, DtypeError, LabelError, NonFiniteDataError
from .cells import MISSING, booleans, integers, missing_tokens, numbers
from .column_kind import ColumnKind, Kind
from .column_values import TextCells, as_text, describe, quoted
from .columns import Column, is_text, narrowed
from .kinds import decorated
from .task import find_task


def find_target(
    column: Column,
    name: str,
    text: Collection[str] = (),
    missing: Collection[str] = MISSING,
    task: str | None = None,
    typed: bool = False,
    decimal: str = ".",
) -> tuple[Column, ColumnKind]:
    """Decide what a target is.

    A label becomes a number or a boolean only if it is printed as it is in the file: 7, 0.5, True. Others, such as 01, 1.50 and
    TRUE, are numbers in a regression and text in a classification.

    Args: column – of the target; name – of it; text – columns that are text on request; missing – as for `find_kinds`; task –
        "classification", "regression", or None: by `find_task`; typed, decimal – as for `find_kinds`.
    Returns: the target as int64, float64, bool or TextColumn, without missing values in text; its kind.
    Raises: LabelError (NonFiniteDataError among numbers) for missing labels, with their number and the first row;
        DataFileError if more than half, but not all labels are numbers, or if they are numbers with signs; DtypeError for
        dates.
    """
    if name in text:
        column, typed = as_text(column), True
    if not is_text(column):
        if column.dtype.kind == "M":
            raise DtypeError(
                f"target {name!r}: expected numbers or classes, found dates; turn them into numbers, or make each date a class "
                f"with --text {shlex.quote(name)} (in Python text=)"
            )
        return column, ColumnKind(name, "boolean" if column.dtype == np.bool_ else "number", describe(column))
    cells = TextCells(column, missing_tokens(missing if name not in text else ()))
    found = numbers(cells.values, decimal)
    good = cells.rows_of(~np.isnan(found))
    if not typed and good < cells.present:
        _require_no_numbers(name, cells, found, good)
    is_number = not typed and good == cells.present
    if cells.missing:
        raise _missing(name, cells, is_number)
    made, note = _as_written(cells, found, name, task) if not typed else (column, "")
    kind: Kind = "text" if is_text(made) else "boolean" if made.dtype == np.bool_ else "number"
    return made, ColumnKind(name, kind, describe(made), note)


def _as_written(cells: TextCells, found: NDArray[np.float64], name: str, task: str | None) -> tuple[Column, str]:
    """The labels in a type that prints them as they are written."""
    column, values = cells.column, cells.values
    if set(values) <= {"True", "False"}:
        return cells.spread(np.array(booleans(values), dtype=np.bool_)), ""
    if np.isnan(found).any():
        return column, ""
    whole = integers(values)
    if whole is not None and [str(number) for number in whole.tolist()] == values:
        return cells.spread(whole), ""
    exact = all(value.strip().lstrip("+-").isdecimal() for value in values)
    numbered = cells.spread(found)
    too_large = exact and whole is None  # for int64; how many different ones there are tells the task as well
    if find_task(column.codes.astype(np.int64) if too_large else numbered, task) == "regression":
        return numbered, ""
    if [repr(number) for number in found.tolist()] == values:
        return numbered, ""
    if len(np.unique(found)) < len(values) and whole is None and not exact:
        return narrowed(numbered), (
            f"labels of {name!r} that are the same number, such as 1 and 1.0, are one class; --text keeps them apart"
        )
    return column, ""


def _missing(name: str, cells: TextCells, is_number: bool) -> Exception:
    """The error for missing labels."""
    codes = cells.column.codes[cells.absent_rows]
    spelled = sorted({quoted(value) for value in cells.column.values[codes[codes >= 0]] if value.strip()})
    rows = np.flatnonzero(cells.absent_rows)
    what = f"{len(rows):,} missing ({', '.join(spelled)})" if spelled else f"{len(rows):,} empty"
    what += f", the first in row {rows[0] + 1:,}"
    if is_number:
        return NonFiniteDataError(f"target {name!r}: expected finite numbers, found {what}; fill in or drop these rows")
    keep = f", or, if these are classes, give --text {shlex.quote(name)} (in Python text=)" if spelled else ""
    return LabelError(f"target {name!r}: expected a label in every row, found {what}; drop these rows{keep}")


def _require_no_numbers(name: str, cells: TextCells, found: NDArray[np.float64], good: int) -> None:
    """Raises DataFileError if most labels are numbers, with or without signs, and others are not."""
    bad = np.isnan(found)
    signs = decorated(cells, found)
    if 2 * (good + cells.rows_of(signs)) <= cells.present:
        return
    count, row, cell = cells.first(signs if 2 * good <= cells.present else bad)
    others = f", the first of {count:,} that are not" if count > 1 else ""
    fraction = f"; {good:,} of {cells.present:,} cells are numbers" if good else ""
    raise DataFileError(
        f"target {name!r}, row {row:,}: expected numbers such as 1.5 or 1234.5, found {quoted(cell)}{others}{fraction}; "
        f"correct the cells or drop their rows, or make each value a class with --text {shlex.quote(name)} (in Python text=)"
    )
