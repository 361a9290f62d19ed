"""A cache of limited size: a new entry replaces the oldest one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

MOST = 4


class BoundedCache(dict[Hashable, Any]):
    """At most MOST things, unless another number is given."""

    most = MOST

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: Hashable, thing: Any) -> None:
        if key not in self:
            # A list at once: another thread may add or drop something while this one looks for the oldest.
            for oldest in list(self)[: max(0, len(self) - self.most + 1)]:
                self.pop(oldest, None)
        super().__setitem__(key, thing)

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for a key, made now where there is none."""
        found = self.get(key)
        if found is None:
            found = self[key] = make()
        return found
