"""Evaluation of a model on data: loss, accuracy and 0-1 error, or R².

Sums are taken on the backend, minibatch by minibatch, in evaluation mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import EmptyDataError
from .tape import Tape

if TYPE_CHECKING:
    from .step import TrainStep


def evaluate(step: TrainStep, x: Any, y: Any, batch_rows: int) -> dict[str, float]:
    """Mean loss over the rows (their sum for a loss with reduction "sum"), and the metric of the loss's kind.

    Returns: {"loss", "accuracy", "error"} for classes, where error = 1 - accuracy is the 0-1 loss; {"loss", "r2"} for
        numbers, R² = 1 - sum (y - t)^2 / sum (t - mean t)^2 over all outputs.
    """
    backend, model, loss = step.backend, step.model, step.loss
    inputs = model.convert_input(x)
    rows = int(inputs.shape[0])
    if rows == 0:
        raise EmptyDataError("expected at least one row to evaluate; got none")
    targets = step.prepare_targets(y, rows)
    xp = backend.xp
    total = right = squares = spread = 0.0
    numbers = backend.dtype_name(targets).startswith("float")
    mean = xp.mean(targets, axis=0) if numbers and loss.head == "values" else None
    tape = Tape(model.arena)
    for start in range(0, rows, batch_rows):
        stop = min(rows, start + batch_rows)
        part, wanted = inputs[start:stop, ...], targets[start:stop, ...]
        tape.begin(stop - start, rows)
        outputs = step.chain.forward(part, tape)
        losses, _ = loss.evaluate(outputs, wanted, tape)
        total += backend.item(backend.total(losses))
        if loss.head == "values":
            squares += float(backend.item(xp.sum((outputs - wanted) ** 2)))
            spread += float(backend.item(xp.sum((wanted - mean) ** 2)))
        elif loss.head == "classes":
            labels = backend.argmax(wanted) if numbers else wanted
            right += float(backend.item(xp.sum(xp.astype(backend.argmax(outputs) == labels, xp.float64))))
        else:
            threshold = 0.5 if loss.head == "binary" else 0.0
            agree = (outputs[:, :1] > 0.0) == (wanted[:, :1] > threshold)
            right += float(backend.item(xp.sum(xp.astype(agree, xp.float64))))
    result = {"loss": total / rows if loss.reduction == "mean" else total}
    if loss.head == "values":
        return {**result, "r2": 1.0 - squares / spread if spread > 0.0 else float("nan")}
    return {**result, "accuracy": right / rows, "error": 1.0 - right / rows}
