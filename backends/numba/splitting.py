"""Decides which weight gradients are split by rows of the weight, and which are summed over shards of the minibatch."""

from __future__ import annotations

from typing import Any

LEAST_PART = 16
"""Rows of a weight gradient below which a further part is not worth a call."""


def splits_weights(inputs: int, outputs: int, rows: int, shards: int) -> bool:
    """Whether a weight gradient [inputs, outputs] is cheaper split by its own rows than summed over shards of the batch.

    Cost model, in elements moved beyond what both forms move. Summed over shards: shards - 1 further copies are written
    and read again, and the sum is written. Split: the shards wait for each other, then each part reads the whole
    gradient of the outputs, [rows, outputs], and all of X and dY comes from memory a second time.
    """
    if shards == 1 or inputs < shards * LEAST_PART:
        return False
    summed = inputs * outputs * (2 * (shards - 1) + 1)
    split = rows * outputs * (shards - 1) + rows * (inputs + outputs)
    return split < summed


def split_parameters(work: Any, rows: int, shards: int) -> set[Any]:
    """The parameters of a step whose gradients are to be split; in a deterministic step all that can be."""
    return {
        p for p in work.ranges
        if len(p.shape) == 2 and shards > 1
        and (work.deterministic or splits_weights(p.shape[0], p.shape[1], rows, shards))
    }  # fmt: skip
