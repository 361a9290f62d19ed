"""Figures of the classes in one part, from the predictions of all of its rows. The formulas are in framework/metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics.labels import Counts, confusion_matrix, counts_of
from ..metrics.predictions import Numbers, Predictions
from ..metrics.ranking import area_under_curve, one_against_rest

MOST_CONFUSED = 10
"""Pairs of classes that are listed where a matrix would be too large."""
LARGEST_MATRIX = 12
"""Classes of the largest confusion matrix that is printed."""


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """Figures of K classes.

    Args: counts – of each class, weighted if the rows have weights; rows – [K] number of rows of each class; confusion – [K, K]
        numbers or weights of rows by class (row) and prediction (column); area – under the ROC curve of the second of two
        classes, otherwise the mean over the classes that have rows, each against the rest; NaN if only one has.
    """

    counts: Counts
    rows: NDArray[np.int64]
    confusion: Numbers
    area: float

    @property
    def by_class(self) -> dict[str, Numbers]:
        """Precision, recall and F1 [K]."""
        return {name: getattr(self.counts, name)() for name in ("precision", "recall", "f1")}

    def means(self) -> dict[str, float]:
        """Precision, recall and F1, averaged over the classes that have rows or are predicted."""
        there = self.counts.occurring()
        return {name: float(values[there].mean()) for name, values in self.by_class.items()}

    def worst(self) -> list[tuple[int, int, float]]:
        """(class, prediction, rows) of the most frequent confusions, the largest first."""
        wrong = self.confusion * (1.0 - np.eye(len(self.rows)))
        order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]
        found = [(*divmod(int(place), len(self.rows)), float(wrong.reshape(-1)[place])) for place in order]
        return [(true, answer, rows) for true, answer, rows in found if rows > 0.0]

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain values for the notes of a model file: the matrix if it is small, otherwise the worst confusions."""
        classes = [
            {"class": name, "rows": int(self.rows[k]), **{figure: float(values[k]) for figure, values in self.by_class.items()}}
            for k, name in enumerate(names)
        ]
        confusions: dict[str, Any] = {"confusion": self.confusion.tolist()}
        if len(names) > LARGEST_MATRIX:
            confusions = {"worst_confusions": [[names[true], names[answer], rows] for true, answer, rows in self.worst()]}
        return {"classes": classes, **confusions, "roc_auc": None if math.isnan(self.area) else self.area}


def figures_of_classes(p: Predictions) -> ClassFigures:
    """The figures of predictions of one of K classes."""
    assert p.ranks is not None
    counts = counts_of(p.targets, p.answers, p.of.count, p.weights)
    rows = np.bincount(p.targets, minlength=p.of.count)
    if p.ranks.ndim == 1:
        area = area_under_curve(p.ranks, p.targets == 1, p.weights)
    else:
        areas = one_against_rest(area_under_curve, p.ranks, p.targets, p.weights)
        area = float(np.nanmean(areas)) if np.isfinite(areas).any() else math.nan
    return ClassFigures(counts, rows, confusion_matrix(p.targets, p.answers, p.of.count, p.weights), area)
