"""A cache of limited size: a new entry replaces the oldest one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

MOST = 4


class BoundedCache(dict[Hashable, Any]):
    """A dictionary with at most `most` entries, by default MOST."""

    most = MOST

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: Hashable, thing: Any) -> None:
        if key not in self:
            # `list` copies the keys in one go, because another thread may change the dictionary meanwhile.
            for oldest in list(self)[: max(0, len(self) - self.most + 1)]:
                self.pop(oldest, None)
        super().__setitem__(key, thing)

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The entry of a key; if there is none, the result of `make()`, which is stored."""
        found = self.get(key)
        if found is None:
            found = self[key] = make()
        return found
