"""Forward, loss and backward on one tape; every executor runs, times or captures this function.

The executor selects rows and tape, and processes the sum of the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays import Array

Minibatch = tuple[Array, ...]
"""Inputs and targets, and the weights of the rows if they are weighted."""


def forward_backward(work: Any, tape: Any, minibatch: Minibatch, total: Callable[[Array], Any] | None = None) -> Any:
    """Runs forward, loss and backward for the rows; the tape determines where gradients are written.

    Args: work – see Work; tape – after `begin`; total – function of the losses of the rows, called before the backward pass may
        reuse their buffer; None for `total` of the tape's backend.
    Returns: the result of `total`.
    """
    inputs, targets, *weights = minibatch
    tape.row_weights = weights[0] if weights else None
    row_losses = work.chain_with_loss.forward(inputs, targets, tape)
    summed = (total or tape.backend.total)(row_losses)
    work.chain_with_loss.backward(tape)
    return summed
