"""Decides between classification and regression from the target.

The consequences (loss, encoding of the target) are in `preprocessing.py` and in the commands.
"""

from __future__ import annotations

from math import isqrt
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from ...errors import DtypeError, EmptyDataError, HyperparameterError
from ..sources.names import did_you_mean
from .columns import Column, as_column, is_text, narrowed
from .table import Task

TASKS: tuple[Task, ...] = get_args(Task)


def find_task(target: ArrayLike, requested: str | None = None) -> Task:
    """Determine whether a target requires classification or regression.

    Text and booleans: classification. Numbers: classification if all N of them are integers (including 2.0) and the number k of
    distinct values is at most 2, or at most both max(20, √N) and N/2; otherwise regression. So ten distinct values in a
    thousand rows are classes, but integer prices that mostly occur once are not. NaN and infinity are ignored here;
    `Preprocessor.fit` reports them.

    Args: target – [N]; requested – "classification" or "regression" overrides the rule; None applies the rule.
    Returns: "classification" or "regression".
    Raises: DtypeError for regression on text; HyperparameterError for another text; EmptyDataError for no rows.
    """
    column = as_column(target, "target")
    if len(column) == 0:
        raise EmptyDataError("expected a target with at least one row, got none; check the source of the data")
    if requested is not None:
        return _checked(requested, column)
    if is_text(column) or column.dtype == np.bool_:
        return "classification"
    if column.dtype == np.float64:
        column = narrowed(column[np.isfinite(column)])
    if is_text(column) or column.dtype != np.int64:
        return "regression"
    rows, different = column.size, np.unique(column).size
    few = different <= 2 or (different <= max(20, isqrt(rows)) and 2 * different <= rows)
    return "classification" if few else "regression"


def _checked(requested: str, column: Column) -> Task:
    for task in TASKS:
        if requested == task:
            if task == "regression" and is_text(column):
                raise DtypeError(
                    f"regression: expected a numeric target, got text such as {column.tolist()[0]!r}; "
                    f"ask for classification, or give a numeric target column"
                )
            return task
    raise HyperparameterError(
        f"task: expected one of {', '.join(TASKS)}, got {requested!r}{did_you_mean(requested, TASKS)}"
    )
