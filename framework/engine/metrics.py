"""Evaluation of a model on data: loss, accuracy and 0-1 error, or R² and mean absolute error.

Sums are computed on the backend, by minibatch, in evaluation mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...backends import Backend

if TYPE_CHECKING:
    from ..sources.feeds import Feed

Array = Any
Step = Any
"""A TrainStep, which imports this module."""


def evaluate(step: Step, feed: Feed, batch_rows: int, size: int) -> dict[str, float]:
    """Mean loss over the rows (their sum for a loss with reduction "sum"), and the metric of the loss's kind.

    If the rows have weights, all means and sums are weighted.

    Args: feed – of rows in the order in which they are stored; batch_rows – rows of a minibatch; size – rows per
        pass, at most as many.
    Returns: {"loss", "accuracy", "error"} for classes, where error = 1 - accuracy is the 0-1 loss, over all questions where
        each output is one; {"loss", "r2", "mae"} for numbers, R² = 1 - sum (y - t)^2 / sum (t - mean t)^2 over all outputs,
        NaN where all targets are the same, and the mean of |y - t| over rows and outputs; y is what `predict` returns.
    """
    backend, loss = step.backend, step.loss
    xp = backend.xp
    rows = feed.rows if feed.weights is None else float(feed.weights.of_all.sum())
    total = right = squares = spread = distance = 0.0
    mean, constant = _spread_of(backend, feed) if loss.predicts_numbers else (None, False)
    evaluator = step.evaluator()

    def weighed(values: Array, weights: list[Array]) -> Array:
        return values if not weights else values * xp.reshape(weights[0], (-1, *[1] * (len(values.shape) - 1)))

    def count(answers: Array, weights: list[Array]) -> float:
        return float(backend.item(xp.sum(weighed(xp.astype(answers, xp.float64), weights))))

    for part, wanted, *weights in feed.everything(batch_rows, size):
        with backend.quiet(), backend.products("float32", step.deterministic):
            results, losses = evaluator.run((part, wanted, *weights))
            total += backend.item(losses)
            if loss.predicts_numbers:
                errors = backend.wide(results) - wanted
                squares += backend.item(xp.sum(weighed(errors**2, weights)))
                distance += backend.item(xp.sum(weighed(xp.abs(errors), weights))) / int(results.shape[1])
                spread += backend.item(xp.sum(weighed((wanted - mean) ** 2, weights)))
            elif loss.head == "classes":
                numbers = backend.dtype_name(wanted).startswith("float")
                right += count(results == (backend.argmax(wanted) if numbers else wanted), weights)
            else:
                threshold = 0.5 if loss.head == "binary" else 0.0
                right += count((results > 0.0) == (wanted > threshold), weights) / int(results.shape[1])
    result = {"loss": total / rows if loss.reduction == "mean" else total}
    if loss.predicts_numbers:
        return {**result, "r2": float("nan") if constant else 1.0 - squares / spread, "mae": distance / rows}
    return {**result, "accuracy": right / rows, "error": 1.0 - right / rows}


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
