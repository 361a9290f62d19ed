"""What Numba says when a launch is prepared, which takes no device."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("numba_cuda", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")


def nothing(x):
    """A kernel."""


@pytest.mark.parametrize("grid", [(1,), (3, 5), (127,), (128,)])
def test_small_work_may_have_a_small_grid(grid):
    from numba import cuda

    from fusedstep.backends.cuda import handles

    kernel = cuda.jit(nothing)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        launcher = handles.launcher(kernel, 0, grid, (32,), 64)
    assert not said
    assert launcher.griddim == (*grid, 1, 1)[:3]
    assert (launcher.blockdim, launcher.sharedmem) == ((32, 1, 1), 64)


def test_numba_would_warn_of_it():
    from numba import cuda

    with pytest.warns(Warning, match="Grid size 1 will likely result in GPU under-utilization"):
        cuda.jit(nothing)[(1,), (33,)]
