"""Decides between classification and regression from the target.

The consequences (loss, encoding of the target) are in `preprocessing.py` and in the commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import get_args

import numpy as np

from ...errors import DtypeError, EmptyDataError, HyperparameterError, LabelError
from ..sources.names import did_you_mean
from .columns import Column, is_text, narrowed
from .table import Task
from .targets import TargetLike, as_target

TASKS: tuple[Task, ...] = get_args(Task)


def find_task(target: TargetLike, requested: str | None = None) -> Task:
    """Determine whether a target requires classification or regression.

    Text and booleans: classification. Numbers: classification if all N of them are integers (including 2.0) and the number k of
    distinct values is at most 2, or at most both max(20, √N) and N/2; otherwise regression. So ten distinct values in a
    thousand rows are classes, but integer prices that mostly occur once are not. NaN and infinity are ignored here;
    `Preprocessor.fit` reports them.

    Several targets: classification if each has at most two values, which are then independent labels of a row; regression if
    each is one by itself. Mixtures are refused.

    Args: target – [N], or several as for `as_target`; requested – "classification" or "regression" overrides the rule; None
        applies the rule.
    Returns: "classification" or "regression".
    Raises: DtypeError for regression on text; HyperparameterError for another text; EmptyDataError for no rows; LabelError for
        several targets of which some are labels and others numbers, or that have more than two classes.
    """
    column = as_target(target)
    if isinstance(column, dict):
        return _of_several(column, requested)
    if len(column) == 0:
        raise EmptyDataError("expected a target with at least one row, got none; check the source of the data")
    if requested is not None:
        return _checked(requested, column)
    return _by_values(column)


def _by_values(column: Column) -> Task:
    """The rule for one target."""
    if is_text(column) or column.dtype == np.bool_:
        return "classification"
    if column.dtype == np.float64:
        column = narrowed(column[np.isfinite(column)])
    if is_text(column) or column.dtype != np.int64:
        return "regression"
    rows, different = column.size, np.unique(column).size
    few = different <= 2 or (different <= max(20, isqrt(rows)) and 2 * different <= rows)
    return "classification" if few else "regression"


def _of_several(columns: Mapping[str, Column], requested: str | None) -> Task:
    """The rule for several targets."""
    different = {name: _values(column) for name, column in columns.items()}
    if min(map(len, columns.values())) == 0:
        raise EmptyDataError("expected targets with at least one row, got none; check the source of the data")
    if requested is not None:
        for name, column in columns.items():
            task = _checked(requested, column, f" {name!r}")
        if task == "regression" or max(different.values()) <= 2:
            return task
    elif max(different.values()) <= 2:
        return "classification"
    elif all(_by_values(column) == "regression" for column in columns.values()):
        return "regression"
    found = ", ".join(f"{name!r}: {_described(column, different[name])}" for name, column in columns.items())
    numeric = not any(is_text(column) for column in columns.values())
    raise LabelError(
        f"several targets: expected two values in each, as independent labels of a row, or numbers in each; found {found}; "
        f"train one model for each kind of target and for each target of more than two classes"
        f"{', or give --task regression (in Python task=) to take all as numbers' if numeric else ''}"
    )


def _values(column: Column) -> int:
    """How many different values a target has."""
    return int((column.counts() > 0).sum()) if is_text(column) else len(np.unique(column[column == column]))


def _described(column: Column, different: int) -> str:
    if different <= 2:
        return "two values" if different == 2 else "a single value"
    return f"{different:,} classes" if _by_values(column) == "classification" else "numbers"


def _checked(requested: str, column: Column, name: str = "") -> Task:
    for task in TASKS:
        if requested == task:
            if task == "regression" and is_text(column):
                raise DtypeError(
                    f"regression: expected a numeric target{name}, got text such as {column.tolist()[0]!r}; "
                    f"ask for classification, or give a numeric target column"
                )
            return task
    raise HyperparameterError(
        f"task: expected one of {', '.join(TASKS)}, got {requested!r}{did_you_mean(requested, TASKS)}"
    )
