"""What a metric is computed from: targets and predictions of all rows, on the host. There are no formulas of metrics here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...backends import backend
from ...kernels.formulas.activations import ACTIVATIONS

Numbers = NDArray[np.float64]
Form: TypeAlias = Literal["logits", "probabilities", "scores"]


@dataclass(frozen=True)
class Predicted:
    """What a model predicts.

    Args: kind – "classes" (one of K), "labels" (several questions of yes or no) or "numbers"; count – of classes, questions or
        numbers; form – of its outputs for classes and labels: "logits", "probabilities", or "scores" that are neither.
    """

    kind: Literal["classes", "labels", "numbers"]
    count: int
    form: Form = "logits"

    @property
    def in_words(self) -> str:
        """For messages."""
        one = self.count == 1
        if self.kind == "numbers":
            return "a number" if one else f"{self.count} numbers"
        return f"{self.count} classes" if self.kind == "classes" else f"{self.count} questions of yes or no"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Targets and predictions of N rows; K classes, or e questions or numbers.

    Args: of – what the model predicts; targets – labels [N], 0 and 1 [N, e], or numbers [N] or [N, e]; answers – predictions in
        the same form; ranks – None for numbers, otherwise values that increase with the probability: [N] of the second of two
        classes, [N, K], [N, e]; probabilities – [N, K] or [N, e], None if there are none; weights – [N] > 0, or None.
    """

    of: Predicted
    targets: NDArray[Any]
    answers: NDArray[Any]
    ranks: Numbers | None = None
    probabilities: Numbers | None = None
    weights: Numbers | None = None


def predictions(of: Predicted, outputs: NDArray[Any], targets: NDArray[Any], weights: Numbers | None = None) -> Predictions:
    """Predictions from the outputs of a network.

    Args: of – what it predicts; outputs – [N, outputs]: see `form`, and numbers as `predict` returns them; targets – as the
        loss takes them: labels [N], distributions [N, K], 0 and 1 or -1 and 1 [N, e], numbers [N, e]; weights – [N] >= 0; rows
        of weight 0 are left out.
    """
    if weights is not None and not weights.all():
        weighed = weights > 0.0
        outputs, targets, weights = outputs[weighed], targets[weighed], weights[weighed]
    y = outputs.astype(np.float64)
    if of.kind == "numbers":
        wanted = targets.astype(np.float64)
        single = of.count == 1
        return Predictions(of, wanted.reshape(-1) if single else wanted, y.reshape(-1) if single else y, weights=weights)
    if y.shape[1] == of.count and of.kind == "classes":
        labels = targets.argmax(axis=1) if targets.ndim == 2 else targets
        if of.form == "probabilities":
            y = y / y.sum(axis=1, keepdims=True)  # 1 in float32 is not 1 in float64
        probabilities = softmax(y) if of.form == "logits" else y if of.form == "probabilities" else None
        ranks = y if probabilities is None else probabilities
        if of.count == 2:
            ranks = y[:, 1] if of.form == "probabilities" else y[:, 1] - y[:, 0]
        return Predictions(of, labels.astype(np.int64), y.argmax(axis=1), ranks, probabilities, weights)
    # One output for each question; -1 and 1 of scores and 0 and 1 of logits are told by their middle.
    threshold = 0.0 if of.form == "scores" else 0.5
    yes = sigmoid(y) if of.form == "logits" else None
    wanted, answers = (targets > threshold).astype(np.int64), (y > 0.0).astype(np.int64)
    if of.kind == "labels":
        return Predictions(of, wanted, answers, y, yes, weights)
    both = None if yes is None else np.column_stack([1.0 - yes, yes])
    return Predictions(of, wanted.reshape(-1), answers.reshape(-1), y.reshape(-1), both, weights)


def softmax(y: Numbers) -> Numbers:
    """Probabilities [N, K] of logits, by the row operation of the networks."""
    out, host = np.empty_like(y), backend("numpy")
    host.rows("softmax", y, out)
    return out


def sigmoid(y: Numbers) -> Numbers:
    """Probabilities of logits, by the formula of the networks."""
    out, host = np.empty_like(y), backend("numpy")
    with host.quiet():
        host.map(ACTIVATIONS["sigmoid"].forward, out, y)
    return out


def mean(values: NDArray[Any], weights: Numbers | None) -> float:
    """sum w v / sum w over rows; the mean without weights."""
    return float(values.mean() if weights is None else weights @ values / weights.sum())
