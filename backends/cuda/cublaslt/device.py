"""What plans need from the device in addition to the library: addresses, streams, workspaces and timing."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ....errors import OutOfDeviceMemory
from ...arrays import Array
from ..capture import capture

WORKSPACE_BYTES = 32 << 20
"""Workspace of each stream; the size that NVIDIA recommends for its largest devices."""
LEAST_SECONDS, MOST_RUNS = 2e-3, 100
"""A measurement lasts at least so many seconds, but consists of at most so many runs."""


class CupyDevice:
    """The current device, through CuPy.

    Args: lock – a new one by default.
    Attributes: identity – text that describes device and driver; measures – whether timing is meaningful (not in the
        simulator); lock – held while plans are created, timed or captured, so that only one thread does so at a time.
    """

    identity: str
    measures = True

    def __init__(self, cupy: Any, lock: AbstractContextManager[Any] | None = None) -> None:
        self._cupy = cupy
        self.lock = lock or threading.RLock()
        self._current = cupy.cuda.get_current_stream
        self._stopwatch = cupy.cuda.Stream(non_blocking=True)
        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(runtime.getDevice())
        name = properties["name"].decode()
        self.identity = (
            f"{name}, capability {properties['major']}.{properties['minor']}, {properties['multiProcessorCount']} "
            f"multiprocessors, driver {runtime.driverGetVersion()}"
        )

    def address(self, array: Array) -> int:
        """The address of the first element."""
        return int(array.data.ptr)

    def stream(self) -> int:
        """The current stream."""
        return int(self._current().ptr)

    def recording(self) -> bool:
        """Whether the current stream is being captured, so that nothing may be timed or allocated."""
        return bool(self._current().is_capturing())

    def bytes(self, size: int) -> Array:
        """A new flat uint8 array whose address is a multiple of 256; CuPy allocates at multiples of 512."""
        try:
            return self._cupy.empty((size,), dtype=self._cupy.uint8)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfDeviceMemory(
                f"expected {size >> 20} MiB of device memory for the products of a stream; got {error}; free arrays, or use a "
                "smaller batch_size"
            ) from error

    def copy(self, array: Array) -> Array:
        """A new array with the same values."""
        return array.copy()

    def seconds(self, run: Callable[[], object]) -> float:
        """Time per run, measured in a captured graph on a separate stream, so that host time is not included."""
        cuda = self._cupy.cuda
        cuda.Device().synchronize()
        stream = self._stopwatch
        with stream:
            run()
            stream.synchronize()
            once = self._timed(stream, run)
            runs = int(min(max(LEAST_SECONDS / max(once, 1e-7), 1), MOST_RUNS))
            graph = capture(self._cupy, lambda: [run() for _ in range(runs)])
            graph.launch(stream)
            return statistics.median(self._timed(stream, lambda: graph.launch(stream)) for _ in range(3)) / runs

    def _timed(self, stream: Any, run: Callable[[], object]) -> float:
        cuda = self._cupy.cuda
        start, stop = cuda.Event(), cuda.Event()
        start.record(stream)
        run()
        stop.record(stream)
        stop.synchronize()
        return float(cuda.get_elapsed_time(start, stop)) * 1e-3
