"""The error for a step whose loss, gradient or update is not finite.

The place where such a value first appears is found by running the layers again, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...backends import Array
from ...backends.executors.base import MicroBatch
from ...backends.executors.passes import Minibatch
from ...errors import NonFiniteLossError
from ..codes import require_codes
from .step_loss import OVERFLOW

Step = Any
"""A TrainStep, which imports this module."""

BACKWARD = "the backward pass"


def failure_of(
    step: Step, micro_batches: Iterable[Minibatch], rows: int, number: int, what: str
) -> NonFiniteLossError:
    """See TrainStep.failure; raises CategoryError if codes of categories are the cause."""
    place, expected = "", "a finite loss"
    first, _ = step.division.own(rows)
    if what.startswith(OVERFLOW):
        micro_batches, expected = (), f"an update that stays finite in {step.model.dtype}"
    for part in micro_batches:
        place = first_not_finite(step, part, number, MicroBatch(first, rows))
        if place != BACKWARD:
            break
        first += int(part[0].shape[0])
    advice = (
        f"the parameters of step {number - 1} are kept; lower the learning rate, clip the gradient (clip_norm=1.0), or check "
        "and scale the data"
    )
    broken = step.state.headroom.broken()
    if broken:
        advice = f"{broken} had NaN or infinity before it, because of numbers that were written there; load earlier ones"
    return NonFiniteLossError(
        f"expected {expected}; got {what} in step {number}{', first in ' + place if place else ''}; {advice}",
        number,
        place,
        what,
    )


def first_not_finite(step: Step, minibatch: Minibatch, number: int, micro_batch: MicroBatch) -> str:
    """Text that states where step `number` first had NaN or infinity: data, parameter, layer, loss, or backward pass.

    Args: minibatch – all rows of it, or the part of it that `micro_batch` describes.
    """
    backend, model = step.backend, step.model
    inputs, targets, *weights = minibatch

    def broken(array: Array) -> bool:
        return not bool(backend.xp.all(backend.xp.isfinite(array)))

    with backend.quiet():
        if broken(inputs):
            return "the input data"
        require_codes(model.coded_columns, inputs, backend)
        if backend.dtype_name(targets).startswith("float") and broken(targets):
            return "the targets"
        names = {parameter: name for name, parameter in model.declared()}
        tape = step.new_tape(model.arena.new())
        tape.begin(int(inputs.shape[0]), micro_batch.batch)
        tape.row_weights = weights[0] if weights else None
        tape.set_step(number, micro_batch.first)
        x = inputs
        for index, layer in enumerate(step.chain.layers):
            for _, parameter in layer.declared():
                if broken(model.arena.views[parameter]):
                    return f"parameter {names.get(parameter, parameter.name)}"
            x = layer.forward(x, tape)
            if broken(x):
                return f"the output of layer {index} ({layer!r})"
        row_losses, gradient = step.chain_with_loss.evaluate(x, targets, tape)
        if broken(row_losses) or broken(gradient):
            return f"the loss {step.loss!r}"
    return BACKWARD
