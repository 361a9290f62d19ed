"""Encoding of one target: class labels as indices, standardised numbers, and the inverse of both.

Several targets are in `several_targets.py`, encoding of the features is in `encoder.py`; `Preprocessor` combines them.
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
from .targets import TargetLike, as_target
from .task import find_task
from .validation import require_finite

Label: TypeAlias = str | int | float | bool
ColumnLike: TypeAlias = ArrayLike | Column


@dataclass(frozen=True, eq=False)
class TargetCoding:
    """The fitted encoding of a target: for classification its sorted `classes` [C], for regression `mean` and `scale`."""

    task: Task
    classes: NDArray[Any]
    mean: float = 0.0
    scale: float = 1.0
    name: str = "target"

    @classmethod
    def fit(
        cls, target: ColumnLike, requested: str | None = None, known: ColumnLike | None = None, name: str = "target"
    ) -> TargetCoding:
        """Determine classes, or mean and scale; errors as in `Preprocessor.fit`.

        Args: target – the training part; requested – a task, None to infer it; known – the target of all rows, whose classes
            are used where they are given; name – in error messages.
        """
        column = as_column(target, name)
        require_present(column, name)
        task = find_task(column, requested)
        if is_text(column) or task == "classification":
            labels = column if known is None else as_column(known, name)
            require_present(labels, name)
            classes = classes_of(labels)
            if len(classes) < 2:
                raise LabelError(
                    f"{name}: expected at least 2 classes in the training part, found only {classes.tolist()}; "
                    f"check the target column or use a larger training part"
                )
            return cls(task, classes, name=name)
        mean, scale = column_moments(column.astype(np.float64)[:, np.newaxis], [name])
        return cls(task, np.zeros(0, dtype=np.int64), float(mean[0]), float(scale[0]), name)

    @property
    def outputs(self) -> int:
        """Number of network outputs: one per class, or 1 for regression."""
        return len(self.classes) or 1

    def transform(self, target: TargetLike) -> NDArray[np.int64] | FloatArray:
        """Class indices [N] int64, or standardised numbers [N, 1] float64."""
        column = as_target(target, self.name)
        if isinstance(column, dict):
            raise ShapeError(f"{self.name}: expected one column, got {', '.join(map(repr, column))}; give the one of fit")
        require_present(column, self.name)
        if self.task == "classification":
            return self._indices(column)
        if is_text(column):
            raise DtypeError(f"{self.name}: expected numbers as in fit, got text such as {column.tolist()[0]!r}; check it")
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
    def from_json(cls, stored: Mapping[str, Any], name: str = "target") -> TargetCoding:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        given = stored["classes"]
        column = as_column(_objects(given), "classes") if len(given) else np.zeros(0, dtype=np.int64)
        if is_text(column) and not isinstance(given[0], str):
            raise ValueError("classes that are whole numbers have 64 bits at most")
        task = find_task([0.0], stored["task"])
        different = len(set(given)) if isinstance(given, list) else 0
        if different < len(given) or different == 1 or (task == "regression") != (different == 0):
            raise ValueError("classes are a list of at least two different labels; a regression has none")
        if not is_text(column):
            require_finite(column, "classes")
        elif column.missing.any():
            raise ValueError("a class is missing")
        classes = _objects(given) if is_text(column) else column
        return cls(task, classes, plain_number(stored["mean"]), plain_number(stored["scale"], above_zero=True), name)

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
                f"{self.name}: expected labels seen in training ({listed(known)}), found {unseen.size} others, the first "
                f"{first!r} in row {unseen[0] + 1}{hint or '; drop these rows or train with them'}"
            )
        return found


def _objects(labels: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def classes_of(column: Column) -> NDArray[Any]:
    """The different labels of a column, sorted."""
    return _objects(sorted(column.values[column.counts() > 0])) if is_text(column) else np.unique(column)


def require_present(column: Column, name: str = "target") -> None:
    """Raises LabelError for empty labels, NonFiniteDataError for NaN and infinity, EmptyDataError for no rows."""
    if len(column) == 0:
        raise EmptyDataError(f"{name}: expected at least one row, got none; check the source and the split")
    if not is_text(column):
        require_finite(column, name)
        return
    absent = np.flatnonzero(column.missing | np.append(column.values == "", False)[column.codes])
    if absent.size:
        raise LabelError(
            f"{name}: expected a label in every row, found {absent.size} empty, the first in row {absent[0] + 1}; "
            f"drop these rows"
        )
