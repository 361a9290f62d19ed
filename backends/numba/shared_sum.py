"""The gradient of processes of one host, added up in memory that they share, by compiled code in the middle of a step.

The gradient of each process lies in that memory, and each of them adds up one part of it, which becomes that part of its own
gradient: (1) all meet, before any of them writes; (2) each computes its gradient; (3) all meet; (4) each adds what the others
have for its part, and squares the sum; (5) all meet; (6) all read the parts of all, until (1) of the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ...kernels.targets.memory import LINE, PAGE
from ...kernels.targets.native import address_of
from ..communicators.communicator import NOTHING, Wish
from ..profiling import Label
from ..segments import Segments
from .meeting import SYSTEM, meeting_entry
from .operations import LEAST_ELEMENTS as CHUNK
from .replay import Replay
from .walk import system_call

Array = Any


class SharedSum:
    """The memory, and the calls of a program that add in it.

    Attributes: own – flat, the gradient of this process; totals [processes] – float64, the sum of the losses of each process;
        squares [chunks] – float64, the sum of the squares of each chunk of the sum, the same in all processes.

    Args: backend, work – of the executor; room – the memory, `size_for` bytes.
    """

    def __init__(self, backend: Any, work: Any, room: Array) -> None:
        self._kernels = backend._kernels
        self._together = work.communicator
        self._state = work.state
        count, size, dtype = self._together.size, work.gradient.size, work.gradient.dtype
        self._edges = _edges(size, count)
        self._first_chunks = np.cumsum([0, *(-(-(high - low) // CHUNK) for low, high in pairwise(self._edges))]).tolist()
        place = 0

        def take(shape: tuple[int, ...], dtype: Any) -> Array:
            nonlocal place
            nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
            found = room[place : place + nbytes].view(dtype).reshape(shape)
            place += -(-nbytes // PAGE) * PAGE
            return found

        self._counter = take((LINE // 8,), np.int64)
        self.totals = take((count,), np.float64)
        self._numbers = take((count, len(Wish().numbers)), np.float64)
        self.squares = take((self._first_chunks[-1],), np.float64)
        self._gradients = take((count, size), dtype)
        self.own = self._gradients[self._together.rank]
        self._heard = memoryview(self._numbers.reshape(-1))
        self._complete = np.zeros(1, np.int64)
        self._wish = np.zeros(len(Wish().numbers))

    @classmethod
    def size_for(cls, work: Any) -> int:
        """Bytes of memory that it needs."""
        count, size, nbytes = int(work.communicator.size), int(work.gradient.size), int(work.gradient.nbytes)
        chunks = size // CHUNK + count + 1
        return count * nbytes + 8 * (chunks + 8 * count) + 8 * PAGE

    def begin(self, program: Replay) -> None:
        """Adds the calls of (1)."""
        self._meet(program)
        program.end_phase()

    def add_to(self, program: Replay, totals: Array) -> None:
        """Adds the calls from (3) to (5); totals – float64, the losses of the shards of this process."""
        rank, count = self._together.rank, self._together.size
        low, high = self._edges[rank : rank + 2]
        self._meet(program)
        program.end_phase()
        for chunk, start in enumerate(range(low, high, CHUNK), self._first_chunks[rank]):
            here = slice(start, min(start + CHUNK, high))
            for other in range(count):
                if other != rank:
                    self._call(program, self._kernels.add_to, self.own[here], self._gradients[other, here])
            self._call(program, self._kernels.sum_of_squares, self.own[here], self.squares[chunk : chunk + 1])
            program.end_task()
        self._call(program, self._kernels.total, totals, self.totals[rank : rank + 1])
        self._call(program, self._kernels.copy, self._wish, self._numbers[rank])
        program.end_task()
        program.end_phase()
        self._meet(program)

    def updates(self) -> Iterator[Any]:
        """The update of each part, from the gradient of the process that has added it up."""
        for gradient, (low, high) in zip(self._gradients, pairwise(self._edges), strict=True):
            update = self._state.update(gradient)
            table = update.segments.table.copy()
            table[:, :2] = table[:, :2].clip(low, high)
            yield update._replace(segments=Segments(table[table[:, 0] < table[:, 1]]))

    def copy_to(self, out: Array) -> None:
        """Copies the whole sum, between (5) of a step and (1) of the next one."""
        for gradient, (low, high) in zip(self._gradients, pairwise(self._edges), strict=True):
            out[low:high] = gradient[low:high]

    def _call(self, program: Replay, function: Any, *arguments: Array) -> None:
        kernel = self._kernels.kernel(function, arguments[0].dtype)
        moved = sum(int(a.nbytes) for a in arguments)
        label = Label(kernel.name, "gradient", "sum over processes", 0, moved)
        program.kernel(kernel, label, *arguments)

    def _meet(self, program: Replay) -> None:
        """Adds a call that waits for the other processes."""
        places = [address_of(array) for array in (self._counter, self._complete, self._together.meeting)]
        words = [*places, self._together.size, *map(system_call, SYSTEM)]
        label = Label("meet", "gradient", "sum over processes", 0, 0)
        program.call(meeting_entry().address, words, label, self)
        program.end_task()

    def tell(self) -> None:
        """Before steps: what this process wishes, which all learn with the sums."""
        self._wish[:] = self._together.own_wish.numbers

    def hear(self) -> None:
        """After steps: what any process wished in the last one."""
        self._together.wish = Wish.of_all(*self._numbers.sum(0).tolist()) if any(self._heard) else NOTHING


def _edges(size: int, count: int) -> list[int]:
    """Where the parts of the processes begin, and the end of the last one."""
    lines = -(-size // LINE)
    return [min(size, LINE * (lines * k // count)) for k in range(count + 1)]
