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
        while key not in self and len(self) >= self.most:
            self.pop(next(iter(self)))
        super().__setitem__(key, thing)

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for a key, made now where there is none."""
        if key not in self:
            self[key] = make()
        return self[key]
