"""Runs the calls of a step one after the other."""

from __future__ import annotations

from typing import Any

from .base import Array, Executor


class PlainExecutor(Executor):
    """Forward, loss and backward of a whole minibatch, in order."""

    def gradient(self, inputs: Array, targets: Array, number: int) -> tuple[Any, Any]:
        """See Executor.gradient."""
        rows = int(inputs.shape[0])
        work, backend = self.work, self.backend
        tape = self._plans.made(rows, lambda: work.new_tape(work.gradient))
        tape.begin(rows)
        tape.set_step(number)
        with backend.quiet():
            outputs = work.chain.forward(inputs, tape)
            row_losses, slope = work.loss.evaluate(outputs, targets, tape)
            total = backend.total(row_losses)
            work.chain.backward(slope, tape, needs_input=False)
            return total, backend.sum_of_squares(work.gradient)
