"""Metrics as users give them: names of scikit-learn's scorers, functions, or both with names for the columns of the history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ...errors import HyperparameterError, MissingDependency
from ...extras import install_line
from ..sources.names import did_you_mean
from . import scorers
from .metric import Measure, Metric
from .predictions import Predicted
from .table import METRICS, near_name

Given: TypeAlias = str | Callable[..., float] | Metric
GivenMetrics: TypeAlias = str | Sequence[Given] | Mapping[str, Given] | None

OF_A_LOSS: dict[str, tuple[str, ...]] = {"numbers": ("loss", "r2", "mae"), "other": ("loss", "accuracy", "error")}
"""What an evaluation gives without metrics, for losses of numbers and others."""


def measures(given: GivenMetrics) -> dict[str, Measure]:
    """Name -> metric.

    Args: given – one name of a scorer, a list of names and functions, or a dictionary of names and either.
    Raises: HyperparameterError for unknown names, with those that are near, and for functions without a name.
    """
    if given is None:
        return {}
    if isinstance(given, str) or callable(given) or isinstance(given, Metric):
        given = [given]
    if not isinstance(given, Mapping | Sequence):
        raise HyperparameterError(
            f"expected metrics as a list of names or a dictionary; got {given!r}; write metrics=['roc_auc']"
        )
    pairs = list(given.items()) if isinstance(given, Mapping) else [(_name_of(one), one) for one in given]
    found: dict[str, Measure] = {}
    for name, one in pairs:
        if not isinstance(name, str) or not name or name.startswith("val_") or name in found:
            raise HyperparameterError(
                f"expected different names of metrics that do not begin with val_, which is put before those of validation "
                f"data; got {name!r}; write metrics={{'auc': 'roc_auc'}}"
            )
        found[name] = measure(one)
    return found


def measure(given: Given) -> Measure:
    """One metric."""
    if isinstance(given, Metric):
        return given
    if scorers.is_scorer(given):
        return scorers.ScorerMetric(given, _name_of(given))  # type: ignore[arg-type]
    if callable(given):
        return Metric(given)
    if not isinstance(given, str):
        raise HyperparameterError(f"expected the name of a metric, or a function; got {given!r}; write 'roc_auc', for instance")
    if given in METRICS:
        return METRICS[given]
    known, others = [*METRICS], ""
    try:
        known = [*METRICS, *scorers.names()]
    except MissingDependency:
        others = f" (other scorers need scikit-learn: {install_line('sklearn')})"
    if given in known:
        return scorers.named(given)
    near = near_name(given)
    hint = f"; did you mean {near!r}?" if near else did_you_mean(given, known)
    raise HyperparameterError(
        f"expected a metric by the name of a scorer of scikit-learn, such as {', '.join(sorted(METRICS))}{others}; got "
        f"{given!r}{hint or '; pass a function (targets, predictions) -> number for another one'}"
    )


def added(metrics: Mapping[str, Measure], of: Predicted) -> dict[str, Measure]:
    """The metrics without those that every evaluation gives: accuracy of one label, R² of one number.

    Raises: HyperparameterError for a metric that would replace another figure of the evaluation.
    """
    own = OF_A_LOSS["numbers" if of.kind == "numbers" else "other"]
    same = {"classes": "accuracy", "numbers": "r2"}.get(of.kind) if of.kind == "classes" or of.count == 1 else None
    for name, metric in metrics.items():
        if name in own and not (name == same and metric is METRICS[name]):
            raise HyperparameterError(
                f"expected names of metrics other than {', '.join(own)}, which the history has for this loss; got {name!r}; "
                f"write metrics={{'my_{name}': ...}}"
            )
    return {name: metric for name, metric in metrics.items() if name not in own}


def _name_of(given: Any) -> str:
    """The name of a metric without one."""
    if isinstance(given, str) or not (callable(given) or isinstance(given, Metric)):
        return str(given)  # `measure` refuses what is neither
    function = given.function if isinstance(given, Metric) else getattr(given, "_score_func", given)
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise HyperparameterError(
            f"expected a function with a name; got {given!r}; give it one: metrics={{'name': function}}"
        )
    return str(name)
