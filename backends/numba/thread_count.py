"""Selects the number of threads for short plans by timing: distributing the work may cost more than it saves.

Two CPUs may be two threads of one core, or busy with other work, and this changes over time. Results do not depend on the
number of threads, so it may change from run to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

WARM_UP = 2
"""Runs that are not counted: buffers are touched for the first time."""
TRIALS = 4
"""Runs with each number of threads, in turn, before one of them is chosen."""
REST = 2_000
"""Runs until they are tried again."""
LONGEST = 2e-3
"""Seconds of a run from which on all threads walk: handing it out is then a small part of it."""
GAIN = 0.97
"""Part of the time of all threads below which fewer of them are worth it."""


class ThreadCount:
    """The numbers of threads that are tried in turn, what they took, and the best of them.

    Args: threads – that may walk; each half of it is tried as well, down to one.
    """

    def __init__(self, threads: int) -> None:
        self.candidates = _halves(threads)
        self.best = threads
        self._runs = -WARM_UP
        self._trials = TRIALS * len(self.candidates)
        self._seconds: list[float] = [0.0] * self._trials

    def walkers(self) -> int:
        """Threads for the next run."""
        if 0 <= self._runs < self._trials:
            return self.candidates[self._runs % len(self.candidates)]
        return self.best

    def took(self, seconds: float) -> None:
        """What that run took."""
        if 0 <= self._runs < self._trials:
            self._seconds[self._runs] = seconds
        self._runs += 1
        if self._runs == 0 and seconds > LONGEST:
            self._runs = self._trials
            self.best = self.candidates[0]
        elif self._runs == self._trials:
            self._choose()
        elif self._runs == self._trials + REST:
            self._runs = -1

    def _choose(self) -> None:
        every = len(self.candidates)
        typical = [median(self._seconds[k::every]) for k in range(every)]
        fastest = min(range(every), key=typical.__getitem__)
        self.best = self.candidates[fastest if typical[fastest] < GAIN * typical[0] else 0]


def _halves(threads: int) -> Sequence[int]:
    return [threads, *(_halves(threads // 2) if threads > 1 else ())]
