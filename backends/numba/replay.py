"""A captured pass as a table that compiled code executes: calls, grouped into tasks, grouped into phases.

Tasks of a phase may run concurrently; there is a barrier between phases.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.targets.native import Address, address_of
from ..profiling import Label
from .thread_count import ThreadCount
from .thread_pool import thread_pool

Array = Any


class Replay:
    """Built call by call, then run any number of times.

    Args: sources – arrays of the minibatch; the program reads them wherever those of a run are.
    """

    def __init__(self, sources: Sequence[Array]) -> None:
        self._ranges = [(address_of(a), address_of(a) + max(int(a.nbytes), 1)) for a in sources]
        self._words: list[int] = []
        self._calls: list[tuple[int, int]] = []
        self._tasks: list[tuple[int, int]] = []
        self._phases: list[int] = [0]
        self._moving: list[tuple[int, int, int]] = []
        self._references: list[Any] = []
        self._places: list[Address] = []
        self.labels: list[Label] = []

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
        self._arrivals = np.zeros(len(self._phases), np.int64)
        self._job = np.array([*map(address_of, self._tables), len(self._phases) - 1, address_of(self._arrivals), 0], np.int64)
        # A plain number: compiled functions take long to find out what a subclass is.
        self._place = int(address_of(self._job))
        self._paces: dict[int, ThreadCount] = {}
        return self

    @property
    def phases(self) -> int:
        """How many have been ended so far."""
        return len(self._phases) - 1

    def run(self, sources: Sequence[Array], threads: int, times: Array | None = None, phases: int | None = None) -> None:
        """All phases, or only the first few.

        Args: sources – as in the constructor, of the same shapes and types; times – int64 [calls] where nanoseconds are
            added up, where wanted; phases – how many, all by default.
        """
        if sources:
            places = [address_of(a) for a in sources]
            if places != self._places:
                self._places = places
                self._table[self._where] = np.array(places, np.int64)[self._source] + self._offset
        self._arrivals.fill(0)
        self._job[3] = len(self._phases) - 1 if phases is None else phases
        self._job[5] = 0 if times is None else address_of(times)
        most = min(threads, self.width)
        if most == 1 or times is not None:
            thread_pool().run(self._place, most)
            return
        count = self._paces.get(most)
        if count is None:
            count = self._paces[most] = ThreadCount(most)
        start = time.perf_counter()
        thread_pool().run(self._place, count.walkers())
        count.took(time.perf_counter() - start)
