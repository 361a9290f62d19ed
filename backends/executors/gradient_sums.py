"""What is done with the gradient of a minibatch that comes in parts: nothing more, or a sum over processes that train together.

The parts are added to `work.gradient` by the executor; the objects here are told when a part is there.
"""

from __future__ import annotations

from typing import Any

from ..communicators.division import siblings, subtrees

Array = Any


class OwnGradient:
    """Of a process that trains alone: the gradient is complete after the last part.

    Args: backend, work – of the executor; rows – of the minibatch.
    """

    def __init__(self, backend: Any, work: Any, rows: int) -> None:
        self.backend = backend
        self.work = work
        self.rows = rows
        self.total: Any = 0.0
        self.squares: Any = 0.0
        backend.fill(work.gradient, 0.0)

    def add(self, total: Any, squares: Any, stop: int) -> None:
        """After a part: the sum of its losses, the squares of the gradient so far, and the first row after it."""
        del stop
        self.total, self.squares = self.total + total, squares

    def finished(self) -> tuple[Any, Any]:
        """(sum of the losses, sum of squares of the gradient) of the whole minibatch, whose gradient is in `work.gradient`."""
        return self.total, self.squares


class SummedGradient(OwnGradient):
    """The sum over all processes; its order is that of the library that communicates."""

    def finished(self) -> tuple[Any, Any]:
        """See OwnGradient; the squares are those of the sum."""
        together, backend, gradient = self.work.communicator, self.backend, self.work.gradient
        done = together.start_sum(gradient)
        self.total = together.sum_losses(self.total, backend)
        done()
        return self.total, backend.sum_of_squares(gradient)


class GradientInFixedOrder(OwnGradient):
    """The sum over fixed shards of the minibatch, in the order of a binary tree, whatever process computed them.

    Each process adds the shards of its own subtrees, all get the sums of all subtrees, and add these.
    """

    def __init__(self, backend: Any, work: Any, rows: int) -> None:
        super().__init__(backend, work, rows)
        self._shards = work.division.shards(rows)
        self._shard, _ = work.division.of_rank(rows, work.communicator.rank)
        self._totals: list[float] = []
        self._nodes: list[tuple[int, int]] = []
        levels = self._shards.bit_length() + 1
        self._sums = backend.empty((levels, int(work.gradient.shape[0])), backend.dtype_name(work.gradient))

    def add(self, total: Any, squares: Any, stop: int) -> None:
        """See OwnGradient; with its last part, a shard is added to those before it."""
        super().add(total, squares, stop)
        if stop < self.rows * (self._shard + 1) // self._shards:
            return
        backend, gradient = self.backend, self.work.gradient
        backend.copy(gradient, self._sums[len(self._nodes), ...])
        self._push(self._nodes, self._totals, (self._shard, 1), float(backend.item(self.total)), self._sums)
        self._shard, self.total = self._shard + 1, 0.0
        backend.fill(gradient, 0.0)

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


def gradient_sum(backend: Any, work: Any, rows: int) -> OwnGradient:
    """What suits a step: alone, with others, or with others in a fixed order."""
    if work.communicator is None:
        return OwnGradient(backend, work, rows)
    return (GradientInFixedOrder if work.division.fixed else SummedGradient)(backend, work, rows)
