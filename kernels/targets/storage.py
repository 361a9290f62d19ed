"""Storage of real numbers: float32 and float64 unchanged, bfloat16 and float16 widened when read and rounded when written.

Kernels compute only in float32 or float64; this file generates loads and stores for the targets that compile Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...errors import MissingDependency
from ...extras import install_line

NARROW = ("bfloat16", "float16")
"""Types of 16 bits that arrays may have and that nothing is computed in."""


def bfloat16() -> np.dtype[Any]:
    """NumPy's bfloat16, which the package ml_dtypes defines; raises MissingDependency without it."""
    try:
        import ml_dtypes
    except ImportError as error:
        raise MissingDependency(
            "expected the package ml_dtypes, which gives NumPy the type bfloat16; it is not installed; "
            + install_line("precision")
        ) from error
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def is_narrow(array: Any) -> bool:
    """Whether an array has elements of 16 bits, which are widened before anything is computed."""
    return getattr(array.dtype, "itemsize", 0) == 2 and str(array.dtype) in NARROW


def computed_in(dtypes: Iterable[Any]) -> np.dtype[Any]:
    """What a kernel on arrays of these types computes in: float64 where all are, else float32."""
    return np.dtype(np.float64 if all(d == np.float64 for d in dtypes) else np.float32)


class Storage:
    """One type that reals are stored in.

    Attributes: name – of the type; seen – the type that a kernel sees instead, of the same size.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = np.dtype(np.uint16 if name == "bfloat16" else name)

    def load(self, stored: str) -> str:
        """The expression of the value that the expression `stored` holds."""
        if self.name == "bfloat16":
            return f"u32(u32({stored}) << u32(16)).view(np.float32)"
        return f"f32({stored})" if self.name == "float16" else stored

    def rounded(self, value: str, random: str | None = None) -> tuple[list[str], str]:
        """(statements, expression of what is stored) for a variable that holds a value.

        bfloat16 is rounded to nearest, ties to even: adding 0x7fff, or 0x8000 where the last bit kept is 1, carries into it.
        Where 16 `random` bits are given, these are added, so that the expectation of what is stored is the value itself.
        NaN is kept apart, because that carry could make it an infinity or a zero.
        """
        if self.name != "bfloat16":
            return [], value
        bits = f"{value}_bits"
        more = f"u64({random})" if random else f"u64(32767) + ((u64({bits}) >> u64(16)) & u64(1))"
        nan = f"(u64({bits}) >> u64(16)) | u64(64)"
        before = [f"{bits} = f32({value}).view(np.uint32)"]
        return before, f"u16((u64({bits}) + {more}) >> u64(16)) if {value} == {value} else u16({nan})"

    def store(self, place: str, value: str, random: str | None = None) -> list[str]:
        """Statements that write a variable's value to a place."""
        before, stored = self.rounded(value, random)
        return [*before, f"{place} = {stored}"]
