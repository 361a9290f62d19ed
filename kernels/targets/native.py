"""Compiled kernels that are called without the interpreter: their arguments lie as words in memory, in the order of the call.

A word is 64 bits wide. An array is its address and its extents, a number is its bits. A whole pass through a network is then a
table of (entry, address of its words), which threads walk with the GIL released; see backends/numba.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from .gemm_choices import gemm_address
from .llvm.exports import exported
from .llvm.kinds import F32, F64, ArrayOf, Kind
from .llvm.machine import Native
from .llvm.memory import call, load


def words_of(parameters: Mapping[str, Kind], arguments: Sequence[Any]) -> list[int]:
    """The arguments of a kernel as whole numbers; raises a TypeError where an array is not what the kernel was made for."""
    words: list[int] = []
    for kind, value in zip(parameters.values(), arguments, strict=True):
        if isinstance(kind, ArrayOf):
            if value.dtype != kind.dtype or value.ndim != kind.dimensions or not value.flags.c_contiguous:
                raise TypeError(
                    f"expected a row-major array of {kind.dimensions} dimensions of {kind.dtype}; got {value.dtype} with shape "
                    f"{value.shape} and strides {value.strides}"
                )
            if kind.written and not value.flags.writeable:
                raise TypeError(f"expected an array that can be written to; got a read-only one of shape {value.shape}")
            words += [address_of(value), *value.shape]
        elif kind is F32:
            words.append(struct.unpack("<i", struct.pack("<f", float(value)))[0])
        elif kind is F64:
            words.append(struct.unpack("<q", struct.pack("<d", float(value)))[0])
        else:
            words.append(int(value))
    return words


class Address(int):
    """A whole number that is a place in memory."""


def address_of(array: Any) -> Address:
    """Where the first element of a NumPy array lies."""
    return Address(array.__array_interface__["data"][0])


# Products

GEMM = """
def gemm(address):
    call(
        load(address), address + 8, address + 16, address + 24, address + 32, address + 40, address + 48, load(address + 56),
        address + 64, load(address + 72), address + 80, address + 88, load(address + 96), address + 104)
"""


@cache
def gemm_entry() -> Native:
    """A product with the words of `gemm_words`."""
    return Native(exported(GEMM, {"load": load, "call": call}, ("gemm",))["gemm"])


def gemm_words(
    dtype: np.dtype[Any], a: tuple[Address, int, bool], b: tuple[Address, int, bool], out: tuple[Address, int],
    extents: tuple[int, int, int], accumulate: bool,
) -> list[int]:  # fmt: skip
    """Words of out [m, n] (+)= op(a) [m, k] op(b) [k, n], all row-major.

    Args: a, b – (address, elements from row to row, whether op is the transpose); out – (address, elements from row to
        row); extents – (m, n, k).
    """
    m, n, k = extents
    numbers = [F32 if dtype == np.float32 else F64] * 2
    one, beta = words_of(dict(enumerate(numbers)), (1.0, float(accumulate)))  # type: ignore[arg-type]
    gemm = gemm_address(dtype, (a[2], b[2]), extents)
    # Fortran sees every row-major matrix transposed, so it is asked for out^T = op(b)^T op(a)^T.
    return [
        gemm, ord("T" if b[2] else "N"), ord("T" if a[2] else "N"), n, m, k, one, b[0], max(b[1], 1),
        a[0], max(a[1], 1), beta, out[0], max(out[1], 1),
    ]  # fmt: skip


def gemm_columns(words: Sequence[int], size: int, low: int, high: int) -> list[int]:
    """`gemm_words` for the columns from low to high of the result, where op(b) is b; size – bytes of an element."""
    gemm, *forms, _, m, k, one, b, b_row, a, a_row, beta, out, out_row = words
    return [gemm, *forms, high - low, m, k, one, b + low * size, b_row, a, a_row, beta, out + low * size, out_row]
