"""Metrics of the order in which a classifier puts rows: area under the ROC curve, average precision, accuracy of the top k."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .predictions import Numbers, mean

Booleans = NDArray[np.bool_]


def area_under_curve(scores: NDArray[Any], wanted: Booleans, weights: Numbers | None = None) -> float:
    """The probability that a random positive row has a larger score than a random negative one, ties counting half.

    Equal to the area under the ROC curve; rows are drawn in proportion to their weights.

    Args: scores – [N]; wanted – [N], whether a row is positive; weights – [N] > 0.
    Returns: in [0, 1]; NaN unless there are positive and negative rows, where sklearn.metrics.roc_auc_score warns or raises.
    Source: Mann and Whitney (1947).
    """
    w = np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = (np.bincount(place.reshape(-1)[of], w[of], place.max(initial=0) + 1) for of in (wanted, ~wanted))
    pairs = float(positive.sum() * negative.sum())
    if pairs == 0.0:
        return math.nan
    return float(positive @ (np.cumsum(negative) - 0.5 * negative)) / pairs


def average_precision(scores: NDArray[Any], wanted: Booleans, weights: Numbers | None = None) -> float:
    """sum over thresholds of (R_k - R_(k-1)) P_k, with recall R and precision P of the rows whose score is at least the k-th.

    Args: as of `area_under_curve`.
    Returns: in [0, 1]; NaN without positive rows, where sklearn.metrics.average_precision_score warns and returns 0.
    """
    w = np.ones(len(scores)) if weights is None else weights
    values, place = np.unique(scores, return_inverse=True)
    down = len(values) - 1 - place.reshape(-1)  # from the largest score on
    positive, all_of_them = (np.cumsum(np.bincount(down[of], w[of], len(values))) for of in (wanted, slice(None)))
    if not len(values) or positive[-1] == 0.0:
        return math.nan
    return float(np.diff(positive, prepend=0.0) @ (positive / all_of_them)) / float(positive[-1])


def top_k_accuracy(scores: Numbers, targets: NDArray[Any], k: int = 2, weights: Numbers | None = None) -> float:
    """The fraction of the rows whose class is among the k with the largest scores; of equal scores, the later class is first.

    Args: scores – [N, K], or [N] for two classes, of which k >= 2 finds all; targets – [N]; k – 2 as in the scorer of
        scikit-learn. Same as: sklearn.metrics.top_k_accuracy_score.
    """
    if scores.ndim == 1:
        return 1.0
    best = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k]
    return mean((best == targets[:, None]).any(axis=1), weights)


Curve = Callable[[NDArray[Any], Booleans, Numbers | None], float]


def one_against_rest(curve: Curve, ranks: Numbers, targets: NDArray[Any], weights: Numbers | None = None) -> Numbers:
    """A metric of two classes for each of K classes against the others, or for each of e questions [N, e].

    Args: curve – such as `area_under_curve`; ranks – [N, K] or [N, e]; targets – labels [N], or 0 and 1 [N, e].
    Returns: [K] or [e]; NaN where the metric is undefined, as for classes without rows.
    """
    wanted = targets == 1 if targets.ndim == 2 else targets[:, None] == np.arange(ranks.shape[1])
    return np.array([curve(ranks[:, k], wanted[:, k], weights) for k in range(ranks.shape[1])])


def weighted_by_support(values: Numbers, targets: NDArray[Any], weights: Numbers | None = None) -> float:
    """The mean of values [K] of classes, weighted by how many rows (or which weight) each has."""
    support = np.bincount(targets, weights, len(values))
    return float(support @ values / support.sum())
