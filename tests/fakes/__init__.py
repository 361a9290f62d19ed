"""Doubles of what a machine may lack: a CUDA device, and cuBLASLt.

Tests use them, and dry runs of a checkout; they are not installed.
"""

from __future__ import annotations

from ...backends.contract import Backend
from ...backends.selection import backend, replace_backend


def simulate_cuda() -> Backend:
    """From now on, in this process, "cuda" is the backend in Numba's simulator.

    Returns: that backend.
    Raises: BackendUnavailable without Numba CUDA, or where Numba was imported without NUMBA_ENABLE_CUDASIM=1.
    """
    from .simulated_cuda import SimulatedCuda

    replace_backend("cuda", SimulatedCuda)
    return backend("cuda")
