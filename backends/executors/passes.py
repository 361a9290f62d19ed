"""Forward, loss and backward on one tape; every executor runs, times or captures this function.

The executor selects rows and tape, and processes the sum of the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays import Array


def forward_backward(
    work: Any, tape: Any, inputs: Array, targets: Array, total: Callable[[Array], Any] | None = None
) -> Any:
    """Runs forward, loss and backward for the rows; the tape determines where gradients are written.

    Args: work – see Work; tape – after `begin`; total – function of the losses of the rows, called before the backward pass may
        reuse their buffer; None for `total` of the tape's backend.
    Returns: the result of `total`.
    """
    row_losses = work.chain_with_loss.forward(inputs, targets, tape)
    summed = (total or tape.backend.total)(row_losses)
    work.chain_with_loss.backward(tape)
    return summed
