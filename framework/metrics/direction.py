"""In which direction a metric improves, by the name of its column in the history: the one place that knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from ...errors import HyperparameterError
from ..settings import choice
from .table import METRICS

MODES = ("min", "max")
Directions = Mapping[str, bool | None]
"""Name of a metric, without val_ -> whether larger values are better, None if that is not known."""
NOTHING_KNOWN: Directions = MappingProxyType({})

_LARGER = ("accuracy", "r2", "auc", "f1", "precision", "recall", "ap", "mcc", "kappa", "iou", "dice", "samples_per_second")
_SMALLER = ("loss", "error", "mse", "rmse", "mae", "mape", "nll", "perplexity", "brier", "seconds", "epoch")
"""Names, or last words of names, of metrics that increase and that decrease as the model improves."""


def larger_is_better(column: str, mode: str | None = None, known: Directions = NOTHING_KNOWN) -> bool:
    """Whether a metric increases as the model improves.

    Args: column – of the history, such as "val_auc"; mode – "min" or "max", if the caller says it; known – of the metrics of a
        Trainer. Then come the names of METRICS, those that begin with neg_ as all scorers of scikit-learn do whose sign is
        changed, and usual last words of names.
    Raises: HyperparameterError for another mode, and if the direction is not known.
    """
    if mode is not None:
        return require_mode(mode) == "max"
    name = column.removeprefix("val_")
    direction = known.get(name)
    if direction is not None:
        return direction
    if name in METRICS or name.startswith("neg_"):
        return True
    for names, larger in ((_LARGER, True), (_SMALLER, False)):
        if any(name == one or name.endswith(f"_{one}") for one in names):
            return larger
    raise HyperparameterError(
        f'expected a metric whose better direction is known; got {column!r}; pass mode="max" if larger values are better, '
        'mode="min" if smaller ones are, or name it in Trainer(metrics=...) as fs.Metric(function, greater_is_better=True)'
    )


def require_mode(mode: str | None) -> str | None:
    """Raises HyperparameterError for a mode other than "min", "max" and None."""
    return None if mode is None else choice(mode, "mode", MODES)


def score(
    row: Mapping[str, float], column: str, mode: str | None = None, known: Directions = NOTHING_KNOWN
) -> float:
    """A metric as a number that decreases as the model improves; infinite for NaN."""
    if column not in row:
        raise HyperparameterError(
            f"expected a row with {column!r}; got {', '.join(row)}; put the callback that adds it before those that read it"
        )
    value = -row[column] if larger_is_better(column, mode, known) else row[column]
    return math.inf if math.isnan(value) else value
