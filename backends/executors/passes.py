"""Forward, loss and backward on one tape, which every executor runs, times or captures.

The executor selects rows and tape, and processes the sum of the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Array = Any


def forward_backward(
    work: Any, tape: Any, inputs: Array, targets: Array, total: Callable[[Array], Any] | None = None
) -> Any:
    """Runs the rows through chain and loss and back again; the gradient is then where the tape puts it.

    Args: work – see Work; tape – which has begun; total – takes the losses of the rows, before the backward pass may use their
        buffers again; None for `total` of the tape's backend.
    Returns: what `total` gave.
    """
    row_losses = work.chain_with_loss.forward(inputs, targets, tape)
    summed = (total or tape.backend.total)(row_losses)
    work.chain_with_loss.backward(tape)
    return summed
