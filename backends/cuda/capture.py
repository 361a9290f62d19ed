"""Captures work on the device in a CUDA graph, through CuPy, together with the memory that it allocates.

A graph writes intermediate results to fixed addresses. CuPy's pool would reuse this memory after the arrays are freed, so the
graph owns exactly the memory that was allocated during capture.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any


class CapturedGraph:
    """A CUDA graph and the memory that it writes to.

    Args: graph – of CuPy; held – the memory that was allocated during capture.
    """

    __slots__ = ("_graph", "_held")

    def __init__(self, graph: Any, held: list[Any]) -> None:
        self._graph = graph
        self._held = held

    def launch(self, stream: Any = None) -> None:
        """Launches the graph on a stream, by default the current one."""
        self._graph.launch(stream)


def capture(cupy: Any, work: Callable[[], object]) -> CapturedGraph:
    """A graph of the work that `work` submits to the current stream; nothing is computed during capture.

    Raises: the errors of `work`, after capture was ended.
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
        with suppress(RuntimeError):  # the partial graph is discarded, and may be invalid
            stream.end_capture()
        raise
    return CapturedGraph(stream.end_capture(), held)


@lru_cache(maxsize=1)
def driver_errors() -> tuple[type[Exception], ...]:
    """Errors of Numba and of the package cuda.core that it uses, for failed driver calls; they are no RuntimeErrors."""
    found: list[type[Exception]] = []
    with suppress(ImportError):
        from numba.cuda.cudadrv.error import CudaDriverError

        found.append(CudaDriverError)
    with suppress(ImportError):
        from cuda.core._utils.cuda_utils import CUDAError

        found.append(CUDAError)
    return tuple(found)
