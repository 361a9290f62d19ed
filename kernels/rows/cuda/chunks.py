"""Sums over the columns of a matrix in one launch: blocks take chunks of the rows, the last one of some columns adds them up.

Along x a grid has the columns, along y the chunks; threads side by side take neighbouring columns. What a chunk gives goes to
its row of a table of partial sums, which are added in an order that depends on nothing but the grid.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import cuda

from .teams import last_block, places, real, shared_sum


def chunk_rows(rows):
    # From where to where the rows of this block's chunk go.
    fraction = (rows + cuda.gridDim.y - 1) // cuda.gridDim.y
    start = cuda.blockIdx.y * fraction
    return start, min(rows, start + fraction)


def sum_to(part, value, j, table, row, adds):
    # The sum over the threads of a column to its place in a row of the table, or added to what is there.
    lane, team, _, teams, _ = places()
    value = shared_sum(part, lane * teams + team, team, teams, value)
    if team == 0 and j < table.shape[1]:
        table[row, j] = table[row, j] + value if adds > 0 else value


def last_chunk(counters):
    # Whether this block is the last one of its columns, so that it sees what all chunks of them gave.
    return last_block(counters, cuda.blockIdx.x, cuda.gridDim.y)


def add_chunks(part, partial, out, adds):
    # Adds up the partial sums of this block's columns, which the threads of a column share.
    lane, team, lanes, teams, _ = places()
    for first in range(cuda.blockIdx.x * lanes, partial.shape[1], cuda.gridDim.x * lanes):
        j = first + lane
        value = real(0.0)
        if j < partial.shape[1]:
            for chunk in range(team, partial.shape[0], teams):
                value += partial[chunk, j]
        sum_to(part, value, j, out, 0, adds)


CHUNKS = (places, shared_sum, last_block, chunk_rows, sum_to, last_chunk, add_chunks)
