"""Index tables of embeddings: which columns of the input the rows of which matrices stand for, for the operation `embed`.

A row of a table describes a column of the output, (column, first, size, count):
  an element of a looked-up row: the input column of the code, where this element of row 0 is in the flat weights, the width of
      the matrix, the number of codes; the `size` elements of a row are neighbours;
  a column that is copied: its input column, 0, the number of neighbours that follow each other in the input too, 0.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Table = np.ndarray[Any, np.dtype[np.int32]]


class Lookup(NamedTuple):
    """A column of codes: which one, the number of codes, the width of its matrix, and where that begins in the weights."""

    column: int
    codes: int
    width: int
    first: int


Lookups = tuple[Lookup, ...]


def copied_columns(inputs: int, lookups: Lookups) -> list[int]:
    """The input columns that hold no codes."""
    coded = {lookup.column for lookup in lookups}
    return [column for column in range(inputs) if column not in coded]


@cache
def lookup_table(inputs: int, lookups: Lookups) -> Table:
    """[e, 4]: the copied columns, then the looked-up rows."""
    rows: list[tuple[int, int, int, int]] = []
    copied = copied_columns(inputs, lookups)
    cuts = [0, *(k for k, (a, b) in enumerate(pairwise(copied), 1) if b != a + 1), len(copied)]
    for start, stop in pairwise(cuts):
        rows += [(column, 0, stop - start, 0) for column in copied[start:stop]]
    for column, codes, width, first in lookups:
        rows += [(column, first + k, width, codes) for k in range(width)]
    return _read_only(np.array(rows, np.int32))


@cache
def copied_places(inputs: int, lookups: Lookups) -> Table:
    """[inputs]: the output column of each input column, and -1 for codes, which have no derivative."""
    table = np.full(inputs, -1, np.int32)
    copied = copied_columns(inputs, lookups)
    table[copied] = np.arange(len(copied))
    return _read_only(table)


def _read_only(table: Table) -> Table:
    table.flags.writeable = False
    return table
