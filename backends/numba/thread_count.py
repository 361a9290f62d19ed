"""Selects the number of threads for short plans by timing: distributing the work may cost more than it saves.

Two CPUs may be two threads of one core, or busy with other work, and this changes over time: waiting for a thread that lost its
core takes as long as many steps. Results do not depend on the number of threads, so it may change from run to run; a run of
many steps is cut into short ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from statistics import median
from typing import NamedTuple

WARM_UP = 2
"""Runs that are not counted: buffers are touched for the first time."""
TRIALS = 4
"""Runs with each number of threads, in turn, before one of them is chosen."""
FAIR_TRIALS = 2
"""Runs with a number of threads that is twice as slow as another one."""
TRIAL_STEPS = 8
"""Steps of a trial, where a run may have several, unless they take longer than TRIAL_SECONDS."""
TRIAL_SECONDS = 1e-3
REST = 0.2
"""Seconds until they are tried again; twice as many where the same number was chosen again, up to LONGEST_REST."""
LONGEST_REST = 16 * REST
LONGEST = 2e-3
"""Seconds of a step from which on all threads walk: handing it out is then a small part of it."""
BUSY = 10 * LONGEST
"""Seconds of a step below which it may be a short one on CPUs that are busy with other work: half of the threads tell."""
TOGETHER = 2e-3
"""Seconds of several steps that are run together, after which their time is looked at."""
GAIN = 0.97
"""Part of the time of all threads below which fewer of them are worth it."""
SLOW = 3.0
"""Times its usual time that several steps take, at which they are ended and the numbers are tried again."""


class Turn(NamedTuple):
    """A run: its threads, its steps at most, and the seconds after which it is ended, in all and by step."""

    threads: int
    steps: float = math.inf
    seconds: float = math.inf
    seconds_per_step: float = math.inf



class ThreadCount:
    """The numbers of threads that are tried in turn, what they took, and the best of them.

    Args: threads – that may walk; each half of it is tried as well, down to one.
    """

    def __init__(self, threads: int) -> None:
        self.candidates = _halves(threads)
        self.best = threads
        self._took = (0.0, 1)
        self._turns = self._all_turns()
        self._turn = next(self._turns)

    def walkers(self) -> int:
        """Threads for the next run."""
        return self._turn.threads

    def steps(self, most: int) -> int:
        """Steps of the next run, where as many as `most` are left."""
        return int(min(most, self._turn.steps))

    def limit(self, steps: int) -> float:
        """Seconds after which a run of so many steps should be ended."""
        return min(self._turn.seconds, self._turn.seconds_per_step * steps)

    def took(self, seconds: float, steps: int = 1) -> None:
        """What that run took, and the steps that it had."""
        self._took = (seconds, max(steps, 1))
        turn = next(self._turns, None)
        if turn is None:  # an interrupt has ended them
            self._turns = self._all_turns()
            turn = next(self._turns)
        self._turn = turn

    @property
    def _each(self) -> float:
        """Seconds of a step of the last run."""
        return self._took[0] / self._took[1]

    def _all_turns(self) -> Generator[Turn, None, None]:
        """One run after the other, without end; `_took` is what the last one took."""
        rest = REST / 2
        while (yield from self._is_long()):
            yield from self._rest(LONGEST_REST, math.inf)
        while True:
            before = self.best
            usual = yield from self._trials()
            rest = min(2 * rest, LONGEST_REST) if self.best == before else REST
            yield from self._rest(rest, usual)

    def _is_long(self) -> Generator[Turn, None, bool]:
        """Whether all threads walk without a trial."""
        fastest = math.inf
        for _ in range(WARM_UP):
            yield Turn(self.candidates[0], 1)
            fastest = min(fastest, self._each)
        if LONGEST < fastest < BUSY and len(self.candidates) > 1:
            yield Turn(self.candidates[1], 1)
            return self._each > GAIN * fastest
        return fastest > LONGEST

    def _trials(self) -> Generator[Turn, None, float]:
        """Chooses the best; returns the seconds of a step."""
        times: dict[int, list[float]] = {count: [] for count in self.candidates}
        for trial in range(TRIALS):
            for count, own in times.items():
                if trial < FAIR_TRIALS or min(own) < 2.0 * min(map(min, times.values())):
                    yield Turn(count, TRIAL_STEPS, TRIAL_SECONDS)
                    own.append(self._each)
        typical = {count: median(own) for count, own in times.items()}
        fastest = min(typical, key=typical.__getitem__)
        self.best = fastest if typical[fastest] < GAIN * typical[self.candidates[0]] else self.candidates[0]
        return typical[self.best]

    def _rest(self, seconds: float, usual: float) -> Generator[Turn, None, None]:
        """Runs with the best for so many seconds, or until steps are slow; they are not if there is but one thread."""
        limit = math.inf if self.best == self.candidates[-1] else SLOW * usual
        steps = math.inf if usual == math.inf else max(1, int(TOGETHER / usual))
        while seconds > 0.0:
            yield Turn(self.best, steps, math.inf, limit)
            seconds -= self._took[0]
            if self._took[1] > 1 and self._each > limit:
                return


def _halves(threads: int) -> Sequence[int]:
    return [threads, *(_halves(threads // 2) if threads > 1 else ())]
