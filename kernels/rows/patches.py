"""Index tables of the patches of a convolution or pooling, for rows that are images [height, width, channels].

They are created once on the host; the kernels take_columns, sum_columns and largest_columns use them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Table = np.ndarray[Any, np.dtype[np.int32]]
Pair = tuple[int, int]
MOST_IN_WINDOW = 256
"""Columns of a pooling window, so that the number of the winner fits into uint8."""


def extent(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Positions of a kernel along one side: (size + 2 padding - kernel) // stride + 1, which may be < 1."""
    return (size + 2 * padding - kernel) // stride + 1


def _positions(image: tuple[int, int, int], kernel: Pair, stride: Pair, padding: Pair) -> Table:
    """[out height, out width, kernel height, kernel width, channels]: number of the column, -1 in the padding."""
    height, width, channels = image
    numbers = np.full((height + 2 * padding[0], width + 2 * padding[1], channels), -1, np.int32)
    inner = numbers[padding[0] : padding[0] + height, padding[1] : padding[1] + width]
    inner[...] = np.arange(height * width * channels, dtype=np.int32).reshape(image)
    sliding = np.lib.stride_tricks.sliding_window_view(numbers, kernel, axis=(0, 1))[:: stride[0], :: stride[1]]
    return np.ascontiguousarray(np.moveaxis(sliding, 2, 4))


@cache
def patches(image: tuple[int, int, int], kernel: Pair, stride: Pair, padding: Pair) -> Table:
    """[n]: the columns of all patches one after the other, each patch [kernel height, kernel width, channels]."""
    return _read_only(_positions(image, kernel, stride, padding).reshape(-1))


@cache
def windows(image: tuple[int, int, int], kernel: Pair, stride: Pair) -> Table:
    """[out height * out width * channels, kernel height * kernel width]: the columns that each maximum is taken of."""
    positions = np.moveaxis(_positions(image, kernel, stride, (0, 0)), 4, 2)
    return _read_only(np.ascontiguousarray(positions.reshape(-1, kernel[0] * kernel[1])))


@cache
def patches_transposed(image: tuple[int, int, int], kernel: Pair, stride: Pair, padding: Pair) -> Table:
    """[columns, m]: where in `patches` each column stands, filled up with -1."""
    table = patches(image, kernel, stride, padding)
    return _read_only(inverse(table, np.arange(table.size), image[0] * image[1] * image[2]))


@cache
def windows_transposed(image: tuple[int, int, int], kernel: Pair, stride: Pair) -> Table:
    """[columns, m]: 256 u + p for each window u that has the column as its number p, filled up with -1."""
    table = windows(image, kernel, stride)
    codes = MOST_IN_WINDOW * np.arange(table.shape[0])[:, None] + np.arange(table.shape[1])
    return _read_only(inverse(table.reshape(-1), codes.reshape(-1), image[0] * image[1] * image[2]))


def inverse(numbers: Table, codes: np.ndarray[Any, Any], width: int) -> Table:
    """[width, m]: in row j the codes where `numbers` is j, in their order, filled up with -1."""
    known = np.flatnonzero(numbers >= 0)
    order = known[np.argsort(numbers[known], kind="stable")]
    counts = np.bincount(numbers[known], minlength=width)
    table = np.full((width, max(1, int(counts.max()))), -1, np.int32)
    starts = np.cumsum(counts) - counts
    table[numbers[order], np.arange(order.size) - starts[numbers[order]]] = codes[order]
    return table


def _read_only(table: Table) -> Table:
    table.flags.writeable = False
    return table
