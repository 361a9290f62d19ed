"""Checks that data contain neither NaN nor infinity, or no infinity only, in blocks to save memory.

Shapes and names are checked by the tables, the loss by the training step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DtypeError, NonFiniteDataError
from ..sources.blocks import row_blocks
from .columns import Column, is_text
from .table import Features, Matrix


class NonFinite(NamedTuple):
    """Number of entries that are NaN or infinite, and the 0-based row and column of the first."""

    total: int
    row: int
    column: int


def find_nonfinite(matrix: NDArray[Any], missing: bool = False) -> NonFinite | None:
    """Count NaN and infinity and find the first row, by blocks of rows; None if there are none.

    Args: matrix – [N] or [N, d, …] of numbers or booleans, on the host; axes after the first count as columns; missing –
        whether NaN is allowed, as a missing entry.
    """
    if matrix.dtype.kind != "f":
        return None
    count, row, column = 0, -1, -1
    width = math.prod(matrix.shape[1:])
    for block in row_blocks(matrix.shape[0], width):
        part = matrix[block]
        finite = ~np.isinf(part) if missing else np.isfinite(part)
        if finite.all():
            continue
        if count == 0:
            position = int(np.argmin(finite.reshape(-1)))
            row, column = block.start + position // width, position % width
        count += finite.size - int(np.count_nonzero(finite))
    return NonFinite(count, row, column) if count else None


def require_finite(matrix: NDArray[Any], name: str, columns: Sequence[str] | None = None) -> None:
    """Raise unless every entry is a finite number.

    Args: matrix – [N] or [N, d, …] of numbers, on the host; name – its name in the message; columns – names of the d columns,
        for the message.
    Raises: NonFiniteDataError with the count, the first row and its column (by name, otherwise by number), counted from 1;
        DtypeError if not numbers.
    """
    if matrix.dtype.kind not in "biuf":
        raise DtypeError(f"{name}: expected real numbers, got {matrix.dtype}; convert it first")
    found = find_nonfinite(matrix)
    if found is None:
        return
    label = ""
    if matrix.ndim > 1:
        label = repr(columns[found.column]) if columns is not None else f"{found.column + 1} (counted from 1)"
    raise _error(name, found.total, found.row, label)


def require_no_infinity(features: Features, name: str = "features") -> None:
    """Raise if a number of a Table or Matrix is infinite; missing ones are allowed, other columns are ignored."""
    if isinstance(features, Matrix):
        found = find_nonfinite(features.values, missing=True)
        if found is not None:
            raise _error(name, found.total, found.row, repr(features.names[found.column]), "infinite")
        return
    refuse_infinity(features.columns.items(), name)


def refuse_infinity(columns: Iterable[tuple[str, Column]], name: str = "features", before: int = 0) -> None:
    """As `require_no_infinity`, for columns and their names; `name` – of all of them in the message, `before` – rows before."""
    total, first = 0, (-1, "")
    for label, column in columns:
        found = None if is_text(column) else find_nonfinite(column, missing=True)
        if found is not None:
            first = min(first, (found.row, label), key=lambda place: place[0]) if total else (found.row, label)
            total += found.total
    if total:
        raise _error(name, total, before + first[0], repr(first[1]), "infinite")


def _error(name: str, count: int, row: int, label: str, what: str = "NaN, infinite or missing") -> NonFiniteDataError:
    values = f"1 {what} value" if count == 1 else f"{count} {what} values"
    where = f"row {row + 1}, column {label}" if label else f"row {row + 1}"
    return NonFiniteDataError(
        f"{name}: expected finite numbers, found {values}, the first in {where}; fill in or drop these rows"
    )
