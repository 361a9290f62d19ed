"""The gradient of processes of one host, added up in memory that they share, by compiled code in the middle of a step.

Each process adds up one part of the gradient: (1) all meet; (2) it copies the other parts of its own gradient to where all can
read them; (3) all meet; (4) it completes the sum of its part, and squares it; (5) all meet; (6) all read the whole sum, until
(1) of the next step. What a process gives to another one goes where the sum will be, if it is the first to add there.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        # Of each process, what it gives to others where it is not the first; the rest is never touched, and so takes no memory.
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
        rank, count = self._together.rank, self._together.size
        further = [p for p in range(count) if p != rank and rank != _first_to_add(p, count)]
        return self._edges[-1] + sum(self._edges[part + 1] - self._edges[part] for part in further)

    def add_to(self, program: Replay, totals: Array) -> None:
        """Adds the calls from (1) to (5), after the gradient of this process; totals – float64, the losses of its shards."""
        rank, count = self._together.rank, self._together.size
        first = _first_to_add(rank, count)
        self._meet(program)
        program.end_phase()
        for part in range(count):
            to = self.gradient if rank == _first_to_add(part, count) else self._given[rank]
            for here in self._chunks(part) if part != rank or count == 1 else ():
                self._call(program, self._kernels.copy, self._own[here], to[here])
                program.end_task()
        program.end_phase()
        self._meet(program)
        program.end_phase()
        for chunk, here in enumerate(self._chunks(rank), self._first_chunks[rank]):
            for other in range(count) if count > 1 else ():
                if other != first:
                    own = self._own if other == rank else self._given[other]
                    self._call(program, self._kernels.add_to, self.gradient[here], own[here])
            self._call(program, self._kernels.sum_of_squares, self.gradient[here], self.squares[chunk : chunk + 1])
            program.end_task()
        self._call(program, self._kernels.total, totals, self.totals[rank : rank + 1])
        self._call(program, self._kernels.copy, self._wish, self._numbers[rank])
        program.end_task()
        program.end_phase()
        self._meet(program)

    def _chunks(self, part: int) -> Iterator[slice]:
        """The chunks of the part of a process."""
        low, high = self._edges[part : part + 2]
        for start in range(low, high, CHUNK):
            yield slice(start, min(start + CHUNK, high))

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


def _first_to_add(part: int, count: int) -> int:
    """The process that writes to the sum of the part of another one first."""
    return (part + 1) % count


def _edges(size: int, count: int) -> list[int]:
    """Where the parts of the processes begin, and the end of the last one."""
    lines = -(-size // LINE)
    return [min(size, LINE * (lines * k // count)) for k in range(count + 1)]
