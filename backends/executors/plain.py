"""Runs the calls of a step one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Array = Any

TAPES_KEPT = 4
"""How many batch sizes keep their buffers at once."""


class PlainExecutor:
    """Forward, loss and backward of a whole minibatch, in order.

    Args: backend; chain – layers with forward and backward; loss – with evaluate; new_tape – (gradients, first row) -> a
        tape; gradient – flat array that the gradient goes to.
    """

    def __init__(
        self, backend: Any, chain: Any, loss: Any, new_tape: Callable[[Array, int], Any], gradient: Array
    ) -> None:
        self.backend = backend
        self.chain = chain
        self.loss = loss
        self.new_tape = new_tape
        self.gradient = gradient
        self._tapes: dict[int, Any] = {}

    def tape(self, rows: int) -> Any:
        """The tape for minibatches of that many rows."""
        tape = self._tapes.get(rows)
        if tape is None:
            if len(self._tapes) >= TAPES_KEPT:
                self._tapes.pop(next(iter(self._tapes)))
            tape = self._tapes[rows] = self.new_tape(self.gradient, 0)
        return tape

    def run(self, inputs: Array, targets: Array, number: int, usable: Callable[[Any], bool]) -> tuple[Any, Any]:
        """(sum of the losses of the rows, sum of the squares of the gradient), both scalars of the backend.

        Args: number – of the step, for its random numbers; usable – whether it makes sense to go on, given the loss;
            where it does not, the second result is None.
        """
        rows = int(inputs.shape[0])
        tape = self.tape(rows)
        tape.begin(rows)
        tape.set_step(number)
        with self.backend.quiet():
            outputs = self.chain.forward(inputs, tape)
            row_losses, slope = self.loss.evaluate(outputs, targets, tape)
            total = self.backend.total(row_losses)
            if not usable(total):
                return total, None
            self.chain.backward(slope, tape, needs_input=False)
            return total, self.backend.sum_of_squares(self.gradient)
