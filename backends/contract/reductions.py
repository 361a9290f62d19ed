"""Sums of a backend over whole arrays, and clipping by the global norm.

On a device their results stay there.
"""

from __future__ import annotations

from typing import Any

from .arrays import Arrays

Array = Any
Scalar = Any


class Reductions(Arrays):
    """Sums in float64."""

    def total(self, x: Array) -> Scalar:
        """The sum of all elements, at least in float64 on the host and in float32 on a device."""
        self.require(x)
        return self.xp.sum(self.wide(x), dtype=self.xp.float64)

    def sum_of_squares(self, x: Array) -> Scalar:
        """The sum of the squares of all elements of a flat array; infinite or NaN if any element is."""
        self.require(x)
        wide = self.xp.astype(x, self.xp.float64)
        return self.xp.sum(wide * wide)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float) -> None:
        """scales *= min(1, largest / sqrt(squares)), and NaN where squares is not finite: clipping by global norm."""
        norm = float(squares) ** 0.5
        if not norm < float("inf"):
            scales[...] = scales * float("nan")
        elif norm > largest:
            scales[...] = scales * (largest / norm)
