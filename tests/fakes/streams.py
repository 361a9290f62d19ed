"""The streams of a device that is not there: which one each thread hands its work to, and which of them are captured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Calls = list[Callable[[], object]]


class SimulatedStreams(threading.local):
    """Which stream of a simulated device each thread hands its work to, and which of them are captured.

    Args: captured – by stream, the calls that are written down in place of being done, or None where they are done all the
        same; one table for all threads, because a stream is captured whoever hands work to it.
    """

    def __init__(self, captured: dict[int, Calls | None]) -> None:
        self.current = 0
        self.captured = captured

    @property
    def capturing(self) -> bool:
        """Whether the thread's stream is captured."""
        return self.current in self.captured

    @property
    def graph(self) -> Calls | None:
        """Where the thread's work is written down; None where it is done."""
        return self.captured.get(self.current)

    @contextmanager
    def on(self, stream: int) -> Iterator[None]:
        """Within it the thread's work goes to that stream."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def capture(self, calls: Calls | None) -> Iterator[None]:
        """Within it the current stream is captured."""
        self.captured[self.current] = calls
        try:
            yield
        finally:
            del self.captured[self.current]
