"""Evaluation of a model on data: loss, accuracy and 0-1 error, or R².

Sums are taken on the backend, minibatch by minibatch, in evaluation mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .step import TrainStep

Array = Any


def evaluate(step: TrainStep, inputs: Array, targets: Array, batch_rows: int) -> dict[str, float]:
    """Mean loss over the rows (their sum for a loss with reduction "sum"), and the metric of the loss's kind.

    Args: inputs, targets – as TrainStep.prepare gives them.
    Returns: {"loss", "accuracy", "error"} for classes, where error = 1 - accuracy is the 0-1 loss, over all questions where
        each output is one; {"loss", "r2"} for numbers, R² = 1 - sum (y - t)^2 / sum (t - mean t)^2 over all outputs, NaN
        where all targets are the same.
    """
    backend, model, loss = step.backend, step.model, step.loss
    rows, xp = int(inputs.shape[0]), backend.xp
    total = right = squares = spread = 0.0
    numbers = backend.dtype_name(targets).startswith("float")
    mean = xp.mean(targets, axis=0) if numbers and loss.head == "values" else None
    tape = step.evaluation_tape()

    def count(answers: Array) -> float:
        return backend.item(xp.sum(xp.astype(answers, xp.float64)))

    for start in range(0, rows, batch_rows):
        stop = min(rows, start + batch_rows)
        part, wanted = inputs[start:stop, ...], targets[start:stop, ...]
        tape.begin(stop - start, rows)
        with backend.quiet():
            outputs = step.chain.forward(part, tape)
            losses, _ = loss.evaluate(outputs, wanted, tape)
            total += backend.item(backend.total(losses))
            if loss.head == "values":
                squares += backend.item(xp.sum((backend.wide(outputs) - wanted) ** 2))
                spread += backend.item(xp.sum((wanted - mean) ** 2))
            elif loss.head == "classes":
                right += count(backend.argmax(outputs) == (backend.argmax(wanted) if numbers else wanted))
            else:
                threshold = 0.5 if loss.head == "binary" else 0.0
                right += count((outputs > 0.0) == (wanted > threshold)) / int(outputs.shape[1])
    result = {"loss": total / rows if loss.reduction == "mean" else total}
    if loss.head == "values":
        constant = bool(xp.all(xp.max(targets, axis=0) == xp.min(targets, axis=0)))
        return {**result, "r2": float("nan") if constant else 1.0 - squares / spread}
    return {**result, "accuracy": right / rows, "error": 1.0 - right / rows}
