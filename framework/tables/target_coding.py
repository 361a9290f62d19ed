"""Encoding of the target: class labels as indices, standardised numbers, and the inverse of both.

Encoding of the features is in `encoder.py`; `Preprocessor` combines both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DtypeError, EmptyDataError, LabelError, ShapeError
from ..sources.names import did_you_mean, listed
from .columns import Column, as_column, is_text
from .moments import FloatArray, column_moments, plain_number
from .table import Task
from .task import find_task
from .validation import require_finite

Label: TypeAlias = str | int | float | bool


@dataclass(frozen=True, eq=False)
class TargetCoding:
    """The fitted encoding of the target: for classification its sorted `classes` [C], for regression `mean` and `scale`."""

    task: Task
    classes: NDArray[Any]
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def fit(cls, target: ArrayLike, requested: str | None = None) -> TargetCoding:
        """Determine classes, or mean and scale; errors as in `Preprocessor.fit`."""
        column = as_column(target, "target")
        require_present(column)
        task = find_task(column, requested)
        if is_text(column):
            classes = _objects(sorted(column.values[column.counts() > 0]))
        elif task == "classification":
            classes = np.unique(column)
        else:
            mean, scale = column_moments(column.astype(np.float64)[:, np.newaxis], ["target"])
            return cls(task, np.zeros(0, dtype=np.int64), float(mean[0]), float(scale[0]))
        if len(classes) < 2:
            raise LabelError(
                f"target: expected at least 2 classes in the training part, found only {classes.tolist()}; "
                f"check the target column or use a larger training part"
            )
        return cls(task, classes)

    def transform(self, target: ArrayLike) -> NDArray[np.int64] | FloatArray:
        """Class indices [N] int64, or standardised numbers [N, 1] float64."""
        column = as_column(target, "target")
        require_present(column)
        if self.task == "classification":
            return self._indices(column)
        if is_text(column):
            raise DtypeError(f"target: expected numbers as in fit, got text such as {column.tolist()[0]!r}; check the column")
        standardised: FloatArray = (column.astype(np.float64) - self.mean) / self.scale
        return standardised[:, np.newaxis]

    def inverse(self, predictions: ArrayLike) -> NDArray[Any]:
        """Class labels of indices [N] or scores [N, C], or numbers [N] in the units of the original target."""
        values = np.asarray(predictions)
        if self.task == "regression":
            if values.ndim != 1 and values.shape[1:] != (1,):
                raise ShapeError(f"predictions: expected shape [N] or [N, 1], got {values.shape}; give one per row")
            restored: FloatArray = values.reshape(-1).astype(np.float64) * self.scale + self.mean
            return restored
        count = len(self.classes)
        if values.ndim == 2 and values.shape[1] == count:
            values = values.argmax(axis=1)
        elif values.ndim != 1 or values.dtype.kind not in "iu":
            raise ShapeError(
                f"predictions: expected class indices [N] or scores [N, {count}], got {values.dtype} of shape "
                f"{values.shape}; give one whole number or one row of scores per row"
            )
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if low < 0 or high >= count:
            raise LabelError(
                f"predictions: expected class indices from 0 to {count - 1}, got {low} to {high}; "
                f"check the number of outputs of the network"
            )
        labels: NDArray[Any] = self.classes[values]
        return labels

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"task": self.task, "classes": self.classes.tolist(), "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TargetCoding:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        given = stored["classes"]
        column = as_column(_objects(given), "classes") if len(given) else np.zeros(0, dtype=np.int64)
        task = find_task([0.0], stored["task"])
        different = len(set(given)) if isinstance(given, list) else 0
        if different < len(given) or different == 1 or (task == "regression") != (different == 0):
            raise ValueError("classes are a list of at least two different labels; a regression has none")
        if not is_text(column):
            require_finite(column, "classes")
        elif column.missing.any():
            raise ValueError("a class is missing")
        classes = _objects(given) if is_text(column) else column
        return cls(task, classes, plain_number(stored["mean"]), plain_number(stored["scale"], above_zero=True))

    def _indices(self, column: Column) -> NDArray[np.int64]:
        found = np.full(len(column), -1, dtype=np.int64)
        if is_text(column) == (self.classes.dtype == object):
            index = {label: number for number, label in enumerate(self.classes.tolist())}
            found = np.fromiter((index.get(label, -1) for label in column.tolist()), np.int64, len(column))
        unseen = np.flatnonzero(found < 0)
        if unseen.size:
            first = column[unseen[:1]].tolist()[0]
            known = [str(label) for label in self.classes.tolist()]
            hint = did_you_mean(first, known) if isinstance(first, str) else ""
            raise LabelError(
                f"target: expected labels seen in training ({listed(known)}), found {unseen.size} others, the first "
                f"{first!r} in row {unseen[0] + 1}{hint or '; drop these rows or train with them'}"
            )
        return found


def _objects(labels: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def require_present(column: Column) -> None:
    """Raises LabelError for empty labels, NonFiniteDataError for NaN and infinity, EmptyDataError for no rows."""
    if len(column) == 0:
        raise EmptyDataError("target: expected at least one row, got none; check the source and the split")
    if not is_text(column):
        require_finite(column, "target")
        return
    absent = np.flatnonzero(column.missing | np.append(column.values == "", False)[column.codes])
    if absent.size:
        raise LabelError(
            f"target: expected a label in every row, found {absent.size} empty, the first in row {absent[0] + 1}; "
            f"drop these rows"
        )
