"""Metrics of predicted probabilities: logarithmic loss, Brier score, and the points of a calibration curve."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .predictions import Numbers, mean


def log_loss(targets: NDArray[Any], probabilities: Numbers, weights: Numbers | None = None) -> float:
    """The mean of -ln p_t over the rows, p within [eps, 1 - eps] for eps = 2^-52.

    Args: targets – labels [N]; probabilities – [N, K]; weights – [N]. Same as: sklearn.metrics.log_loss in float64.
    """
    smallest = np.finfo(np.float64).eps
    given = probabilities[np.arange(len(targets)), targets]
    return mean(-np.log(np.clip(given, smallest, 1.0 - smallest)), weights)


def brier_score(targets: NDArray[Any], probabilities: Numbers, weights: Numbers | None = None) -> float:
    """The mean of sum_k (p_k - [k = t])^2 over the rows, halved for two classes, so that it is (p_1 - t)^2.

    Args: as of `log_loss`. Same as: sklearn.metrics.brier_score_loss. Source: Brier (1950).
    """
    classes = probabilities.shape[1]
    squares = ((probabilities - np.eye(classes)[targets]) ** 2).sum(axis=1)
    return mean(squares, weights) * (0.5 if classes == 2 else 1.0)


class Calibration(NamedTuple):
    """Points of a calibration curve, one for each bin with rows: mean predicted probability, observed frequency, and weight."""

    predicted: Numbers
    observed: Numbers
    weight: Numbers


def calibration(wanted: NDArray[np.bool_], probability: Numbers, bins: int = 10, weights: Numbers | None = None) -> Calibration:
    """How often what was predicted with a probability comes true, in bins of equal width between 0 and 1.

    Args: wanted – [N], whether it came true; probability – [N], with which it was predicted; bins; weights – [N].
    Same as: sklearn.calibration.calibration_curve with strategy="uniform", which takes no weights.
    """
    w = np.ones(len(probability)) if weights is None else weights
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.searchsorted(edges[1:-1], probability)
    sums: list[Numbers] = [np.bincount(place, of, bins).astype(np.float64) for of in (w, w * probability, w * wanted)]
    weight, predicted, observed = sums
    there = weight > 0.0
    return Calibration(predicted[there] / weight[there], observed[there] / weight[there], weight[there])
