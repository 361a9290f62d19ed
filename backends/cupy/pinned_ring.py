"""Sends scalars from the host to a CUDA device before each step: a ring of pinned memory, copied asynchronously.

Minibatches, which a thread fills on another stream, are in pinned_slots.py.
"""

from __future__ import annotations

from typing import Any

from .pinned import keep_until_read

Array = Any

SLOTS = 32
"""How far the host may be ahead of the device before it waits; a place takes as many bytes as the array."""


class PinnedRing:
    """Overwrites one array of the device with numbers of the host, in the order of the current stream.

    The device reads a place when it comes to the copy, which may be long after `send`. So each place has an event behind its
    last copy, and is written again only when the device is past that.

    Args: backend; out – the array, row-major without gaps.
    """

    def __init__(self, backend: Any, out: Array) -> None:
        import cupyx

        self._cuda = cuda = backend.xp.cuda
        self._out = out
        slots = cupyx.empty_pinned((SLOTS, *out.shape), out.dtype)
        self._slots = [(slots[k, ...], cuda.Event(disable_timing=True)) for k in range(SLOTS)]
        self._sent = 0
        keep_until_read(self, (event for _, event in self._slots))

    def send(self, values: Any) -> None:
        """Hands the numbers over; they may be changed at once.

        Args: values – of the array's shape, an array of the host or nested lists; rounded to its type.
        """
        host, read = self._slots[self._sent % SLOTS]
        self._sent += 1
        read.synchronize()  # an event that was never recorded is past
        host[...] = values
        stream = self._cuda.get_current_stream()
        self._out.set(host, stream=stream)
        read.record(stream)
