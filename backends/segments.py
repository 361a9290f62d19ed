"""The segments of the arena as the CPU backends keep them, with what was prepared for updating them."""

from __future__ import annotations

from typing import Any

from .kept import Kept

Array = Any


class Segments:
    """int64 [segments, 3]: start, stop, group; and what a backend made for them.

    Copies and pickles of it hold the table alone: what was made refers to arrays by their place in memory.
    """

    def __init__(self, table: Array) -> None:
        self.table = table
        self.elements = int((table[:, 1] - table[:, 0]).sum())
        self.made = Kept()

    def __reduce__(self) -> Any:
        return Segments, (self.table,)


def places(arrays: Any) -> tuple[Any, ...]:
    """What tells whether these are the arrays that something was made for."""
    return tuple((a.__array_interface__["data"][0], a.size, a.strides, a.dtype) for a in arrays)
