"""Keys of streams of a device, for everything that belongs to a stream: buffers, workspaces, captured steps."""

from __future__ import annotations

import threading
from collections.abc import Hashable

PER_THREAD = 2
"""The handle of CUDA's per-thread default stream, which is the same for all threads."""


def own_stream(pointer: int) -> Hashable:
    """A stream, told apart from those of other threads that have the same handle."""
    return (pointer, threading.get_ident()) if pointer == PER_THREAD else pointer
