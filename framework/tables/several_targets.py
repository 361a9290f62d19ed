"""Encoding of several targets: independent labels of two values each as 0 and 1, or standardised numbers; and the inverse.

Encoding of one target is in `target_coding.py`; `fit_target` and `target_from_json` choose between both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import LabelError, ShapeError
from ..sources.names import listed, unknown_column
from .columns import Column, is_text
from .moments import FloatArray
from .table import Task
from .target_coding import TargetCoding, classes_of, require_present
from .targets import TargetLike, as_target
from .task import find_task

AnyCoding: TypeAlias = "TargetCoding | SeveralTargets"


@dataclass(frozen=True, eq=False)
class SeveralTargets:
    """The fitted encodings of several targets, by name: all of them labels with two classes each, or all of them numbers."""

    task: Task
    codings: dict[str, TargetCoding]

    @classmethod
    def fit(
        cls, targets: Mapping[str, Column], requested: str | None = None, known: Mapping[str, Column] | None = None
    ) -> SeveralTargets:
        """As `TargetCoding.fit`, for each target. A label of a single value is accepted if that is 0, 1, False or True."""
        task = find_task(targets if known is None else known, requested)
        codings = {}
        for key, column in targets.items():
            name, labels = f"target {key!r}", column if known is None else known[key]
            require_present(column, name)
            if task == "classification":
                require_present(labels, name)
                codings[key] = TargetCoding(task, _two_classes(labels, name), name=name)
            else:
                codings[key] = TargetCoding.fit(column, task, name=name)
        return cls(task, codings)

    @property
    def classes(self) -> NDArray[Any]:
        """Empty: no output is the score of a class."""
        return np.zeros(0, dtype=np.int64)

    @property
    def outputs(self) -> int:
        """Number of network outputs: one per target."""
        return len(self.codings)

    def transform(self, targets: TargetLike) -> FloatArray:
        """[N, k] float64: for each target the index 0 or 1 of the label, or the standardised number."""
        columns = as_target(targets)
        if not isinstance(columns, dict):
            names = listed(list(self.codings))
            raise ShapeError(f"targets: expected {self.outputs} columns, {names}, got one; give all of them")
        missing = [name for name in self.codings if name not in columns]
        if missing:
            raise unknown_column(missing, list(columns), "the targets", "target")
        encoded = [coding.transform(columns[name]).reshape(-1) for name, coding in self.codings.items()]
        return np.column_stack(encoded).astype(np.float64, copy=False)

    def inverse(self, predictions: ArrayLike) -> dict[str, Any]:
        """Name -> labels [N] of 0 and 1 or of probabilities of the second class [N, k], or numbers in original units."""
        values = np.asarray(predictions)
        if values.ndim != 2 or values.shape[1] != self.outputs:
            raise ShapeError(f"predictions: expected shape [N, {self.outputs}], one column for each target, got {values.shape}")
        if self.task == "classification":
            if values.size and not (values.min() >= 0 and values.max() <= 1):
                raise LabelError(
                    f"predictions: expected 0 and 1, or probabilities, got values from {values.min()} to {values.max()}; "
                    "give what model.predict or model.predict_proba returns"
                )
            values = (values > 0.5).astype(np.int64)
        columns = zip(self.codings.items(), values.T, strict=True)
        return {name: coding.inverse(column) for (name, coding), column in columns}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "task": self.task,
            "targets": [{"name": name, **coding.to_json()} for name, coding in self.codings.items()],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SeveralTargets:
        """Restore the result of `to_json`; KeyError, TypeError or ValueError if a part is missing or wrong."""
        task = find_task([0.0], stored["task"])
        codings: dict[str, TargetCoding] = {}
        for one in stored["targets"]:
            name, coding = one["name"], TargetCoding.from_json(one, f"target {one['name']!r}")
            if not isinstance(name, str) or name in codings:
                raise ValueError("names of targets are different texts")
            if coding.task != task or len(coding.classes) not in (0, 2):
                raise ValueError("several targets are labels of two classes, or numbers")
            codings[name] = coding
        if not codings:
            raise ValueError("there is no target")
        return cls(task, codings)


def fit_target(target: TargetLike, requested: str | None = None, known: TargetLike | None = None) -> AnyCoding:
    """The encoding of one target or several.

    Args: target – of the training part; requested – a task, None to infer it; known – the target of all rows, whose classes
        are known beforehand; None: the classes of the training part.
    """
    columns, others = as_target(target), None if known is None else as_target(known)
    if isinstance(columns, dict):
        return SeveralTargets.fit(columns, requested, others if isinstance(others, dict) else None)
    return TargetCoding.fit(columns, requested, others if not isinstance(others, dict) else None)


def target_from_json(stored: Mapping[str, Any]) -> AnyCoding:
    """Restore the result of `to_json` of either kind."""
    return SeveralTargets.from_json(stored) if "targets" in stored else TargetCoding.from_json(stored)


def _two_classes(labels: Column, name: str) -> NDArray[Any]:
    """Both classes of a label."""
    classes = classes_of(labels)
    if len(classes) == 1 and not is_text(labels) and classes[0] in (0, 1):
        return np.array([0, 1]).astype(classes.dtype)
    if len(classes) != 2:
        raise LabelError(
            f"{name}: expected two values, found only {classes.tolist()} in {len(labels):,} rows; leave out this target"
        )
    return classes
