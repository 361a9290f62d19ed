"""The segments of the arena on CPU backends, with prepared data for their updates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .arrays import Array
from .bounded_cache import BoundedCache


class Segments:
    """A table int64 [segments, 3] with start, stop and group, and a cache of calls that a backend prepared for it.

    Copies and pickles contain only the table, because prepared calls contain addresses of arrays.
    """

    def __init__(self, table: Array) -> None:
        self.table = table
        self.elements = int((table[:, 1] - table[:, 0]).sum())
        self._made = BoundedCache()

    def __reduce__(self) -> Any:
        return Segments, (self.table,)

    def made(self, key: Hashable, arrays: Sequence[Array], make: Callable[[], Any]) -> Any:
        """The cached result of `make()` for this key and these array objects; computed if there is none."""
        # The entry also refers to the arrays, so that their ids are not reused while it exists.
        return self._made.made((key, *map(id, arrays)), lambda: (arrays, make()))[1]
