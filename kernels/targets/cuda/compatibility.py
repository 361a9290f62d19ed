"""Makes Numba CUDA work with newer NumPy versions: provides names that it still uses while its array functions load.

Every kernel passes here once, through `Generated.function`. What else a compiler needs is in backends/cuda/toolchain.py.
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
"""The module that registers the array functions of kernels; Numba imports it at the first compilation."""
_one_at_a_time = threading.Lock()


def _row_stack(arrays: Sequence[Any]) -> Any:
    """What NumPy before 2.5 had as `row_stack`; not `vstack` itself, which would then be registered twice."""
    return np.vstack(arrays)


REMOVED = {"row_stack": _row_stack}
"""Names that numba-cuda, up to 0.30.4 at least, takes from NumPy without asking whether they are there."""


def load_array_functions() -> None:
    """Imports the array functions of Numba CUDA, with NumPy as they expect it; NumPy is then as it was before.

    Where NumPy has all the names, or where the module is loaded, nothing is put in place.
    """
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
