"""Metrics of predicted labels: confusion matrix, accuracy, and precision, recall and F1 of each class and over all of them.

Labels are [N] whole numbers from 0, or [N, e] with 0 and 1 for e questions of yes or no, each of which then is a class. Where
a quotient is 0 / 0 it counts as 0, as in scikit-learn, unless another value is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .predictions import Numbers, mean

Labels = NDArray[Any]


def confusion_matrix(targets: Labels, answers: Labels, classes: int, weights: Numbers | None = None) -> Numbers:
    """[K, K]: number (or total weight) of the rows of each class (row) for which each class (column) was predicted.

    Args: targets, answers – labels [N] from 0 to classes - 1; weights – [N].
    Same as: sklearn.metrics.confusion_matrix.
    """
    places = np.asarray(targets, dtype=np.int64) * classes + answers
    counts = np.bincount(places, weights, classes * classes).reshape(classes, classes)
    return counts.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Counts:
    """Numbers, or total weights, of rows by class [K].

    Args: right – rows of the class for which it was predicted; predicted – all for which it was; support – all of the class.
    """

    right: Numbers
    predicted: Numbers
    support: Numbers

    def precision(self, undefined: float = 0.0) -> Numbers:
        """right / predicted by class: the fraction of the rows said to be of the class that are; undefined – for 0 / 0."""
        return _quotient(self.right, self.predicted, undefined)

    def recall(self, undefined: float = 0.0) -> Numbers:
        """right / support by class: the fraction of the rows of the class that were found."""
        return _quotient(self.right, self.support, undefined)

    def f1(self, undefined: float = 0.0) -> Numbers:
        """2 right / (predicted + support) by class: the harmonic mean of precision and recall."""
        return _quotient(2.0 * self.right, self.predicted + self.support, undefined)

    def jaccard(self, undefined: float = 0.0) -> Numbers:
        """right / (predicted + support - right) by class: intersection over union."""
        return _quotient(self.right, self.predicted + self.support - self.right, undefined)

    def total(self) -> Counts:
        """The sums over all classes, as one class: what micro averages are computed from."""
        return Counts(*(np.array([values.sum()]) for values in (self.right, self.predicted, self.support)))

    def occurring(self) -> NDArray[np.bool_]:
        """Whether a class occurs among targets or answers."""
        return (self.support > 0.0) | (self.predicted > 0.0)


def counts_of(targets: Labels, answers: Labels, classes: int, weights: Numbers | None = None) -> Counts:
    """The counts of each class; arguments as of `confusion_matrix`, or [N, e] for e questions."""
    if targets.ndim == 2:
        w = np.ones(len(targets)) if weights is None else weights
        return Counts(w @ (targets * answers), w @ answers, w @ targets)
    matrix = confusion_matrix(targets, answers, classes, weights)
    return Counts(np.diag(matrix).copy(), matrix.sum(axis=0), matrix.sum(axis=1))


def averaged(counts: Counts, figure: str, average: str) -> float:
    """One number for all classes.

    Args: counts; figure – "precision", "recall", "f1" or "jaccard"; average – "binary": of class 1; "macro": the mean over the
        classes that occur among targets or answers (over all questions); "micro": from the sums of the counts; "weighted": the
        mean, weighted by the support.
    Same as: the functions of sklearn.metrics with this `average`.
    """
    if average == "micro":
        return float(getattr(counts.total(), figure)()[0])
    values: Numbers = getattr(counts, figure)()
    if average == "binary":
        return float(values[1])
    if average == "weighted":
        return float(counts.support @ values / counts.support.sum()) if counts.support.any() else 0.0
    return float(values.mean())


def macro_over_occurring(counts: Counts) -> Counts:
    """Only the classes that occur: those over which macro averages of labels [N] are taken."""
    there = counts.occurring()
    return Counts(counts.right[there], counts.predicted[there], counts.support[there])


def accuracy(targets: Labels, answers: Labels, weights: Numbers | None = None) -> float:
    """The fraction of the rows that are predicted right; of several questions, all of the row's.

    Same as: sklearn.metrics.accuracy_score.
    """
    right = targets == answers
    return mean(right.all(axis=1) if right.ndim == 2 else right, weights)


def balanced_accuracy(targets: Labels, answers: Labels, classes: int, weights: Numbers | None = None) -> float:
    """The mean of the recalls of the classes that occur among the targets.

    Same as: sklearn.metrics.balanced_accuracy_score.
    """
    counts = counts_of(targets, answers, classes, weights)
    return float(counts.recall()[counts.support > 0.0].mean())


def matthews_correlation(targets: Labels, answers: Labels, classes: int, weights: Numbers | None = None) -> float:
    """Correlation of targets and answers over their confusion matrix C with n = sum C, c = trace C, t and p its sums by row and
    column: (c n - t·p) / sqrt((n² - p·p) (n² - t·t)); 0 where that is 0 / 0.

    Same as: sklearn.metrics.matthews_corrcoef. Source: Gorodkin (2004), Comparing two K-category assignments.
    """
    matrix = confusion_matrix(targets, answers, classes, weights)
    n, t, p = matrix.sum(), matrix.sum(axis=1), matrix.sum(axis=0)
    below = float((n * n - p @ p) * (n * n - t @ t))
    return float((np.trace(matrix) * n - t @ p) / np.sqrt(below)) if below > 0.0 else 0.0


def _quotient(a: Numbers, b: Numbers, undefined: float) -> Numbers:
    quotients: Numbers = np.divide(a, b, out=np.full(len(a), undefined), where=b != 0.0)
    return quotients
