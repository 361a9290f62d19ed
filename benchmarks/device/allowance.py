"""The time that a part may take: what is left of it, and an end to what takes longer."""

from __future__ import annotations

import math
import signal
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
        """Seconds, 0 where they are spent."""
        return max(0.0, self.seconds - self.spent)

    def until(self, share: float) -> float:
        """Seconds until no more than that share is left; infinity where there is no end."""
        return self.seconds if math.isinf(self.seconds) else self.left - share * self.seconds

    def below(self, share: float) -> bool:
        """Whether less than that share is left."""
        return self.left < share * self.seconds


AGAIN = 10.0
"""Seconds after which OutOfTime is raised once more."""


class OutOfTime(Exception):
    """Somebody took longer to get ready than there was time."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within it OutOfTime is raised when so many seconds are over, in the main thread of systems that have alarms.

    It comes between two operations of Python, and again every few seconds in case that somebody catches it: a single call into
    a library is not interrupted.
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
