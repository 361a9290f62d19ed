"""Captures work of the device in a CuPy graph, together with the memory that it allocates.

A graph writes intermediate results to fixed addresses. CuPy's pool would reuse them after the arrays are freed, so the graph
owns all memory that was allocated during capture, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any


class CapturedGraph:
    """A graph of the device and the memory that it writes to.

    Args: graph – CuPy's; held – what was allocated while it was captured.
    """

    __slots__ = ("_graph", "_held")

    def __init__(self, graph: Any, held: list[Any]) -> None:
        self._graph = graph
        self._held = held

    def launch(self, stream: Any = None) -> None:
        """Hands everything to a stream, the current one unless given."""
        self._graph.launch(stream)


def capture(cupy: Any, work: Callable[[], object]) -> CapturedGraph:
    """A graph of what `work` hands to the current stream; nothing is computed meanwhile.

    Raises: what `work` raises; the stream captures nothing any more then.
    """
    cuda = cupy.cuda
    stream, allocate = cuda.get_current_stream(), cuda.get_allocator()
    held: list[Any] = []

    def hold(size: int) -> Any:
        memory = allocate(size)
        held.append(memory)
        return memory

    stream.begin_capture()
    try:
        with cuda.using_allocator(hold):
            work()
    except BaseException:
        with suppress(RuntimeError):  # what was captured so far is of no use, and may be invalid
            stream.end_capture()
        raise
    return CapturedGraph(stream.end_capture(), held)


@lru_cache(maxsize=1)
def driver_errors() -> tuple[type[Exception], ...]:
    """What Numba and the package cuda.core below it raise where the driver refuses a call: no RuntimeErrors."""
    found: list[type[Exception]] = []
    with suppress(ImportError):
        from numba.cuda.cudadrv.error import CudaDriverError

        found.append(CudaDriverError)
    with suppress(ImportError):
        from cuda.core._utils.cuda_utils import CUDAError

        found.append(CUDAError)
    return tuple(found)
