"""The time that a part may take: what is left of it, and an end to what takes longer."""

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


class OutOfTime(BaseException):
    """Somebody took longer to get ready than there was time.

    No Exception, as KeyboardInterrupt is none: compilers turn every Exception into one of their own, or go on after it.
    """


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within it OutOfTime is raised when so many seconds are over, in the main thread of systems that have alarms.

    It comes between two operations of Python, and again every few seconds in case that somebody catches it: a single call into
    a library is not interrupted, nor is what the library does meanwhile in threads of its own. For calls that never return
    there is `watchdog`.
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
"""Seconds after the end of its time that a part is waited for: our own steps are compiled however long that takes."""
ENDED = 3
"""Exit code of a process that ended itself, and whose other parts another process is to do."""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Ends the whole process when what is done within it lasts so long: a call that hangs would take the time of all others."""
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
