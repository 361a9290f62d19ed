"""A captured pass as a table that compiled code executes: calls, grouped into tasks, grouped into phases.

Tasks of a phase may run concurrently; there is a barrier between phases.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.targets.cpu import CpuKernel
from ...kernels.targets.native import Address, address_of, words_of
from ..profiling import Label
from .thread_count import ThreadCount
from .thread_pool import thread_pool
from .walk import CLOCK

Array = Any

STOPPED = 1
"""What a call writes to `Replay.stop`."""


class Replay:
    """Built call by call, then run any number of times.

    Attributes: stop – int64 [1], to which a call of the program may write STOPPED: a run of several steps then ends with this
        step.

    Args: sources – arrays of the minibatch; the program reads them wherever those of a run are.
    """

    def __init__(self, sources: Sequence[Array]) -> None:
        self._marks = np.zeros(3, np.int64)
        self.stop = self._marks[1:2]
        self._ranges = [(address_of(a), address_of(a) + max(int(a.nbytes), 1)) for a in sources]
        self._words: list[int] = []
        self._calls: list[tuple[int, int]] = []
        self._tasks: list[tuple[int, int]] = []
        self._phases: list[int] = [0]
        self._moving: list[tuple[int, int, int]] = []
        self._references: list[Any] = []
        self._places: list[Address] = []
        self.labels: list[Label] = []
        self._counts: dict[tuple[int, int], ThreadCount] = {}

    def call(self, entry: int, words: Sequence[int], label: Label, keep: Any = None) -> None:
        """Adds a call to the task at hand; `keep` stays alive as long as the program."""
        self._calls.append((entry, len(self._words)))
        for word in words:
            if isinstance(word, Address):
                for source, (low, high) in enumerate(self._ranges):
                    if low <= word < high:
                        self._moving.append((len(self._words), source, word - low))
            self._words.append(int(word))
        self.labels.append(label)
        self._references.append(keep)

    def kernel(self, kernel: CpuKernel, label: Label, *arguments: Any) -> None:
        """As `call`, for a compiled kernel on these arrays and numbers."""
        self.call(kernel.entry.address, words_of(kernel.parameters, arguments), label, arguments)

    def end_task(self) -> None:
        """The calls since the last task are one task."""
        first = self._tasks[-1][1] if self._tasks else 0
        if len(self._calls) > first:
            self._tasks.append((first, len(self._calls)))

    def end_phase(self) -> None:
        """The tasks since the last phase are one phase."""
        if len(self._tasks) > self._phases[-1]:
            self._phases.append(len(self._tasks))

    def finish(self) -> Replay:
        """Lays the tables out in memory."""
        self._table = np.array(self._words, np.int64)
        calls = np.array(self._calls, np.int64).reshape(-1, 2)
        calls[:, 1] = calls[:, 1] * 8 + address_of(self._table)
        self._tables = (calls, np.array(self._tasks, np.int64).reshape(-1, 2), np.array(self._phases, np.int64))
        moving = np.array(self._moving, np.int64).reshape(-1, 3)
        self._where, self._source, self._offset = (np.ascontiguousarray(moving[:, k]) for k in range(3))
        self.width = max((int(n) for n in np.diff(self._phases)), default=1)
        job = [*map(address_of, self._tables), len(self._phases) - 1, address_of(self._marks), 0, 1, 0]
        self._job = np.array(job, np.int64)
        self._all, self._place_of_phases = (0, self.phases), job[2]
        # A plain number: compiled functions take long to find out what a subclass is.
        self._place = int(address_of(self._job))
        return self

    @property
    def phases(self) -> int:
        """How many have been ended so far."""
        return len(self._phases) - 1

    def run(
        self, sources: Sequence[Array], threads: int, times: Array | None = None, phases: tuple[int, int] | None = None,
        steps: int = 1, seconds: float = math.inf,
    ) -> None:  # fmt: skip
        """All phases, or only some.

        Args: sources – as in the constructor, of the same shapes and types; times – int64 [calls] where nanoseconds are
            added up, where wanted; phases – the first one, and the first one after them, all by default; steps – how often they
            are run, one time after the other, unless `stop` ends it, or so many seconds have passed.
        """
        if sources:
            places = [address_of(a) for a in sources]
            if places != self._places:
                self._places = places
                self._table[self._where] = np.array(places, np.int64)[self._source] + self._offset
        first, last = phases or self._all
        self._job[2], self._job[3] = self._place_of_phases + 8 * first, last - first
        self._job[5] = 0 if times is None else address_of(times)
        most = min(threads, self.width)
        count = self._counts.get((most, first))
        if count is None:
            count = self._counts[most, first] = ThreadCount(most)
        if times is not None:
            self._walk(most, steps, 0)
            return
        start = time.perf_counter()
        end = start + seconds
        while True:
            now = count.steps(steps)
            walked = self._walk(count.walkers(), now, count.limit(now))
            before, start = start, time.perf_counter()
            count.took(start - before, walked)
            steps -= walked
            if steps <= 0 or self.stop[0] == STOPPED or start > end:
                return

    def _walk(self, threads: int, steps: int, limit: float) -> int:
        """Runs so many steps, or fewer where they take longer than the limit, or where a call stops them; how many it were."""
        self._marks.fill(0)
        self._job[6] = steps
        timed = steps > 1 and limit < math.inf and CLOCK != 0
        self._job[7] = time.clock_gettime_ns(CLOCK) + int(1e9 * limit) if timed else 0
        thread_pool().run(self._place, threads)
        return int(self._marks[2])
