"""What is done with the gradient of a minibatch that comes in parts: nothing more, or a sum over processes that train together.

The parts are added to `work.gradient` by the executor; the objects here are told when a part is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..communicators.division import siblings, subtrees

Array = Any
Ready = Callable[[int], object]
"""Told how many of the chunks of the gradient are complete, in their order."""

CHUNK = 1 << 20
"""Bytes of gradient from which on a part of it is summed by itself, while the backward pass goes on."""


class OwnGradient:
    """Of a process that trains alone: the gradient is complete after the last part.

    Attributes: end – the row after the last one of what is being summed.

    Args: backend, work – of the executor; rows – of the minibatch.
    """

    def __init__(self, backend: Any, work: Any, rows: int) -> None:
        self.backend = backend
        self.work = work
        self.rows = rows
        self.total: Any = 0.0
        self.squares: Any = 0.0
        self.begun = False
        self.end = work.division.own(rows)[1]
        self._ready: Ready | None = None

    def before(self, stop: int) -> tuple[bool, Ready | None]:
        """Before a part, which ends at row `stop`: whether its gradient is to be added, and what is told of its progress."""
        last = stop == self.end
        if last and not self.begun:
            return False, self._ready
        if not self.begun:
            self.backend.fill(self.work.gradient, 0.0)
        return True, self._ready if last else None

    def add(self, total: Any, squares: Any, stop: int) -> None:
        """After a part: the sum of its losses, the squares of the gradient so far, and the first row after it."""
        del stop
        self.begun = True
        self.total, self.squares = self.total + total, squares

    def finished(self) -> tuple[Any, Any]:
        """(sum of the losses, sum of squares of the gradient) of the whole minibatch, whose gradient is in `work.gradient`."""
        return self.total, self.squares


class SummedGradient(OwnGradient):
    """The sum over all processes; its order is that of the library that communicates.

    Where that takes longer than memory does, the gradient is summed in chunks, the last layers first, as the backward pass
    finishes them. All processes sum the same chunks in the same order, also one that has no rows.
    """

    def __init__(self, backend: Any, work: Any, rows: int) -> None:
        super().__init__(backend, work, rows)
        self._chunks = chunks(work)
        self._started: list[Callable[[], None]] = []
        if len(self._chunks) > 1:
            self._ready = self._sum_first

    def _sum_first(self, count: int) -> None:
        """Begins the sums of the first so many chunks, unless they have begun."""
        for low, high in self._chunks[len(self._started) : count]:
            self._started.append(self.work.communicator.start_sum(self.work.gradient[low:high, ...]))

    def finished(self) -> tuple[Any, Any]:
        """See OwnGradient; the squares are those of the sum."""
        together, backend, gradient = self.work.communicator, self.backend, self.work.gradient
        if not self.begun:  # without any row
            backend.fill(gradient, 0.0)
        if len(self._chunks) == 1:
            together.sum(gradient)
        else:
            self._sum_first(len(self._chunks))
        for done in self._started:
            done()
        if together.on_stream:
            return together.sum_losses(self.total, backend), backend.sum_of_squares(gradient)
        # All have the sum now, and each squares a part of it.
        size = int(gradient.shape[0])
        low, high = (size * rank // together.size for rank in (together.rank, together.rank + 1))
        squares = backend.item(backend.sum_of_squares(gradient[low:high, ...])) if low < high else 0.0
        total, squares = together.tell_wishes(float(backend.item(self.total)), squares)
        return total, squares


def chunks(work: Any) -> list[tuple[int, int]]:
    """(first, end) of the chunks of the gradient in the order in which a backward pass finishes them: one where the processes
    share a memory, otherwise of whole weights, the last layers first, each of at least CHUNK bytes but for that of the first
    layer. The last chunk has the parameters of all layers that do not decay, such as biases, which lie behind the weights.
    """
    end = int(work.gradient.shape[0])
    weights = sorted((place for parameter, place in work.ranges.items() if parameter.decays), reverse=True)
    if not work.communicator.overlaps or not weights:
        return [(0, end)]
    size, found = int(work.gradient.nbytes) // end, []
    behind = high = min((low for parameter, (low, _) in work.ranges.items() if not parameter.decays), default=end)
    for low, _ in weights:
        if low and (high - low) * size >= CHUNK:
            found.append((low, high))
            high = low
    if not found:
        return [(0, end)]
    return [*found, (0, high), *([(behind, end)] if behind < end else [])]


class GradientInFixedOrder(OwnGradient):
    """The sum over fixed shards of the minibatch, in the order of a binary tree, whatever process computed them.

    Each process adds the shards of its own subtrees, all get the sums of all subtrees, and add these.

    Args: buffers – where the buffer for these sums stays for the next step.
    """

    def __init__(self, backend: Any, work: Any, rows: int, buffers: dict[int, Array]) -> None:
        super().__init__(backend, work, rows)
        self._shards = work.division.shards(rows)
        self._shard, _ = work.division.of_rank(rows, work.communicator.rank)
        self.end = self._end()
        self._totals: list[float] = []
        self._nodes: list[tuple[int, int]] = []
        levels = self._shards.bit_length() + 1
        if levels not in buffers:
            buffers[levels] = backend.empty((levels, int(work.gradient.shape[0])), backend.dtype_name(work.gradient))
        self._sums = buffers[levels]

    def add(self, total: Any, squares: Any, stop: int) -> None:
        """See OwnGradient; with its last part, a shard is added to those before it."""
        super().add(total, squares, stop)
        if stop < self.end:
            return
        self.begun = False
        backend, gradient = self.backend, self.work.gradient
        backend.copy(gradient, self._sums[len(self._nodes), ...])
        self._push(self._nodes, self._totals, (self._shard, 1), float(backend.item(self.total)), self._sums)
        self._shard, self.total = self._shard + 1, 0.0
        self.end = self._end()

    def _end(self) -> int:
        """The first row after the shard at hand."""
        end: int = self.rows * (self._shard + 1) // self._shards
        return end

    def finished(self) -> tuple[Any, Any]:
        """See OwnGradient."""
        work, backend = self.work, self.backend
        together, division = work.communicator, work.division
        nodes = [subtrees(*division.of_rank(self.rows, rank)) for rank in range(together.size)]
        counts = [len(found) for found in nodes]
        own = counts[together.rank]
        sums = together.gather_arrays(self._sums[:own, ...], counts)
        together.tell_wishes()
        values = together.gather(self._totals)
        done: list[tuple[int, int]] = []
        totals: list[float] = []
        ahead = [value for of_rank in values for value in of_rank]
        for place, node in enumerate(node for found in nodes for node in found):
            if place != len(done):
                backend.copy(sums[place, ...], sums[len(done), ...])
            self._push(done, totals, node, ahead[place], sums)
        backend.copy(sums[0, ...], work.gradient)
        return totals[0], backend.sum_of_squares(work.gradient)

    @staticmethod
    def _push(nodes: list[tuple[int, int]], totals: list[float], node: tuple[int, int], total: float, sums: Array) -> None:
        """A subtree, whose sum is in the row of `sums` after those of `nodes`; siblings become one subtree."""
        nodes.append(node)
        totals.append(total)
        while len(nodes) > 1 and siblings(*nodes[-2:]):
            left = sums[len(nodes) - 2, ...]
            left += sums[len(nodes) - 1, ...]
            nodes[-2:] = [(nodes[-2][0], 2 * nodes[-2][1])]
            totals[-2:] = [totals[-2] + totals[-1]]


def gradient_sum(backend: Any, work: Any, rows: int, buffers: dict[int, Array]) -> OwnGradient:
    """What suits a step: alone, with others, or with others in a fixed order; buffers – of the executor, for the latter."""
    if work.communicator is None:
        return OwnGradient(backend, work, rows)
    return GradientInFixedOrder(backend, work, rows, buffers) if work.division.fixed else SummedGradient(backend, work, rows)
