"""Keeps pinned memory alive until the device has read it; otherwise CuPy's pool could reuse it for other data."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def keep_until_read(owner: object, events: Iterable[Any]) -> None:
    """Waits, when `owner` is garbage-collected, for the copies from its pinned memory before the memory is freed.

    Args: events – each recorded after the last copy from a part of the memory; must not refer to the owner.
    """
    # At the end of the process the memory is no longer reused.
    weakref.finalize(owner, _wait, tuple(events)).atexit = False


def _wait(events: tuple[Any, ...]) -> None:
    with suppress(RuntimeError):  # after a device error nothing is copied any more
        for event in events:
            event.synchronize()
