"""Dictionary keys for streams: buffers, workspaces and captured steps belong to a stream."""

from __future__ import annotations

import threading
from collections.abc import Hashable

PER_THREAD = 2
"""Handle of CUDA's per-thread default stream. The handle is the same in all threads, although the streams differ."""


def own_stream(pointer: int) -> Hashable:
    """A key for the stream with this handle; for the per-thread default stream it includes the thread."""
    return (pointer, threading.get_ident()) if pointer == PER_THREAD else pointer
