"""Spreads the rows of a minibatch over the cores: each runs forward and backward on its own, with one BLAS thread.

GEMMs then need no hand-over between cores, and everything between them runs on all cores too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..threads import num_threads, single_threaded_blas, workers
from .plain import TAPES_KEPT

Array = Any

LEAST_ROWS = 8
"""Rows below which a further core is not worth its hand-over."""


class RowExecutor:
    """Row-parallel forward, loss and backward; arguments as in PlainExecutor.

    Each core has a gradient buffer of its own; their sum, and the sum of its squares, are taken in one more pass, also
    spread over the cores. The order of all sums depends on the number of threads, and on nothing else.
    """

    def __init__(
        self, backend: Any, chain: Any, loss: Any, new_tape: Callable[[Array, int], Any], gradient: Array
    ) -> None:
        self.backend = backend
        self.chain = chain
        self.loss = loss
        self.new_tape = new_tape
        self.gradient = gradient
        self._buffers: list[Array] = [gradient]
        self._plans: dict[tuple[int, int], list[tuple[Any, int, int]]] = {}

    def _shards(self, rows: int, threads: int) -> list[tuple[Any, int, int]]:
        """(tape, first row, row after the last) of each core's share."""
        key = (rows, threads)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= TAPES_KEPT:
                self._plans.pop(next(iter(self._plans)))
            count = max(1, min(threads, rows // LEAST_ROWS))
            while len(self._buffers) < count:
                self._buffers.append(self.backend.zeros(self.gradient.shape, str(self.gradient.dtype)))
            edges = [rows * k // count for k in range(count + 1)]
            plan = self._plans[key] = [
                (self.new_tape(self._buffers[k], edges[k]), edges[k], edges[k + 1]) for k in range(count)
            ]
        return plan

    def _share(self, inputs: Array, targets: Array, number: int, shard: tuple[Any, int, int]) -> Any:
        tape, start, stop = shard
        tape.begin(stop - start, int(inputs.shape[0]))
        tape.set_step(number)
        with self.backend.quiet():
            outputs = self.chain.forward(inputs[start:stop], tape)
            row_losses, slope = self.loss.evaluate(outputs, targets[start:stop], tape)
            self.chain.backward(slope, tape, needs_input=False)
        return self.backend.total(row_losses)

    def run(self, inputs: Array, targets: Array, number: int, usable: Callable[[Any], bool]) -> tuple[Any, Any]:
        """As PlainExecutor.run."""
        shards = self._shards(int(inputs.shape[0]), num_threads())
        with single_threaded_blas:
            totals = workers.run([partial(self._share, inputs, targets, number, shard) for shard in shards])
        total = sum(totals[1:], start=totals[0])
        if not usable(total):
            return total, None
        return total, self.backend.fold(self._buffers[: len(shards)])
