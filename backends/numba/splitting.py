"""Decides which weight gradients are split by rows of the weight, and which are summed over shards of the minibatch; and the
calls that compute parts of them: products, and the gradient of embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.rows.cpu import embed_backward
from ...kernels.targets.native import Address, address_of, gemm_words, words_of
from ..profiling import Label
from .capture import Call

Array = Any

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
    """The parameters of a step whose gradients are to be split; in a deterministic step all that can be.

    Those of embeddings always are: each element is then added in the order of the rows, and no shard has a gradient of its own,
    which would be mostly 0.
    """
    return {
        p for p in work.ranges
        if shards > 1 and (p.gathered or (
            len(p.shape) == 2 and (work.deterministic or splits_weights(p.shape[0], p.shape[1], rows, shards))
        ))
    }  # fmt: skip


def operands(call: Call) -> tuple[Array, Array] | None:
    """The two arrays of a call that have one row for each row of the minibatch, if it can compute parts of its result."""
    if call.kernel is None:
        a, b, _, _ = call.arguments
        return (a.array, b.array) if a.transposed and not b.transposed else None
    return call.arguments[:2] if call.kernel.name == embed_backward.__name__ else None


def result(call: Call) -> Array:
    """The array that a call writes, row by row of the weight or, for embeddings, element by element."""
    return call.arguments[2 if call.kernel is None else 3]


def part(group: Sequence[Call], low: int, high: int) -> tuple[int, list[int], Label, Any]:
    """What `Replay.call` takes for the part from `low` to `high` of the result, over the rows of all shards.

    Args: group – the calls of the shards, whose operands follow each other in memory.
    """
    call, out = group[0], result(group[0])
    rows, size = rows_of(group), out.itemsize
    if call.kernel is not None:
        dy, x = (np.lib.stride_tricks.as_strided(a, (rows, a.shape[1])) for a in call.arguments[:2])
        words = words_of(call.kernel.parameters, (dy, x, call.arguments[2], out, low, high, call.arguments[6]))
        moved = rows * x.shape[1] * size + (high - low) * size
        return call.entry, words, Label(call.name, call.place, call.stage, 0, moved), group
    a, b, _, accumulate = call.arguments
    extents = (high - low, out.shape[1], rows)
    words = gemm_words(
        out.dtype, (Address(address_of(a.array) + low * size), a.row, True), (address_of(b.array), b.row, False),
        (Address(address_of(out) + low * out.shape[1] * size), out.shape[1]), extents, accumulate,
    )  # fmt: skip
    moved = (extents[0] * extents[1] + rows * (extents[0] + extents[1])) * size
    return call.entry, words, Label("matmul", call.place, call.stage, 2 * extents[0] * extents[1] * rows, moved), group


def rows_of(group: Sequence[Call]) -> int:
    """Rows of the operands of the calls of all shards."""
    return sum(len(found[0]) for found in map(operands, group) if found is not None)
