"""Scorers of scikit-learn as metrics: those that this package has no formula of, and those that users make.

They are called as documented, with an estimator that returns predictions which are already there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import HyperparameterError
from ..optional import require
from .predictions import Predicted, Predictions, predictions

PURPOSE = "a metric by another name than those in docs/metrics.md"

Estimator = Any


class ScorerMetric:
    """A scorer: what sklearn.metrics.get_scorer and make_scorer return. Larger values are better.

    Args: scorer; name – for messages.
    """

    greater_is_better = True

    def __init__(self, scorer: Callable[..., float], name: str) -> None:
        self.scorer = scorer
        self.name = name

    def require(self, of: Predicted, weighted: bool) -> None:
        """See Measure: scores a few made-up predictions of this kind, as scikit-learn does not say what a scorer takes."""
        rng, rows = np.random.default_rng(0), max(16, 4 * of.count)
        if of.kind == "numbers":
            outputs = rng.uniform(1.0, 2.0, (rows, of.count))
            targets: Any = rng.uniform(1.0, 2.0, (rows, of.count))
        elif of.kind == "classes":
            outputs, targets = rng.uniform(0.1, 1.0, (rows, of.count)), np.arange(rows) % of.count
            outputs = outputs / outputs.sum(axis=1, keepdims=True)
        else:
            outputs, targets = rng.standard_normal((rows, of.count)), np.arange(rows)[:, None] % np.arange(2, of.count + 2) == 0
        made_up = predictions(of, outputs, targets, np.ones(rows) if weighted else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._score(made_up, "predictions such as this model's")

    @property
    def value(self) -> Callable[[Predictions], float]:
        """See Measure."""
        return lambda p: self._score(p, "these targets and predictions")

    def _score(self, p: Predictions, what: str) -> float:
        weights = {} if p.weights is None else {"sample_weight": p.weights}
        try:
            return float(self.scorer(_answering(p), np.arange(len(p.targets))[:, None], p.targets, **weights))
        except (TypeError, ValueError, AttributeError) as error:
            raise HyperparameterError(
                f"metric {self.name!r} of scikit-learn: expected {what} to suit it; it refused them ({error}); leave it "
                "out, or choose another"
            ) from error

    def __repr__(self) -> str:
        return f"ScorerMetric({self.name!r})"


def is_scorer(value: Any) -> bool:
    """Whether a value is a scorer of scikit-learn, which is not imported for that."""
    return any(base.__module__.startswith("sklearn.metrics._scorer") for base in type(value).__mro__)


def names() -> list[str]:
    """The names of all scorers.

    Raises: MissingDependency without scikit-learn.
    """
    found: list[str] = require("sklearn.metrics", "sklearn", PURPOSE).get_scorer_names()
    return found


def named(name: str) -> ScorerMetric:
    """The scorer of a name, one of `names`."""
    return ScorerMetric(require("sklearn.metrics", "sklearn", PURPOSE).get_scorer(name), name)


def _answering(p: Predictions) -> Estimator:
    """An estimator that has been fitted and returns these predictions, whatever the rows."""
    base = require("sklearn.base", "sklearn", PURPOSE)
    kind = base.RegressorMixin if p.of.kind == "numbers" else base.ClassifierMixin
    responses = {"predict": p.answers}
    if p.probabilities is not None:
        responses["predict_proba"] = p.probabilities
    elif p.ranks is not None:
        responses["decision_function"] = p.ranks
    methods: dict[str, Any] = {name: _response(name, values) for name, values in responses.items()}
    methods["__sklearn_is_fitted__"] = lambda _: True
    estimator = type("Answering", (kind, base.BaseEstimator), methods)()
    if p.of.kind != "numbers":
        estimator.classes_ = np.arange(p.of.count)
    return estimator


def _response(name: str, values: Any) -> Callable[..., Any]:
    """A method of that name, by which scikit-learn calls it."""

    def method(self: Estimator, rows: Any) -> Any:  # noqa: ARG001
        return values

    method.__name__ = name
    return method
