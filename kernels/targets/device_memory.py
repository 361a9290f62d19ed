"""Out-of-memory errors of the libraries of a CUDA device: each raises a different exception."""

from __future__ import annotations

SIGNS = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory")


def is_exhausted(error: BaseException) -> bool:
    """Whether an error of the runtime, the driver, cuBLAS or Numba says that the device has no memory left."""
    return any(sign in str(error) for sign in SIGNS)
