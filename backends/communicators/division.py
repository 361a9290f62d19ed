"""How a minibatch is divided among processes, and the fixed order of a sum that does not depend on their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...errors import HyperparameterError
from .communicator import Communicator

SHARDS = 16
"""Parts of a minibatch in a deterministic step, whatever the number of processes, which is at most this."""
LEAST_ROWS = 8
"""Rows of such a part, unless the minibatch has fewer."""


class Division(NamedTuple):
    """Which rows of each minibatch belong to this process: consecutive ones, in the order of the ranks.

    Args: rank, size – of the process, as in Communicator; fixed – whether the rows are divided into shards first, whose number
        depends on the rows only; each process then has whole shards.
    """

    rank: int = 0
    size: int = 1
    fixed: bool = False

    def shards(self, rows: int) -> int:
        """Number of shards of a minibatch: a power of two where they are fixed, otherwise one for each process."""
        if not self.fixed:
            return self.size
        most = max(1, min(SHARDS, rows // LEAST_ROWS))
        return 1 << (most.bit_length() - 1)

    def of_rank(self, rows: int, rank: int) -> tuple[int, int]:
        """The shards of a process: number of the first one, and of the first one after them."""
        shards = self.shards(rows)
        return shards * rank // self.size, shards * (rank + 1) // self.size

    def own(self, rows: int) -> tuple[int, int]:
        """The rows of this process in a minibatch of that many: the first one, and the first one after them."""
        shards = self.shards(rows)
        low, high = self.of_rank(rows, self.rank)
        return rows * low // shards, rows * high // shards

    def cuts(self, start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
        """The rows of this process, of the minibatch from `start` to `stop`, in parts of at most that many rows.

        No part reaches from one fixed shard into the next.
        """
        rows = stop - start
        shards = self.shards(rows)
        for shard in range(*self.of_rank(rows, self.rank)):
            first, last = start + rows * shard // shards, start + rows * (shard + 1) // shards
            for low in range(first, last, most):
                yield low, min(last, low + most)


ALL = Division()
"""Of a process that trains alone: all rows."""


def division_of(communicator: Communicator | None, fixed: bool) -> Division:
    """The division of the processes of a communicator, or of one alone.

    Args: fixed – as in Division.
    Raises: HyperparameterError for more processes than fixed shards.
    """
    if communicator is None:
        return ALL
    if fixed and communicator.size > SHARDS:
        raise HyperparameterError(
            f"expected at most {SHARDS} processes with deterministic=True, which cuts minibatches into {SHARDS} parts; got "
            f"{communicator.size}; start fewer, or leave deterministic out"
        )
    return Division(communicator.rank, communicator.size, fixed)


def siblings(left: tuple[int, int], right: tuple[int, int]) -> bool:
    """Whether two neighbouring subtrees of a binary tree over the shards, each (first shard, shards), make up a larger one.

    Whoever adds only siblings, left plus right, adds in the same order wherever the shards were cut.
    """
    return left[1] == right[1] and left[0] % (2 * left[1]) == 0


def subtrees(low: int, high: int) -> list[tuple[int, int]]:
    """The largest subtrees that cover the shards from `low` to `high`, in order."""
    found: list[tuple[int, int]] = []
    for shard in range(low, high):
        found.append((shard, 1))
        while len(found) > 1 and siblings(*found[-2:]):
            found[-2:] = [(found[-2][0], 2 * found[-2][1])]
    return found
