"""What a split goes by, as one whole number a row: the stratum, the group, or the rank in time.

The division of the rows is in `splits.py` and `grouped_splits.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DtypeError, LabelError, ShapeError
from .cells import DATE_FORMS, dates, numbers
from .columns import Column, as_column, is_text, narrowed

Numbers = NDArray[np.intp]

MOST_BINS, ROWS_OF_A_BIN = 10, 10
"""Numbers are stratified in at most so many bins, of at least so many rows."""


def strata(labels: ArrayLike | None, count: int) -> Numbers:
    """The stratum of each row.

    Labels: one stratum a class. Numbers that are not whole: up to 10 bins with equally many rows, by size. Several columns of
    0 and 1: the column whose rarer value the row has, of several such columns the one where it is rarest, or none.

    Args: labels – [N], [N, k] of 0 and 1, or None for a single stratum; count – N.
    """
    if labels is None:
        return np.zeros(count, dtype=np.intp)
    several = _several(labels)
    if several is not None:
        _require_rows("stratify", len(several), count)
        return _by_rarest(several)
    column = as_column(labels, "stratify")
    _require_rows("stratify", len(column), count)
    if not is_text(column) and column.dtype == np.float64 and narrowed(column) is column and count:
        rank = np.empty(count, dtype=np.intp)
        rank[np.argsort(column, kind="stable")] = np.arange(count)
        return rank * min(MOST_BINS, max(1, count // ROWS_OF_A_BIN)) // count
    return numbered(column)


def groups_of(groups: ArrayLike, count: int) -> Numbers:
    """The number of each row's group, from 0.

    Raises: LabelError for a missing group; ShapeError unless there is one for each row.
    """
    column = as_column(groups, "groups")
    _require_rows("groups", len(column), count)
    _require_present(column, "groups", "a group")
    return numbered(column)


def ranks_in_time(time: ArrayLike, count: int) -> Numbers:
    """The rank of each row's time from 0, the same for equal times.

    Args: time – [N] dates, numbers, or text such as 2024-05-31 or 2024-05-31 12:00.
    Raises: DtypeError for other text; LabelError for a missing time; ShapeError unless there is one for each row.
    """
    column = as_column(time, "time")
    _require_rows("time", len(column), count)
    _require_present(column, "time", "a date or number")
    if is_text(column):
        used = column.counts() > 0
        column = _numbers_or_dates(column.values[used])[(np.cumsum(used) - 1)[column.codes]]
    return numbered(column)


def numbered(column: Column) -> Numbers:
    """Equal values as equal numbers from 0, in ascending order of the values; missing text comes first."""
    if is_text(column):
        rank = np.full(len(column.values) + 1, -1)  # the last entry: of missing text
        rank[np.argsort(column.values)] = np.arange(len(column.values))
        column = rank[column.codes]
    numbers: Numbers = np.unique(column, return_inverse=True)[1].reshape(-1)
    return numbers


def _several(labels: ArrayLike) -> NDArray[np.bool_] | None:
    """Labels of several columns as booleans, None for a single column."""
    array = np.asarray(labels) if len(getattr(labels, "shape", ())) == 2 else np.zeros((0, 1))
    if array.shape[1] < 2:
        return None
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise LabelError(
            f"stratify: expected 0 and 1 in several columns of labels, got others ({array.dtype} of shape {array.shape}); "
            "stratify by one column"
        )
    return array.astype(np.bool_)


def _by_rarest(several: NDArray[np.bool_]) -> Numbers:
    """See `strata`."""
    rows, width = several.shape
    frequent = 2 * np.count_nonzero(several, axis=0) > rows
    rare = several != frequent
    order = np.argsort(np.count_nonzero(rare, axis=0), kind="stable")
    found: Numbers = np.where(rare[:, order].any(axis=1), rare[:, order].argmax(axis=1), width)
    return numbered(found)


def _numbers_or_dates(values: NDArray[Any]) -> NDArray[Any]:
    """What all texts are: numbers, or dates of one form.

    Raises: DtypeError for other text, and for dates such as 01/02/2024, if they may be of two forms.
    """
    texts = list(map(str, values))
    found = numbers(texts)
    if not np.isnan(found).any():
        return found
    read = {form: dates(texts, form) for form in DATE_FORMS}
    whole = [form for form, made in read.items() if not np.isnat(made).any()]
    if len(whole) == 1:
        return read[whole[0]]
    if whole:
        raise DtypeError(
            f"time: expected dates of one form, found {texts[0]!r} and the like, which may be day/month or month/day; write "
            "them as 2024-05-31"
        )
    best = max(read.values(), key=lambda made: np.count_nonzero(~np.isnat(made)))
    first = next(text for text, bad in zip(texts, np.isnan(found) & np.isnat(best), strict=True) if bad)
    raise DtypeError(f"time: expected numbers, or dates such as 2024-05-31, found {first!r}; correct or drop such rows")


def _require_rows(name: str, found: int, count: int) -> None:
    if found != count:
        raise ShapeError(f"{name}: expected {count} labels, one per row, got {found}; give one for each row")


def _require_present(column: Column, name: str, what: str) -> None:
    if is_text(column):
        absent = np.flatnonzero(column.missing | np.append(column.values == "", False)[column.codes])
    else:
        absent = np.flatnonzero(column != column)
    if absent.size:
        raise LabelError(
            f"{name}: expected {what} in every row, found {absent.size:,} missing, the first in row {absent[0] + 1:,}; "
            "fill them in or drop these rows"
        )
