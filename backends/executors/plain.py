"""The executor that calls the operations of a step one after the other, without capture."""

from __future__ import annotations

from typing import Any

from .base import Executor, MicroBatch
from .gradient_sums import Ready
from .passes import Minibatch, forward_backward


class PlainExecutor(Executor):
    """Forward, loss and backward of a whole minibatch, in order."""

    def gradient(
        self, minibatch: Minibatch, number: int, micro_batch: MicroBatch | None = None, ready: Ready | None = None
    ) -> tuple[Any, Any]:
        """See Executor.gradient."""
        del ready  # nothing is told before the end
        rows = int(minibatch[0].shape[0])
        work, backend = self.work, self.backend
        first, batch, adds = micro_batch or (0, rows, False)
        tape = self._plans.made((rows, adds), lambda: work.new_tape(work.gradient, adds=adds))
        tape.begin(rows, batch)
        tape.set_step(number, first)
        total = forward_backward(work, tape, minibatch)
        return total, 0.0 if work.communicator is not None else backend.sum_of_squares(work.gradient)
