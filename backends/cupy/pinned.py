"""Keeps pinned memory until the device has read it; otherwise CuPy's pool could reuse it for other data."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def keep_until_read(owner: object, events: Iterable[Any]) -> None:
    """When `owner`, which holds pinned memory, is gone, waits for the copies from it first.

    Args: events – each recorded behind the last copy from a part of the memory; they hold no reference to the owner.
    """
    # At the end of the process the memory is no longer reused.
    weakref.finalize(owner, _wait, tuple(events)).atexit = False


def _wait(events: tuple[Any, ...]) -> None:
    with suppress(RuntimeError):  # a device that was lost reads nothing any more
        for event in events:
            event.synchronize()
