"""Index tables of repeated columns: those of embeddings of numbers, of which each is repeated once for each of its features
while the others are copied, and those of ensembles, where all columns together are repeated once for each member.

`take_columns` makes them, and `sum_columns` is the way back. The columns [columns, m] of an embedding stand side by side.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Table = np.ndarray[Any, np.dtype[np.int32]]
Columns = tuple[int, ...]


@cache
def repeated(columns: Columns, times: int) -> Table:
    """[columns * times]: each column so many times."""
    return _read_only(np.repeat(np.array(columns, np.int32), times))


@cache
def repeated_transposed(inputs: int, columns: Columns, times: int) -> Table:
    """[inputs, times]: where each input column stands in `repeated`, -1 for the others."""
    table = np.full((inputs, times), -1, np.int32)
    table[list(columns)] = np.arange(len(columns) * times, dtype=np.int32).reshape(-1, times)
    return _read_only(table)


@cache
def others(inputs: int, columns: Columns) -> Table:
    """The input columns that are not repeated."""
    return _read_only(np.array([column for column in range(inputs) if column not in set(columns)], np.int32))


@cache
def others_transposed(inputs: int, columns: Columns) -> Table:
    """[inputs]: where each input column stands in `others`, -1 for those that are repeated."""
    table = np.full(inputs, -1, np.int32)
    copied = others(inputs, columns)
    table[copied] = np.arange(len(copied))
    return _read_only(table)


@cache
def last(width: int, count: int) -> Table:
    """The last `count` of so many columns."""
    return _read_only(np.arange(width - count, width, dtype=np.int32))


@cache
def tiled(width: int, times: int) -> Table:
    """[times * width]: all columns in turn, so many times."""
    return _read_only(np.tile(np.arange(width, dtype=np.int32), times))


@cache
def tiled_transposed(width: int, times: int) -> Table:
    """[width, times]: where each column stands in `tiled`."""
    return _read_only(np.ascontiguousarray(np.arange(times * width, dtype=np.int32).reshape(times, width).T))


def _read_only(table: Table) -> Table:
    table.flags.writeable = False
    return table
