"""The table of metrics that need no other library: scikit-learn's names of scorers -> formula and what it applies to.

Larger values of each are better, as of all scorers: errors and losses have the opposite sign and a name that begins with neg_.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ...errors import HyperparameterError
from . import labels, numbers, probabilities, ranking
from .predictions import Predicted, Predictions

Value = Callable[[Predictions], float]


@dataclass(frozen=True)
class NamedMetric:
    """A metric of the table.

    Args: name; value – computes it; kinds – of predictions that it applies to: "two" classes, "classes", "labels" or "numbers";
        probabilities – whether it needs them; instead – names that may be meant for predictions of another kind.
    """

    name: str
    value: Value
    kinds: tuple[str, ...]
    probabilities: bool = False
    instead: str = ""

    greater_is_better = True

    def require(self, of: Predicted, weighted: bool) -> None:  # noqa: ARG002
        """Raises HyperparameterError if it does not apply to what a model predicts."""
        kind = "two" if of.kind == "classes" and of.count == 2 and "two" in self.kinds else of.kind
        if kind not in self.kinds:
            what = " or ".join(_IN_WORDS[kind] for kind in self.kinds)
            raise HyperparameterError(
                f"metric {self.name!r}: expected a model that predicts {what}; this one predicts {of.in_words}"
                + (f"; {self.instead}" if self.instead and of.kind != "numbers" else "; leave it out")
            )
        if self.probabilities and of.form == "scores":
            raise HyperparameterError(
                f"metric {self.name!r}: expected a loss whose outputs give probabilities; got one of scores; use "
                "SoftmaxCrossEntropy or BinaryCrossEntropy, or a metric of labels such as accuracy or roc_auc"
            )


_IN_WORDS = {"two": "two classes", "classes": "classes", "labels": "several questions of yes or no", "numbers": "numbers"}


def _of_labels(formula: Callable[..., float], p: Predictions) -> float:
    return formula(p.targets, p.answers, p.of.count, p.weights)


def _averaged(figure: str, average: str, p: Predictions) -> float:
    counts = labels.counts_of(p.targets, p.answers, p.of.count, p.weights)
    if average == "macro" and p.of.kind == "classes":
        counts = labels.macro_over_occurring(counts)
    return labels.averaged(counts, figure, average)


def _curve(curve: ranking.Curve, p: Predictions) -> float:
    """Of the second of two classes; otherwise the mean over the classes or questions."""
    assert p.ranks is not None
    if p.ranks.ndim == 1:
        return curve(p.ranks, p.targets == 1, p.weights)
    return float(ranking.one_against_rest(curve, p.ranks, p.targets, p.weights).mean())


def _curve_weighted(p: Predictions) -> float:
    if p.probabilities is None or p.of.count == 2:
        return _curve(ranking.area_under_curve, p)
    values = ranking.one_against_rest(ranking.area_under_curve, p.probabilities, p.targets, p.weights)
    return ranking.weighted_by_support(values, p.targets, p.weights)


def _top_k(p: Predictions) -> float:
    assert p.ranks is not None
    return ranking.top_k_accuracy(p.ranks, p.targets, weights=p.weights)


def _of_probabilities(formula: Callable[..., float], p: Predictions) -> float:
    return -formula(p.targets, p.probabilities, p.weights)


def _of_numbers(formula: Callable[..., float], sign: float, p: Predictions) -> float:
    return sign * formula(p.targets, p.answers, p.weights)


def _table() -> dict[str, NamedMetric]:
    one, any_labels = ("classes",), ("classes", "labels")
    found = [
        NamedMetric("accuracy", lambda p: labels.accuracy(p.targets, p.answers, p.weights), any_labels),
        NamedMetric("balanced_accuracy", partial(_of_labels, labels.balanced_accuracy), one),
        NamedMetric("matthews_corrcoef", partial(_of_labels, labels.matthews_correlation), one),
        NamedMetric(
            "roc_auc", partial(_curve, ranking.area_under_curve), ("two", "labels"), instead="use roc_auc_ovr for more classes"
        ),
        NamedMetric("roc_auc_ovr", partial(_curve, ranking.area_under_curve), any_labels, probabilities=True),
        NamedMetric("roc_auc_ovr_weighted", _curve_weighted, one, probabilities=True),
        NamedMetric("average_precision", partial(_curve, ranking.average_precision), any_labels),
        NamedMetric("top_k_accuracy", _top_k, one),
        NamedMetric("neg_log_loss", partial(_of_probabilities, probabilities.log_loss), one, probabilities=True),
        NamedMetric("neg_brier_score", partial(_of_probabilities, probabilities.brier_score), one, probabilities=True),
    ]
    for figure in ("f1", "precision", "recall", "jaccard"):
        instead = f"use {figure}_macro, {figure}_micro or {figure}_weighted for more classes"
        found.append(NamedMetric(figure, partial(_averaged, figure, "binary"), ("two",), instead=instead))
        for average in ("macro", "micro", "weighted"):
            found.append(NamedMetric(f"{figure}_{average}", partial(_averaged, figure, average), any_labels))
    errors: dict[str, Callable[..., float]] = {
        "mean_absolute_error": numbers.mean_absolute_error,
        "mean_squared_error": numbers.mean_squared_error,
        "root_mean_squared_error": numbers.root_mean_squared_error,
        "mean_absolute_percentage_error": numbers.mean_absolute_percentage_error,
        "median_absolute_error": numbers.median_absolute_error,
        "max_error": lambda targets, given, _: numbers.max_error(targets, given),
    }
    for name, error in errors.items():
        found.append(NamedMetric(f"neg_{name}", partial(_of_numbers, error, -1.0), ("numbers",)))
    found.append(NamedMetric("r2", partial(_of_numbers, numbers.r2, 1.0), ("numbers",)))
    found.append(NamedMetric("explained_variance", partial(_of_numbers, numbers.explained_variance, 1.0), ("numbers",)))
    return {metric.name: metric for metric in found}


METRICS = _table()
"""Name -> metric."""

ABBREVIATIONS = {
    "auc": "roc_auc", "ap": "average_precision", "mae": "neg_mean_absolute_error", "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error", "mape": "neg_mean_absolute_percentage_error", "log_loss": "neg_log_loss",
    "logloss": "neg_log_loss", "nll": "neg_log_loss", "brier": "neg_brier_score", "mcc": "matthews_corrcoef",
    "max_error": "neg_max_error", "brier_score_loss": "neg_brier_score", "acc": "accuracy", "auroc": "roc_auc",
    "auprc": "average_precision", "pr_auc": "average_precision", "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy", "sparse_categorical_accuracy": "accuracy",
    "top_k_categorical_accuracy": "top_k_accuracy", "cross_entropy": "neg_log_loss", "crossentropy": "neg_log_loss",
}  # fmt: skip
"""Other names that users try -> the name that an error suggests.

Those of functions of scikit-learn, such as f1_score, are names of this table with an ending, or without neg_: see `near_name`.
"""


def near_name(given: str) -> str:
    """The name in the table that was meant, or ""."""
    name = given.lower()
    shorter = name.removesuffix("_score")
    return next((one for one in (ABBREVIATIONS.get(name, ""), shorter, f"neg_{shorter}") if one in METRICS), "")
