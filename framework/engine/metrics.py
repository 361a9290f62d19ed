"""Evaluation of a model on data: loss, accuracy and 0-1 error, or R² and mean absolute error; and further metrics.

Sums are computed on the backend, by minibatch, in evaluation mode. For further metrics, whose formulas are in the room
framework/metrics, the outputs for all rows are collected on the host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends import Backend
from ..metrics.metric import Measure
from ..metrics.named import added
from ..metrics.predictions import Form, Predicted, predictions

if TYPE_CHECKING:
    from ..sources.feeds import Feed

Array = Any
Step = Any
"""A TrainStep, which imports this module."""


def evaluate(
    step: Step, feed: Feed, batch_rows: int, size: int, *, metrics: Mapping[str, Measure] | None = None
) -> dict[str, float]:
    """Mean loss over the rows (their sum for a loss with reduction "sum"), and the metric of the loss's kind.

    If the rows have weights, all means and sums are weighted.

    Args: feed – of rows in the order in which they are stored; batch_rows – rows of a minibatch; size – rows per
        pass, at most as many; metrics – further ones, from `require_metrics`.
    Returns: {"loss", "accuracy", "error"} for classes, where error = 1 - accuracy is the 0-1 loss, over all questions where
        each output is one; {"loss", "r2", "mae"} for numbers, R² = 1 - sum (y - t)^2 / sum (t - mean t)^2 over all outputs,
        NaN where all targets are the same, and the mean of |y - t| over rows and outputs; y is what `predict` returns. Then
        the further metrics; NaN if outputs are not finite.
    """
    backend, loss = step.backend, step.loss
    xp = backend.xp
    rows = feed.rows if feed.weights is None else float(feed.weights.of_all.sum())
    total = right = squares = spread = distance = 0.0
    mean, constant = _spread_of(backend, feed) if loss.predicts_numbers else (None, False)
    evaluator = step.evaluator(answers=not metrics)
    collected: list[tuple[Any, Any]] = []

    def weighed(values: Array, weights: list[Array]) -> Array:
        return values if not weights else values * xp.reshape(weights[0], (-1, *[1] * (len(values.shape) - 1)))

    def count(answers: Array, weights: list[Array]) -> float:
        return float(backend.item(xp.sum(weighed(xp.astype(answers, xp.float64), weights))))

    for part, wanted, *weights in feed.everything(batch_rows, size):
        with backend.quiet(), backend.products("float32", step.deterministic):
            results, losses = evaluator.run((part, wanted, *weights))
            total += backend.item(losses)
            if metrics:
                # Copies, as the evaluator and the feed use their buffers again.
                host = backend.to_numpy(backend.wide(results)), backend.to_numpy(wanted)
                collected.append((np.array(host[0]), np.array(host[1])))
            if loss.predicts_numbers:
                errors = backend.wide(results) - wanted
                squares += backend.item(xp.sum(weighed(errors**2, weights)))
                distance += backend.item(xp.sum(weighed(xp.abs(errors), weights))) / int(results.shape[1])
                spread += backend.item(xp.sum(weighed((wanted - mean) ** 2, weights)))
            elif loss.head == "classes":
                numbers = backend.dtype_name(wanted).startswith("float")
                answers = backend.argmax(results) if metrics else results
                right += count(answers == (backend.argmax(wanted) if numbers else wanted), weights)
            else:
                threshold = 0.5 if loss.head == "binary" else 0.0
                right += count((results > 0.0) == (wanted > threshold), weights) / int(results.shape[1])
    if step.communicator is not None and not step.division.fixed:
        numbers = step.communicator.sum_numbers([total, right, squares, distance, spread])
        total, right, squares, distance, spread = numbers
        collected = [part for of_rank in step.communicator.gather(collected) for part in of_rank] if metrics else []
    result = {"loss": total / rows if loss.reduction == "mean" else total}
    if loss.predicts_numbers:
        result.update(r2=math.nan if constant else 1.0 - squares / spread, mae=distance / rows)
    else:
        result.update(accuracy=right / rows, error=1.0 - right / rows)
    if metrics:
        outputs, targets = (np.concatenate(parts) for parts in zip(*collected, strict=True))
        raw = None if feed.weights is None else feed.weights.raw
        known = predictions(predicted_by(step), outputs, targets, raw) if np.isfinite(outputs).all() else None
        result.update({name: math.nan if known is None else metric.value(known) for name, metric in metrics.items()})
    return result


def predicted_by(step: Step) -> Predicted:
    """What the model of a step predicts, for metrics."""
    loss, outputs = step.loss, step.model.outputs or step.model.output_width(int(step.model.inputs or 0))
    if loss.predicts_numbers:
        return Predicted("numbers", outputs)
    if loss.head == "classes":
        return Predicted(
            "classes", outputs, "logits" if loss.softmax_inside else "probabilities" if loss.needs_simplex else "scores"
        )
    form: Form = "logits" if loss.head == "binary" else "scores"
    return Predicted("classes", 2, form) if outputs == 1 else Predicted("labels", outputs, form)


def require_metrics(step: Step, metrics: Mapping[str, Measure], weighted: bool) -> dict[str, Measure]:
    """The metrics that are not in every evaluation of this step.

    Args: weighted – whether the rows that are evaluated have weights.
    Raises: HyperparameterError for one that does not apply.
    """
    if not metrics:
        return {}
    of = predicted_by(step)
    for metric in metrics.values():
        metric.require(of, weighted)
    return added(metrics, of)


def _spread_of(backend: Backend, feed: Feed) -> tuple[Array, bool]:
    """The mean of the targets by column, weighted if the rows have weights, and whether each column has one value only."""
    xp, total, low, high, like = backend.xp, None, None, None, None
    rows = feed.rows if feed.weights is None else float(feed.weights.of_all.sum())
    for block, *weights in feed.target_blocks():
        like = block
        wide, least, most = xp.astype(block, xp.float64), xp.min(block, axis=0), xp.max(block, axis=0)
        if weights:
            weight = xp.reshape(weights[0], (-1, 1))
            wide = wide * weight
            least = xp.min(xp.where(weight > 0.0, block, xp.full_like(block, float("inf"))), axis=0)
            most = xp.max(xp.where(weight > 0.0, block, xp.full_like(block, -float("inf"))), axis=0)
        part = xp.sum(wide, axis=0)
        total = part if total is None else total + part
        low = least if low is None else xp.minimum(low, least)
        high = most if high is None else xp.maximum(high, most)
    assert total is not None
    assert like is not None
    return xp.astype(total / rows, like.dtype), bool(xp.all(low == high))
