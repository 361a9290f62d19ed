"""The segments of the arena on CPU backends, with prepared data for their updates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .bounded_cache import BoundedCache

Array = Any


class Segments:
    """int64 [segments, 3]: start, stop, group; and what a backend made for them.

    Copies and pickles of it hold the table alone: what was made refers to arrays by their place in memory.
    """

    def __init__(self, table: Array) -> None:
        self.table = table
        self.elements = int((table[:, 1] - table[:, 0]).sum())
        self._made = BoundedCache()

    def __reduce__(self) -> Any:
        return Segments, (self.table,)

    def made(self, key: Hashable, arrays: Sequence[Array], make: Callable[[], Any]) -> Any:
        """What was made for these very arrays, made now where there is none."""
        # What is kept holds the arrays, so that none of these numbers is given to another one.
        return self._made.made((key, *map(id, arrays)), lambda: (arrays, make()))[1]
