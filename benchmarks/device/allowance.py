"""The time limit of a part: the remaining time, and the termination of calls that exceed it."""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Allowance:
    """Seconds from now on.

    Args: seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begun = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    @property
    def left(self) -> float:
        """Remaining seconds, at least 0."""
        return max(0.0, self.seconds - self.spent)

    def until(self, fraction: float) -> float:
        """Seconds until at most that fraction is left; infinity without a limit."""
        return self.seconds if math.isinf(self.seconds) else self.left - fraction * self.seconds

    def below(self, fraction: float) -> bool:
        """Whether less than that fraction is left."""
        return self.left < fraction * self.seconds


AGAIN = 10.0
"""Seconds after which OutOfTime is raised once more."""


class OutOfTime(BaseException):
    """Preparation of a contender exceeded the time limit.

    Not derived from Exception, like KeyboardInterrupt, because compilers convert every Exception to another one, or continue
    after it.
    """


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Context that raises OutOfTime after that many seconds, in the main thread of systems with alarm signals.

    It is raised between two Python operations, and again every few seconds in case it is caught. A single call of a library and
    its own threads are not interrupted; `watchdog` handles calls that never return.
    """
    if math.isinf(seconds) or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: object) -> None:
        del number, frame
        raise OutOfTime(f"not ready within {seconds:.0f} s; run it again with --resume")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


GRACE = 150.0
"""Grace period in seconds after the time limit of a part, because fusedstep steps are compiled without a limit."""
ENDED = 3
"""Exit code of a process that ended itself, so that another process should run the other parts."""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Context that ends the whole process after that time, because a hanging call would use the time of all other parts."""
    if math.isinf(seconds):
        yield
        return
    timer = threading.Timer(seconds, _end, (seconds,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(seconds: float) -> None:
    try:
        print(f"no response within {seconds:.0f} s; run it again with --resume", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(sys.stderr)
    finally:
        os._exit(ENDED)
