"""Column sums of a matrix in one launch: each block sums a chunk of the rows, and the last block of some columns adds the
chunks.

The x axis of the grid covers the columns, the y axis the chunks; neighbouring threads process neighbouring columns. Each chunk
writes a row of a table of partial sums. The order of the additions depends only on the grid.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import cuda

from .teams import last_block, places, real, shared_sum


def chunk_rows(rows):
    # (start, stop) of the rows in this block's chunk.
    fraction = (rows + cuda.gridDim.y - 1) // cuda.gridDim.y
    start = cuda.blockIdx.y * fraction
    return start, min(rows, start + fraction)


def sum_to(part, value, j, table, row, adds):
    # Sums over the threads of a column, and writes the sum to table[row, j], or adds it there if `adds`.
    lane, team, _, teams, _ = places()
    value = shared_sum(part, lane * teams + team, team, teams, value)
    if team == 0 and j < table.shape[1]:
        table[row, j] = table[row, j] + value if adds > 0 else value


def last_chunk(counters):
    # Whether all other blocks of these columns have finished, so that this block can read the sums of all chunks.
    return last_block(counters, cuda.blockIdx.x, cuda.gridDim.y)


def add_chunks(part, partial, out, adds):
    # Adds the partial sums of this block's columns; the threads of a column divide the chunks among themselves.
    lane, team, lanes, teams, _ = places()
    for first in range(cuda.blockIdx.x * lanes, partial.shape[1], cuda.gridDim.x * lanes):
        j = first + lane
        value = real(0.0)
        if j < partial.shape[1]:
            for chunk in range(team, partial.shape[0], teams):
                value += partial[chunk, j]
        sum_to(part, value, j, out, 0, adds)


CHUNKS = (places, shared_sum, last_block, chunk_rows, sum_to, last_chunk, add_chunks)
