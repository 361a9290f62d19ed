"""Products of NumPy arrays by the GEMM of oneMKL, where that is what multiplies; NumPy's own `matmul` otherwise.

A product that is bound once hands MKL the same words each time and looks at none of its arrays again. In a child that was
forked NumPy multiplies, also where MKL was to: a child without MKL's threads was once seen waiting for them for ever.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .blas import mkl

Array = np.ndarray[Any, Any]

LEAST = 2**23
"""Multiplications from which on MKL is the faster one: its two threads need longer to wake, and shorter to multiply."""
_LARGEST = 2**31 - 1
"""MKL counts rows, columns and strides in 32 bits here."""

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Side(NamedTuple):
    """How a matrix lies in memory: whether row-major or the transpose of that, and elements from one line to the next."""

    transposed: bool
    line: int


def _side(array: Array) -> _Side | None:
    """None where the elements of neither rows nor columns lie side by side."""
    rows, columns = array.shape
    down, right = (stride // array.itemsize for stride in array.strides)
    if down * array.itemsize != array.strides[0] or right * array.itemsize != array.strides[1] or not array.flags.aligned:
        return None
    for transposed, step, line, count, lines in ((False, right, down, columns, rows), (True, down, right, rows, columns)):
        line = line if lines > 1 else max(line, count)
        if (step == 1 or count == 1) and count <= line <= _LARGEST:
            return _Side(transposed, line)
    return None


class Product:
    """out = a b, or out += a b, with arrays that lie as those it was made for.

    Calls with the same arrays are the fast ones; others of the same shapes and strides are taken too.
    """

    def __init__(self, address: int, a: Array, b: Array, out: Array, sides: tuple[_Side, _Side, _Side], accumulate: bool):
        # Fortran sees every row-major matrix transposed, so it is asked for out^T = b^T a^T.
        real = ctypes.c_float if out.dtype == np.float32 else ctypes.c_double
        m, n, k = (ctypes.byref(ctypes.c_int64(count)) for count in (*out.shape, a.shape[1]))
        form_a, form_b = (ctypes.byref(ctypes.c_char(b"T" if side.transposed else b"N")) for side in sides[:2])
        line_a, line_b, line_out = (ctypes.byref(ctypes.c_int64(side.line)) for side in sides)
        one, beta = (ctypes.byref(real(value)) for value in (1.0, float(accumulate)))
        self._gemm = ctypes.CFUNCTYPE(None)(address)
        self._words = [form_b, form_a, n, m, k, one, None, line_b, None, line_a, beta, None, line_out]
        self._arrays: tuple[Array | None, ...] = (None, None, None)
        self._accumulate = accumulate
        self._read(a, b, out)

    def _read(self, *arrays: Array) -> None:
        """Takes other arrays; they are held, because the words are their addresses."""
        for place, array, known in zip((8, 6, 11), arrays, self._arrays, strict=True):
            if array is not known:
                first = ctypes.c_char.from_address(array.__array_interface__["data"][0])
                self._words[place] = ctypes.byref(first)
        self._arrays = arrays

    def __call__(self, a: Array, b: Array, out: Array) -> None:
        """Computes it."""
        if _forked:
            by_numpy(a, b, out, self._accumulate)
            return
        known = self._arrays
        if a is not known[0] or b is not known[1] or out is not known[2]:
            self._read(a, b, out)
        self._gemm(*self._words)


def by_numpy(a: Array, b: Array, out: Array, accumulate: bool = False) -> None:
    """out = a b, or out += a b, by NumPy's own library."""
    if accumulate:
        out += a @ b
    else:
        np.matmul(a, b, out)


def multiplier(a: Array, b: Array, out: Array, accumulate: bool = False, least: int = LEAST) -> Product | None:
    """What computes out [m, n] = a [m, k] b [k, n], or adds it to `out`, by MKL.

    Args: least – multiplications of the smallest product that is left to it.
    Returns: None where MKL is not there or not wanted, in forked children, and for arrays that its GEMM cannot read or write:
        other types than float32 and float64, empty ones, those with gaps between the elements of a row and of a column, an
        `out` that shares memory with a factor.
    """
    library = None if _forked else mkl()
    if library is None or a.size * b.shape[1] < least or not a.dtype == b.dtype == out.dtype or not out.flags.writeable:
        return None
    address = {"f4": library.sgemm, "f8": library.dgemm}.get(out.dtype.str[1:])
    if address is None or not out.dtype.isnative or not min(a.size, b.size, out.size) or max(out.shape) > _LARGEST:
        return None
    sides = _side(a), _side(b), _side(out)
    if any(side is None for side in sides) or sides[2].transposed or a.shape[1] > _LARGEST:  # type: ignore[union-attr]
        return None
    if np.may_share_memory(a, out) or np.may_share_memory(b, out):
        return None
    return Product(address, a, b, out, sides, accumulate)  # type: ignore[arg-type]


def multipliers(given: Sequence[tuple[Array, Array, Array, bool]]) -> list[Product | None]:
    """What computes each of the products (a, b, out, accumulate) of one step: MKL all where one of them gains by it, or none.

    A thread of one library would wait for a core on which one of the other's still looks for work.
    """
    if all(a.size * b.shape[1] < LEAST for a, b, _, _ in given):
        return [None] * len(given)
    return [multiplier(*each, least=0) for each in given]
