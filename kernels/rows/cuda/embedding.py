"""The gradient of embeddings: sums of the rows that have the same code, without atomic additions.

The blocks along x share out the elements of the flat gradient, the blocks along y the rows; each block goes through its rows
for the codes whose elements it has. Its teams of threads take turns, and each adds to a copy of the elements in shared memory.
The copies of the teams, and then the sums of the blocks along y, are added in a fixed order.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import cuda

from ...targets.cuda.geometry import BLOCK
from .chunks import chunk_rows
from .columns import code_of
from .teams import REAL, Signatures, i32, i64, last_block, load, places, real


def embed_backward(dy, x, table, room, partial, counters, out, adds):
    # `room`: elements of a block at a time.
    held = cuda.shared.array(0, REAL)
    place = cuda.shared.array(BLOCK, i64)  # where the elements of each of BLOCK rows begin, `room` if they are not here
    lane, team, lanes, teams, slot = places()
    rows, width = dy.shape
    size, stride, chunks = out.shape[0], cuda.gridDim.x * room, cuda.gridDim.y
    start, stop = chunk_rows(rows)
    for low in range(cuda.blockIdx.x * room, size, stride):
        for k in range(slot, teams * room, BLOCK):
            held[k] = real(0.0)
        cuda.syncthreads()
        j = 0
        while j < width:
            first, step, count = table[j, 1], table[j, 2], table[j, 3]
            if first < low + room and first + step * count > low:
                for above in range(start, stop, BLOCK):
                    found = i64(room)
                    if above + slot < stop:
                        code = code_of(x, above + slot, table[j, 0], count)
                        begin = first + code * step - low
                        if code >= 0 and begin < room and begin + step > 0:
                            found = begin
                    place[slot] = found
                    if cuda.syncthreads_or(i32(1) if found < room else i32(0)):
                        for i in range(team, BLOCK, teams):
                            begin = place[i]
                            if begin < room:
                                for k in range(lane, step, lanes):
                                    if begin + k >= 0 and begin + k < room:
                                        held[team * room + begin + k] += load(dy[above + i, j + k])
                    cuda.syncthreads()
            j += max(step, 1)
        for k in range(slot, min(room, size - low), BLOCK):
            value = real(0.0)
            for one in range(teams):
                value += held[one * room + k]
            if chunks > 1:
                partial[cuda.blockIdx.y, low + k] = value
            else:
                out[low + k] = out[low + k] + value if adds > 0 else value
        cuda.syncthreads()
    if chunks > 1 and last_block(counters, cuda.blockIdx.x, chunks):
        for low in range(cuda.blockIdx.x * room, size, stride):
            for k in range(low + slot, min(low + room, size), BLOCK):
                value = real(0.0)
                for chunk in range(chunks):
                    value += partial[chunk, k]
                out[k] = out[k] + value if adds > 0 else value


SIGNATURES: Signatures = {
    embed_backward: (
        ("matrix", "table", "columns", "count", "table", "counters", "sums", "count"), (),
        (places, last_block, chunk_rows, code_of),
    ),
}  # fmt: skip
