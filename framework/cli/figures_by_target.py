"""Figures of a model of several targets, for each of them, on the host. The formulas are in framework/metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import labels, numbers, ranking
from ..metrics.predictions import mean
from ..tables.target_coding import TargetCoding

Numbers = NDArray[Any]


def figures_by_target(
    outputs: Numbers, y: Numbers, targets: Mapping[str, TargetCoding], weights: Numbers | None = None
) -> dict[str, dict[str, float]]:
    """What a model predicts of each target.

    Args: outputs – [N, k] of the network; y – [N, k] encoded targets; targets – their codings, in the order of the columns;
        weights – [N] > 0 of the rows.
    Returns: target -> {"accuracy", "f1", "auc"} of the second class for labels, {"r2", "rmse", "mae"} for numbers, the last two
        in the units of the target; NaN where a figure is undefined.
    """
    made = {}
    for column, (name, coding) in enumerate(targets.items()):
        given, wanted = outputs[:, column].astype(np.float64), y[:, column].astype(np.float64)
        if coding.task == "classification":
            made[name] = _of_label(given, wanted > 0.5, weights)
        else:
            made[name] = numbers_of(given, wanted, coding, weights)
    return made


def numbers_of(given: Numbers, wanted: Numbers, coding: TargetCoding, weights: Numbers | None = None) -> dict[str, float]:
    """{"r2", "rmse", "mae"} of predictions [N] of one target [N], both encoded; the last two in the units of the target."""
    return {
        "r2": numbers.r2(wanted, given, weights),
        "rmse": numbers.root_mean_squared_error(wanted, given, weights) * coding.scale,
        "mae": numbers.mean_absolute_error(wanted, given, weights) * coding.scale,
    }


def _of_label(logits: Numbers, wanted: NDArray[np.bool_], weights: Numbers | None) -> dict[str, float]:
    answers = logits > 0.0
    counts = labels.counts_of(wanted.astype(np.int64), answers.astype(np.int64), 2, weights)
    return {
        "accuracy": mean(answers == wanted, weights),
        "f1": float(counts.f1(undefined=math.nan)[1]),
        "auc": ranking.area_under_curve(logits, wanted, weights),
    }
