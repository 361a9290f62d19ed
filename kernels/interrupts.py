"""Delays SIGINT during operations that must not be interrupted, such as loading a compiler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within it SIGINT (Ctrl-C, the stop button of a notebook) waits until the end, in the main thread, which alone hears it.

    Numba that is interrupted while it is loaded, or compiles for the first time, cannot compile any more in that process.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])
