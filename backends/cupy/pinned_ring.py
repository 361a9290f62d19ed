"""Sends scalars from the host to a CUDA device before each step: a ring buffer in pinned memory, copied asynchronously.

Minibatches, which the loader's thread copies on another stream, are in pinned_slots.py.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array
from .pinned import keep_until_read

SLOTS = 32
"""Number of slots of a ring: how many steps the host may be ahead of the device before it waits."""


class PinnedRing:
    """Overwrites one array on the device with numbers from the host, in the order of the current stream.

    The device reads a slot when it executes the copy, which may be long after `send`. So an event is recorded after the copy
    from each slot, and the host overwrites the slot only when this event has completed.

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
        """Submits a copy of the numbers; the caller may change them immediately afterwards.

        Args: values – an array on the host or nested lists, of the shape of `out`; rounded to its type.
        """
        host, read = self._slots[self._sent % SLOTS]
        self._sent += 1
        read.synchronize()  # returns at once for an event that was never recorded
        host[...] = values
        stream = self._cuda.get_current_stream()
        self._out.set(host, stream=stream)
        read.record(stream)
