"""Numba's objects for memory and streams of CuPy; cached, because creating one takes longer than a launch."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

WRAPPED = 16_384
"""Number of cached objects of each kind."""


@lru_cache(maxsize=WRAPPED)
def wrapped(pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Numba's device array for this memory.

    It does not own the memory: whoever launches a kernel must keep the array alive. A later array at the same address with the
    same shape and dtype gets the same object.
    """
    from numba.cuda.api import from_cuda_array_interface

    return from_cuda_array_interface(
        {"data": (pointer, False), "shape": shape, "typestr": dtype.str, "strides": None, "version": 3}, sync=False
    )


@lru_cache(maxsize=1024)
def _stream(pointer: int) -> Any:
    """Numba's object for a stream of CuPy; 0 is the default stream in both."""
    from numba import cuda

    return cuda.external_stream(pointer) if pointer else 0


@lru_cache(maxsize=WRAPPED)
def launcher(compiled: Any, pointer: int, grid: tuple[int, ...], block: tuple[int, ...], shared: int = 0) -> Any:
    """A compiled kernel configured for a launch: its stream, grid, block, and bytes of dynamic shared memory."""
    with warnings.catch_warnings():
        # Numba warns about every grid of less than 128 blocks, which small arrays have.
        warnings.filterwarnings("ignore", message=".*Grid size .* under-utilization")
        return compiled[grid, block, _stream(pointer), shared]
