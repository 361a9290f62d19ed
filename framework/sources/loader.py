"""The loader: a thread that reads the next minibatch into one of two slots while a step works on the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.slots import Slot
from ...errors import DataFileError, FusedstepError

Array = Any
Cut = tuple[int, int]
"""Places start to stop of the order of an epoch."""
Fill = Callable[[tuple[NDArray[Any], ...], int, int], None]


class Loader:
    """Reads cuts one after the other; `next` gives them in that order, and is called once for each.

    Args: fill – (host arrays, start, stop): reads a cut into the first rows of the arrays; slots – at least two;
        cuts – what to read, in order.
    """

    def __init__(self, fill: Fill, slots: Iterable[Slot], cuts: Iterable[Cut]) -> None:
        self._fill = fill
        self._cuts = cuts
        self._slots = list(slots)
        self._free: SimpleQueue[Slot | None] = SimpleQueue()
        self._ready: SimpleQueue[tuple[Slot, int] | BaseException] = SimpleQueue()
        self._held: Slot | None = None
        self._stopping = False
        for slot in self._slots:
            self._free.put(slot)
        self._thread = threading.Thread(target=self._work, name="fusedstep loader", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for start, stop in self._cuts:
                slot = self._free.get()
                if slot is None or self._stopping:
                    return
                slot.begin()
                self._fill(slot.host, start, stop)
                slot.send(stop - start)
                self._ready.put((slot, stop - start))
        except BaseException as error:  # it is raised again where the minibatch is waited for
            self._ready.put(error)

    def next(self) -> tuple[Array, ...]:
        """The arrays of the next cut on the backend, which may be read until the next call.

        Raises: what went wrong in the thread: errors of this package and MemoryError as they are, others as DataFileError with
            the original error as its cause.
        """
        if self._held is not None:
            self._held.release()
            self._free.put(self._held)
            self._held = None
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            if isinstance(item, FusedstepError | MemoryError) or not isinstance(item, Exception):
                raise item
            raise DataFileError(
                f"expected the rows of a minibatch; reading them failed ({type(item).__name__}: {item}); "
                "check the file, or the source's read(rows, out)"
            ) from item
        self._held, rows = item
        return self._held.receive(rows)

    def close(self) -> None:
        """Ends the thread; afterwards nothing reads and nothing is copied any more."""
        self._stopping = True
        self._free.put(None)
        if self._held is not None:
            self._held.release()
            self._held = None
        self._thread.join()
        for slot in self._slots:
            slot.close()


def fast_finite(block: NDArray[Any]) -> bool:
    """Whether all values are finite: the sum first, which is quick, and only then one by one."""
    if block.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(block.sum())) or bool(np.isfinite(block).all())
