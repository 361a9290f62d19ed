"""Metrics of predicted numbers: errors, R² and explained variance.

Targets and predictions are [N] or [N, e]; over several outputs, each figure is the mean of theirs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .predictions import Numbers

Values = NDArray[Any]


def mean_absolute_error(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """The mean of |y - t|. Same as: sklearn.metrics.mean_absolute_error."""
    return float(_by_output(np.abs(given - targets), weights).mean())


def mean_squared_error(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """The mean of (y - t)^2. Same as: sklearn.metrics.mean_squared_error."""
    return float(_by_output((given - targets) ** 2, weights).mean())


def root_mean_squared_error(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """The square root of the mean of (y - t)^2, for each output. Same as: sklearn.metrics.root_mean_squared_error."""
    return float(np.sqrt(_by_output((given - targets) ** 2, weights)).mean())


def mean_absolute_percentage_error(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """The mean of |y - t| / max(|t|, 2^-52); a fraction. Same as: sklearn.metrics.mean_absolute_percentage_error."""
    fractions = np.abs(given - targets) / np.maximum(np.abs(targets), np.finfo(np.float64).eps)
    return float(_by_output(fractions, weights).mean())


def max_error(targets: Values, given: Values) -> float:
    """The largest |y - t|, whatever the weights. Same as: sklearn.metrics.max_error, for one output."""
    return float(np.abs(given - targets).max())


def median_absolute_error(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """The median of |y - t|; with weights, the mean of the smallest and the largest value that have half of the weight on
    either side.

    Same as: sklearn.metrics.median_absolute_error (with weights, from version 1.8 on).
    """
    errors = _columns(np.abs(given - targets))
    if weights is None:
        return float(np.median(errors, axis=0).mean())
    return float(np.mean([_weighted_median(column, weights) for column in errors.T]))


def r2(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """1 - sum w (y - t)^2 / sum w (t - mean t)^2.

    NaN for an output whose targets are all the same, where sklearn.metrics.r2_score returns 0 or 1.
    """
    return _explained(_columns(targets), _columns(given), weights, centred=False)


def explained_variance(targets: Values, given: Values, weights: Numbers | None = None) -> float:
    """1 - variance of t - y / variance of t: R² without the part that a constant error takes.

    NaN as `r2`. Same as: sklearn.metrics.explained_variance_score.
    """
    return _explained(_columns(targets), _columns(given), weights, centred=True)


def _explained(targets: Values, given: Values, weights: Numbers | None, centred: bool) -> float:
    errors = targets - given
    if centred:
        errors = errors - _by_output(errors, weights)
    spread = _by_output((targets - _by_output(targets, weights)) ** 2, weights)
    if (targets.min(axis=0) == targets.max(axis=0)).any():
        return math.nan
    return float((1.0 - _by_output(errors**2, weights) / spread).mean())


def _weighted_median(values: Numbers, weights: Numbers) -> float:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    half, last = 0.5 * below[-1], len(values) - 1
    both = (min(int(np.searchsorted(below, half, side)), last) for side in ("left", "right"))
    return float(np.mean([values[order[place]] for place in both]))


def _columns(values: Values) -> Numbers:
    wide: Numbers = values.reshape(len(values), -1).astype(np.float64)
    return wide


def _by_output(values: Values, weights: Numbers | None) -> Numbers:
    """The weighted mean over the rows, for each output."""
    columns = _columns(values)
    means: Numbers = columns.mean(axis=0) if weights is None else weights @ columns / weights.sum()
    return means
