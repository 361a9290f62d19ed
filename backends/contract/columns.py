"""Operations of a backend on columns: their sums, the largest of several (maxout, pooling), and columns by number (images).

They are computed by kernels/rows/reference.py.
"""

from __future__ import annotations

from typing import Any

from ...kernels.rows import reference
from .arrays import Arrays

Array = Any


class Columns(Arrays):
    """Operations that combine or move columns."""

    def column_sum(self, x: Array, out: Array, accumulate: bool = True) -> None:
        """Adds the sum of the rows of x to out; without `accumulate` it takes the place of what is there."""
        self.require(x, out)
        if not accumulate:
            self.fill(out, 0.0)
        reference.column_sum(self.xp, self.wide(x), out)

    def maxout(self, z: Array, out: Array, winner: Array) -> None:
        """The largest piece of each unit and which one it was."""
        self.require(z, out, winner)
        reference.maxout(self.xp, self.wide(z), out, winner)

    def maxout_spread(self, dy: Array, winner: Array, dz: Array) -> None:
        """The gradient of `maxout`."""
        self.require(dy, winner, dz)
        reference.maxout_spread(self.xp, self.wide(dy), winner, dz)

    def maxout_pick(self, z: Array, winner: Array, out: Array) -> None:
        """The piece of each unit that `winner` names."""
        self.require(z, winner, out)
        reference.maxout_pick(self.xp, self.wide(z), winner, out)

    def take_columns(self, x: Array, table: Array, out: Array) -> None:
        """Column `table[j]` of x as column j of out, and 0 where that is negative: the patches of images."""
        self.require(x, table, out)
        reference.take_columns(self.xp, self.wide(x), table, out)

    def sum_columns(self, x: Array, table: Array, out: Array) -> None:
        """The columns of x that row j of `table` names, added up, as column j of out: the transpose of `take_columns`."""
        self.require(x, table, out)
        reference.sum_columns(self.xp, self.wide(x), table, out)

    def largest_columns(self, x: Array, table: Array, out: Array, winner: Array) -> None:
        """The largest of the columns that row j of `table` names, and which it was: max-pooling."""
        self.require(x, table, out, winner)
        reference.largest_columns(self.xp, self.wide(x), table, out, winner)

    def largest_columns_spread(self, dy: Array, winner: Array, table: Array, dx: Array) -> None:
        """The gradient of `largest_columns`; see kernels/rows/reference.py for this table."""
        self.require(dy, winner, table, dx)
        reference.largest_columns_spread(self.xp, self.wide(dy), winner, table, dx)

    def largest_columns_pick(self, x: Array, table: Array, winner: Array, out: Array) -> None:
        """The columns of x that `winner` names of each row of `table`."""
        self.require(x, table, winner, out)
        reference.largest_columns_pick(self.xp, self.wide(x), table, winner, out)
