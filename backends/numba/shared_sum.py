"""The gradient of processes of one host, added up in memory that they share, by compiled code in the middle of a step.

Each process adds one part of the gradient: (1) it copies the other parts of its own gradient to where all can read them;
(2) all meet; (3) it adds to its own part what the others have for it, and squares the sum; (4) all meet; (5) all read the whole
sum. A process comes to (1) only after all have met at (4), and so have read what it gave them before, and to (3) only after all
have met at (2) of that step, and so are done with (5) of the one before: no memory is needed twice.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ...kernels.targets.memory import LINE, PAGE
from ...kernels.targets.native import address_of, words_of
from ..communicators.communicator import NOTHING, Wish
from ..profiling import Label
from .meeting import meeting_entry
from .operations import LEAST_ELEMENTS as CHUNK
from .replay import Replay
from .walk import SYSTEM, system_call

Array = Any


class SharedSum:
    """The memory, and the calls of a program that add in it.

    Attributes, the same in all processes: gradient – flat, the sum; totals [processes] – float64, the sum of the losses of each
        process; squares [chunks] – float64, the sum of the squares of each chunk of the gradient.

    Args: backend, work – of the executor; room – the memory, `size_for` bytes.
    """

    def __init__(self, backend: Any, work: Any, room: Array) -> None:
        self._kernels = backend._kernels
        self._together = work.communicator
        self._own = work.gradient
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
        self.gradient = take((size,), dtype)
        # Of each process, the parts that the others add; its own part is never touched, and so takes no memory.
        self._given = take((count, size), dtype)
        self._heard = memoryview(self._numbers.reshape(-1))
        self._complete = np.zeros(1, np.int64)
        self._wish = np.zeros(len(Wish().numbers))

    @classmethod
    def size_for(cls, work: Any) -> int:
        """Bytes of memory that it needs."""
        count, size, nbytes = int(work.communicator.size), int(work.gradient.size), int(work.gradient.nbytes)
        chunks = size // CHUNK + count + 1
        return (count + 1) * nbytes + 8 * (chunks + 8 * count) + 8 * PAGE

    @property
    def elements(self) -> int:
        """Elements of the gradient that this process touches: the sum, and the parts that it gives to the others."""
        low, high = self._edges[self._together.rank : self._together.rank + 2]
        return 2 * self._edges[-1] - (high - low)

    def add_to(self, program: Replay, totals: Array) -> None:
        """Adds the calls, up to (4), where the gradient of this process is complete; totals – float64, its losses."""
        rank, count = self._together.rank, self._together.size
        low, high = self._edges[rank : rank + 2]
        for other, (first, stop) in enumerate(pairwise(self._edges)):
            for start in range(first, stop, CHUNK) if other != rank else ():
                here = slice(start, min(start + CHUNK, stop))
                self._call(program, self._kernels.copy, self._own[here], self._given[rank, here])
                program.end_task()
        program.end_phase()
        self._meet(program)
        program.end_phase()
        others = [other for other in range(count) if other != rank]
        for chunk, start in enumerate(range(low, high, CHUNK), self._first_chunks[rank]):
            here = slice(start, min(start + CHUNK, high))
            given, total = [self._given[other, here] for other in others], self.gradient[here]
            if given:
                self._call(program, self._kernels.add, self._own[here], given[0], total)
            else:
                self._call(program, self._kernels.copy, self._own[here], total)
            for other in given[1:]:
                self._call(program, self._kernels.add_to, total, other)
            self._call(program, self._kernels.sum_of_squares, total, self.squares[chunk : chunk + 1])
            program.end_task()
        self._call(program, self._kernels.total, totals, self.totals[rank : rank + 1])
        self._call(program, self._kernels.copy, self._wish, self._numbers[rank])
        program.end_task()
        program.end_phase()
        self._meet(program)

    def _call(self, program: Replay, function: Any, *arguments: Array) -> None:
        kernel = self._kernels.kernel(function, arguments[0].dtype)
        moved = sum(int(a.nbytes) for a in arguments)
        label = Label(kernel.name, "gradient", "sum over processes", 0, moved)
        program.call(kernel.entry.address, words_of(kernel.parameters, arguments), label, arguments)

    def _meet(self, program: Replay) -> None:
        """Adds a call that waits for the other processes."""
        places = [address_of(array) for array in (self._counter, self._complete, self._together.meeting)]
        words = [*places, self._together.size, *map(system_call, SYSTEM[:2])]
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
