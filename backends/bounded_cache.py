"""A cache of limited size: a new entry replaces the oldest one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

MOST = 4


class BoundedCache(dict[Hashable, Any]):
    """At most MOST things."""

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for a key, made now where there is none."""
        if key not in self:
            thing = make()
            while len(self) >= MOST:
                self.pop(next(iter(self)))
            self[key] = thing
        return self[key]
