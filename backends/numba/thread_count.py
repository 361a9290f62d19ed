"""Selects the number of threads for short plans by timing: distributing the work may cost more than it saves.

Two CPUs may be two threads of one core, or busy with other work, and this changes over time: waiting for a thread that lost its
core takes as long as many steps. Results do not depend on the number of threads, so it may change from run to run; a run of
many steps is cut into short ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

WARM_UP = 2
"""Runs that are not counted: buffers are touched for the first time."""
TRIALS = 4
"""Runs with each number of threads, in turn, before one of them is chosen."""
TRIAL_STEPS = 8
"""Steps of a trial, where a run may have several, unless they take longer than TRIAL_SECONDS."""
TRIAL_SECONDS = 1e-3
REST = 2_000
"""Steps until they are tried again; twice as many where the same number was chosen again, up to LONGEST_REST."""
LONGEST_REST = 8 * REST
LONGEST = 2e-3
"""Seconds of a step from which on all threads walk: handing it out is then a small part of it."""
TOGETHER = 2e-3
"""Seconds of several steps that are run together, after which their time is looked at."""
GAIN = 0.97
"""Part of the time of all threads below which fewer of them are worth it."""
SLOW = 3.0
"""Times its usual time that several steps take, at which they are ended and the numbers are tried again."""


class ThreadCount:
    """The numbers of threads that are tried in turn, what they took, and the best of them.

    Args: threads – that may walk; each half of it is tried as well, down to one.
    """

    def __init__(self, threads: int) -> None:
        self.candidates = _halves(threads)
        self.best = threads
        self._runs = -WARM_UP
        self._trials = TRIALS * len(self.candidates)
        self._seconds: list[float] = [math.inf] * self._trials
        self._usual = math.inf
        self._rest = REST // 2

    def walkers(self) -> int:
        """Threads for the next run."""
        if 0 <= self._runs < self._trials:
            return self.candidates[self._runs % len(self.candidates)]
        return self.best

    def steps(self, most: int) -> int:
        """Steps of the next run, where as many as `most` are left."""
        if self._runs < self._trials:
            return 1 if self._runs < 0 else min(most, TRIAL_STEPS)
        return min(most, max(1, int(TOGETHER / self._usual))) if self._usual < LONGEST else most

    def limit(self, steps: int) -> float:
        """Seconds after which a run of so many steps should be ended, because fewer threads may be faster now."""
        if self._runs < self._trials:
            return TRIAL_SECONDS
        return SLOW * steps * self._usual if self._usual < LONGEST and len(self.candidates) > 1 else math.inf

    def took(self, seconds: float, steps: int = 1) -> None:
        """What that run took, and the steps that it had."""
        each = seconds / max(steps, 1)
        if self._runs >= self._trials:
            self._runs += steps
            if self._runs >= self._trials + self._rest or (steps > 1 and each > SLOW * self._usual):
                self._runs = -1
            return
        if self._runs >= 0:
            self._seconds[self._runs] = each
        self._runs += 1
        if self._runs == 0 and each > LONGEST:
            self._runs = self._trials
            self.best = self.candidates[0]
            self._usual = each
        elif self._runs == self._trials:
            self._choose()

    def _choose(self) -> None:
        every = len(self.candidates)
        typical = [median(self._seconds[k::every]) for k in range(every)]
        fastest = min(range(every), key=typical.__getitem__)
        chosen = fastest if typical[fastest] < GAIN * typical[0] else 0
        self._rest = min(2 * self._rest, LONGEST_REST) if self.candidates[chosen] == self.best else REST
        self.best, self._usual = self.candidates[chosen], typical[chosen]


def _halves(threads: int) -> Sequence[int]:
    return [threads, *(_halves(threads // 2) if threads > 1 else ())]
