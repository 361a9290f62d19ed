"""Products of NumPy arrays: with the GEMM of oneMKL if it is the default library, otherwise with NumPy's library.

In a forked child NumPy is used even if MKL is selected: a child without MKL's threads was once observed to wait for them
forever.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .blas import Blas, mkl

Array = np.ndarray[Any, Any]

_LARGEST = 2**31 - 1
"""MKL counts rows, columns and strides in 32 bits here."""

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class GemmLayout(NamedTuple):
    """How a matrix lies in memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def line(self) -> tuple[str, int] | None:
        """("N" for row-major or "T" for the transpose of that, elements from one line to the next); None for all else."""
        (rows, columns), size = self.shape, self.dtype.itemsize
        down, right = (stride // size for stride in self.strides)
        if (down * size, right * size) != self.strides:
            return None
        for form, step, line, count, lines in (("N", right, down, columns, rows), ("T", down, right, rows, columns)):
            line = line if lines > 1 else max(line, count)
            if (step == 1 or count == 1) and count <= line <= _LARGEST:
                return form, line
        return None


def _layout(array: Array) -> GemmLayout:
    return GemmLayout(array.shape, array.strides, array.dtype)


@lru_cache(maxsize=256)
def _gemm(a: GemmLayout, b: GemmLayout, out: GemmLayout, accumulate: bool) -> Callable[[int, int, int], None] | None:
    """MKL's GEMM for matrices that lie like these, called with their addresses; None where it cannot read or write them."""
    library = mkl()
    if library is None or not a.dtype == b.dtype == out.dtype or out.dtype.str not in ("<f4", "<f8"):
        return None
    lines = [layout.line for layout in (a, b, out)]
    sides = [line for line in lines if line is not None]
    if len(sides) < 3 or sides[2][0] == "T" or min(*a.shape, *b.shape) == 0 or max(*a.shape, *b.shape) > _LARGEST:
        return None
    return bound_gemm(library, out.dtype, (*out.shape, a.shape[1]), sides, accumulate)


def bound_gemm(
    library: Blas, dtype: np.dtype[Any], extents: Sequence[int], sides: Sequence[tuple[str, int]], accumulate: bool = False
) -> Callable[[int, int, int], None]:
    """A library's GEMM in float32 or float64 for out [m, n] = a [m, k] b [k, n], called with their addresses.

    Args: extents – (m, n, k); sides – of a, b and out, as `GemmLayout.line`, out row-major.
    """
    single = dtype.itemsize == 4
    real = ctypes.c_float if single else ctypes.c_double
    call = ctypes.CFUNCTYPE(None)(library.sgemm if single else library.dgemm)
    # Fortran sees every row-major matrix transposed, so it is asked for out^T = b^T a^T.
    m, n, k = (ctypes.byref(ctypes.c_int64(count)) for count in extents)
    form_a, form_b = (ctypes.byref(ctypes.c_char(form.encode())) for form, _ in sides[:2])
    line_a, line_b, line_out = (ctypes.byref(ctypes.c_int64(line)) for _, line in sides)
    one, beta = (ctypes.byref(real(value)) for value in (1.0, float(accumulate)))
    pointer = ctypes.c_void_p

    def gemm(a: int, b: int, out: int) -> None:
        call(form_b, form_a, n, m, k, one, pointer(b), line_b, pointer(a), line_a, beta, pointer(out), line_out)

    return gemm


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def multiply(a: Array, b: Array, out: Array, accumulate: bool = False, least: int = 0) -> None:
    """out [m, n] = a [m, k] b [k, n], or adds it to `out`.

    NumPy takes what MKL's GEMM cannot read or write: other types than float32 and float64, matrices with gaps between the
    elements of a row and of a column, an `out` that shares memory with a factor.

    Args: least – multiplications of the largest product that is left to NumPy in any case.
    """
    if a.size * b.shape[1] > least and mkl() is not None and not _forked:
        gemm = _gemm(_layout(a), _layout(b), _layout(out), accumulate)
        if (
            gemm is not None and a.flags.aligned and b.flags.aligned and out.flags.behaved
            and not np.may_share_memory(a, out) and not np.may_share_memory(b, out)
        ):  # fmt: skip
            gemm(_address(a), _address(b), _address(out))
            return
    if accumulate:
        out += a @ b
    elif out.flags.carray and out.dtype.isnative and a.dtype == b.dtype == out.dtype:
        a.dot(b, out)  # half a microsecond less than np.matmul, which writes to any `out`
    else:
        np.matmul(a, b, out)
