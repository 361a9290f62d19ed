"""Numba handles of CuPy memory and streams; cached, because creating one takes longer than a launch."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

WRAPPED = 16_384
"""Device arrays whose wrappers for Numba are kept."""


@lru_cache(maxsize=WRAPPED)
def wrapped(pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Numba's handle on device memory.

    It holds no reference: the caller that launches a kernel holds the array, and a later array at the same place, with the same
    shape and type, is described by the same handle.
    """
    from numba.cuda.api import from_cuda_array_interface

    return from_cuda_array_interface(
        {"data": (pointer, False), "shape": shape, "typestr": dtype.str, "strides": None, "version": 3}, sync=False
    )


@lru_cache(maxsize=1024)
def _stream(pointer: int) -> Any:
    """Numba's handle on CuPy's stream; 0 is the default one for both."""
    from numba import cuda

    return cuda.external_stream(pointer) if pointer else 0


@lru_cache(maxsize=WRAPPED)
def launcher(compiled: Any, pointer: int, grid: tuple[int, ...], block: tuple[int, ...], shared: int = 0) -> Any:
    with warnings.catch_warnings():
        # Numba warns of every grid of less than 128 blocks, in bold type; small work has small grids.
        warnings.filterwarnings("ignore", message=".*Grid size .* under-utilization")
        return compiled[grid, block, _stream(pointer), shared]
