"""Figures of a model of several targets, for each of them, on the host."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tables.target_coding import TargetCoding

Numbers = NDArray[Any]


def figures_by_target(outputs: Numbers, y: Numbers, targets: Mapping[str, TargetCoding]) -> dict[str, dict[str, float]]:
    """What a model predicts of each target.

    Args: outputs – [N, k] of the network; y – [N, k] encoded targets; targets – their codings, in the order of the columns.
    Returns: target -> {"accuracy", "f1", "auc"} of the second class for labels, {"r2", "rmse"} for numbers, rmse in the units
        of the target; NaN where a figure is undefined.
    """
    made = {}
    for column, (name, coding) in enumerate(targets.items()):
        given, wanted = outputs[:, column].astype(np.float64), y[:, column]
        made[name] = _of_label(given, wanted > 0.5) if coding.task == "classification" else _of_numbers(given, wanted, coding)
    return made


def f1_score(answers: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """2 TP / (2 TP + FP + FN); NaN if there is no positive answer and none was wanted."""
    right, all_of_both = int((answers & wanted).sum()), int(answers.sum()) + int(wanted.sum())
    return 2.0 * right / all_of_both if all_of_both else math.nan


def area_under_curve(scores: Numbers, wanted: NDArray[np.bool_]) -> float:
    """The probability that a random positive row has a larger score than a random negative one, ties counting half.

    NaN unless there are both. Source: Mann and Whitney (1947).
    """
    positive, negative = int(wanted.sum()), int((~wanted).sum())
    if not positive or not negative:
        return math.nan
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * (counts - 1))[place.reshape(-1)]
    return float((ranks[wanted].sum() - 0.5 * positive * (positive + 1)) / (positive * negative))


def _of_label(logits: Numbers, wanted: NDArray[np.bool_]) -> dict[str, float]:
    answers = logits > 0.0
    return {
        "accuracy": float((answers == wanted).mean()),
        "f1": f1_score(answers, wanted),
        "auc": area_under_curve(logits, wanted),
    }


def _of_numbers(given: Numbers, wanted: Numbers, coding: TargetCoding) -> dict[str, float]:
    squares, spread = float(np.sum((given - wanted) ** 2)), float(np.sum((wanted - wanted.mean()) ** 2))
    constant = wanted.min() == wanted.max()
    return {"r2": math.nan if constant else 1.0 - squares / spread, "rmse": math.sqrt(squares / len(wanted)) * coding.scale}
