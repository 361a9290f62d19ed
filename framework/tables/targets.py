"""One target column, or several by name: the conversion to them, and their rows.

What they are for is decided in `task.py`; their encoding is in `target_coding.py` and `several_targets.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ...errors import ShapeError
from .columns import Column, array_of, as_column

Target: TypeAlias = Column | dict[str, Column]
"""One column, or name -> column for several targets."""
TargetLike: TypeAlias = ArrayLike | Column | Mapping[str, Any]


def as_target(values: TargetLike, name: str = "target") -> Target:
    """Convert values to a target.

    Args: values – [N] or [N, 1]; or several: a mapping name -> [N], or [N, k], whose columns are called y0, y1, …; name – in
        error messages.
    Raises: as `as_column`; ShapeError for several targets of different lengths, or none.
    """
    if isinstance(values, Mapping):
        columns = {str(key): as_column(column, f"{name} {str(key)!r}") for key, column in values.items()}
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ShapeError(f"{name}: expected one or several columns of equal length, got {lengths}; give one value per row")
        return columns
    matrix = array_of(values, name) if len(getattr(values, "shape", ())) == 2 else np.zeros((0, 1))
    if matrix.shape[1] > 1:
        return as_target({f"y{index}": matrix[:, index] for index in range(matrix.shape[1])}, name)
    return as_column(values, name)


def rows_of(target: Target) -> int:
    """The number of rows."""
    return len(next(iter(target.values()))) if isinstance(target, dict) else len(target)


def take(target: Target, rows: Any) -> Target:
    """Only these rows, given as indices, a mask or a slice."""
    return {name: column[rows] for name, column in target.items()} if isinstance(target, dict) else target[rows]


def by_name(target: Target, name: str) -> dict[str, Column]:
    """Name -> column; `name` – of a single target."""
    return target if isinstance(target, dict) else {name: target}
