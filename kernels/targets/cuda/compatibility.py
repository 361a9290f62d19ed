"""Makes Numba CUDA work with newer NumPy versions: temporarily provides names that NumPy removed and Numba CUDA still uses.

`Generated.function` calls it before each compilation. Other checks of the compiler are in backends/cuda/toolchain.py.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .geometry import SIMULATED

ARRAY_FUNCTIONS = "numba.cuda.np.arrayobj"
"""The module that registers array functions for kernels; Numba imports it at the first compilation."""
_one_at_a_time = threading.Lock()


def _row_stack(arrays: Sequence[Any]) -> Any:
    """`row_stack` of NumPy before 2.5; not `vstack` itself, which would be registered twice."""
    return np.vstack(arrays)


REMOVED = {"row_stack": _row_stack}
"""Names that numba-cuda, at least up to 0.30.4, imports from NumPy without checking that they exist."""


def load_array_functions() -> None:
    """Imports the array functions of Numba CUDA; missing names are added to NumPy during the import and removed afterwards."""
    if SIMULATED or ARRAY_FUNCTIONS in sys.modules:
        return
    with _one_at_a_time:
        missing = {name: function for name, function in REMOVED.items() if not hasattr(np, name)}
        try:
            for name, function in missing.items():
                setattr(np, name, function)
            importlib.import_module(ARRAY_FUNCTIONS)
        finally:
            for name in missing:
                delattr(np, name)
