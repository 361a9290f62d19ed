"""Kernels compile beside a NumPy that has lost names which Numba CUDA asks for, in a process of their own each."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("numba_cuda", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")

COMPILED = """
from fusedstep.tools.kernel_variants import variants
from fusedstep.tools.ptx import ptx_of
variant = next(v for v in variants() if str(v) == "sgd_update-float32")
assert ".entry" in ptx_of(variant.source())
"""
LIKE_2_5 = """
import numpy as np
if hasattr(np, "row_stack"):
    del np.row_stack
    np.__all__.remove("row_stack")
"""
OF_A_USER = """
from numba import cuda
def nothing(x):
    x[0] = 1
def compile_it():
    return cuda.compile_ptx(nothing, "void(float32[::1])", cc=(9, 0))
"""


def run(*parts):
    done = subprocess.run([sys.executable, "-c", "\n".join(parts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_kernel_compiles_without_row_stack_and_numpy_is_afterwards_as_it_was():
    run(LIKE_2_5, COMPILED, 'assert not hasattr(np, "row_stack")')


def test_nothing_is_put_in_place_where_numpy_has_it():
    run(
        "import numpy as np",
        "np.row_stack = own = lambda arrays: np.vstack(arrays)",
        COMPILED,
        "assert np.row_stack is own",
    )


def test_it_is_put_in_place_after_numba_has_failed_without_it():
    """A kernel of somebody else's came first; where Numba CUDA needs no such name, it compiles."""
    attempt = "try:\n    compile_it()\nexcept AttributeError as error:\n    print(error)"
    run(LIKE_2_5, OF_A_USER, attempt, COMPILED, "compile_it()")
