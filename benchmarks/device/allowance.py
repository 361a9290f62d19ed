"""The time that a part may take: what is left of it, and whether it was kept."""

from __future__ import annotations

import time


class Allowance:
    """Seconds from now on.

    Args: seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begun = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    @property
    def left(self) -> float:
        """Seconds, 0 where they are spent."""
        return max(0.0, self.seconds - self.spent)

    def below(self, share: float) -> bool:
        """Whether less than that share is left."""
        return self.left < share * self.seconds
