"""Clocks: host clock, device events, and a fixed clock for dry runs; they are used in timing.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Finish = Callable[[], None]

DOUBTED, DOUBT = 5e-3, 0.8
"""From that many host seconds on, event times below this fraction of them are rejected."""


class Clock:
    """The host clock: from `start` until the submitted work is finished."""

    def start(self) -> Any:
        """A mark, for `stop`."""
        return time.perf_counter()

    def stop(self, started: Any, finish: Finish, checked: bool = True) -> float:
        """Seconds since the mark; calls `finish`, which waits for the work.

        Args: checked – whether only the timed work was submitted since the mark.
        """
        del checked
        finish()
        return float(time.perf_counter() - started)


class Events(Clock):
    """Events on the current stream of a device: time from start to end of the work, by the clock of the device.

    They do not include work on other streams: if the host waited considerably longer than the event time, the host time is
    used.

    Args: mark – makes an event and records it on the current stream; milliseconds – between two events that have happened.
    """

    def __init__(self, mark: Callable[[], Any], milliseconds: Callable[[Any, Any], float]) -> None:
        self._mark = mark
        self._milliseconds = milliseconds

    def start(self) -> Any:
        """Time of the host, and an event."""
        return time.perf_counter(), self._mark()

    def stop(self, started: Any, finish: Finish, checked: bool = True) -> float:
        """See Clock.stop."""
        begun, first = started
        last = self._mark()
        finish()
        waited = time.perf_counter() - begun
        seconds = 1e-3 * self._milliseconds(first, last)
        return waited if checked and waited > DOUBTED and seconds < DOUBT * waited else seconds


class StandIn(Clock):
    """Measures nothing: everything takes a second. For dry runs, which run all code without reporting figures."""

    def stop(self, started: Any, finish: Finish, checked: bool = True) -> float:
        """1.0, after the work is done."""
        del started, checked
        finish()
        return 1.0


HOST = Clock()


def cupy_events() -> Events:
    """Events of CuPy, on its current stream."""
    import cupy

    def mark() -> Any:
        event = cupy.cuda.Event()
        event.record(cupy.cuda.get_current_stream())
        return event

    return Events(mark, cupy.cuda.get_elapsed_time)


def torch_events() -> Events:
    """Events of PyTorch, on its current stream."""
    import torch

    def mark() -> Any:
        event: Any = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return Events(mark, lambda first, last: float(first.elapsed_time(last)))
