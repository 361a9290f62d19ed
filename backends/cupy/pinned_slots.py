"""Slots of a CUDA device: pinned host memory, copied on a separate stream while the previous step computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..slots import Array, Kind, Slot
from .pinned import keep_until_read


class PinnedSlot(Slot):
    """A Slot in pinned memory. Only the loader's thread waits for the device, before it overwrites a minibatch that is being
    copied.

    Two events order the work: the copy waits, on its stream, for the last step that read this slot, and the step waits, on its
    own stream, for the copy.
    """

    def __init__(self, backend: Any, kinds: Sequence[Kind]) -> None:
        import cupyx

        cuda = backend.xp.cuda
        self.host = tuple(cupyx.empty_pinned(shape, dtype) for shape, dtype in kinds)
        self._own: tuple[Array, ...] = tuple(backend.empty(*kind) for kind in kinds)
        self._cuda = cuda
        self._device = cuda.Device()
        self._stream = cuda.Stream(non_blocking=True)
        self._copied = cuda.Event(disable_timing=True)
        self._used = cuda.Event(disable_timing=True)
        # The pool may have returned memory that earlier work on the current stream still reads.
        self._used.record(cuda.get_current_stream())
        keep_until_read(self, [self._copied])

    def begin(self) -> None:
        """See Slot.begin."""
        with self._device:
            self._copied.synchronize()

    def send(self, rows: int) -> None:
        """See Slot.send."""
        with self._device:
            self._stream.wait_event(self._used)
            for host, own in zip(self.host, self._own, strict=True):
                own[:rows].set(host[:rows], stream=self._stream)
            self._copied.record(self._stream)

    def receive(self, rows: int) -> tuple[Array, ...]:
        """See Slot.receive."""
        self._cuda.get_current_stream().wait_event(self._copied)
        return tuple(own[:rows] for own in self._own)

    def release(self) -> None:
        """See Slot.release."""
        self._used.record(self._cuda.get_current_stream())

    def close(self) -> None:
        """See Slot.close."""
        self._copied.synchronize()
