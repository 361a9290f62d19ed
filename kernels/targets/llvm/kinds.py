"""The types of the kernel language: numbers of a fixed width, and row-major arrays of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scalar:
    """A number.

    Attributes: name – as in Python source ("f32"); family – "f" for floating-point, "i" for signed, "u" for unsigned, "b" for
        truth values; bits – its width.
    """

    name: str
    family: str
    bits: int

    @property
    def llvm(self) -> str:
        """The type in LLVM's assembly."""
        return {"f32": "float", "f64": "double"}.get(self.name, f"i{self.bits}")

    @property
    def size(self) -> int:
        """Bytes of an element of an array."""
        return max(1, self.bits // 8)


F32, F64 = Scalar("f32", "f", 32), Scalar("f64", "f", 64)
I32, I64 = Scalar("i32", "i", 32), Scalar("i64", "i", 64)
U8, U16, U32, U64 = (Scalar(f"u{bits}", "u", bits) for bits in (8, 16, 32, 64))
BOOL = Scalar("bool", "b", 1)

_OF_DTYPE = {
    np.dtype(name): kind
    for name, kind in (
        ("f4", F32), ("f8", F64), ("i4", I32), ("i8", I64), ("u1", U8), ("u2", U16), ("u4", U32), ("u8", U64), ("?", BOOL)
    )
}  # fmt: skip


def scalar_of(dtype: Any) -> Scalar:
    """The kind of a NumPy type."""
    return _OF_DTYPE[np.dtype(dtype)]


def dtype_of(kind: Scalar) -> np.dtype[Any]:
    """NumPy's type for a kind of number."""
    return next(dtype for dtype, own in _OF_DTYPE.items() if own == kind)


@dataclass(frozen=True)
class ArrayOf:
    """A row-major array without gaps.

    Attributes: dtype – NumPy's type of its elements; dimensions; written – whether a kernel may write to it.
    """

    dtype: np.dtype[Any]
    dimensions: int
    written: bool

    @property
    def element(self) -> Scalar:
        """The kind of its elements."""
        return scalar_of(self.dtype)


Kind = Scalar | ArrayOf
