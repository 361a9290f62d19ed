"""What the kernels of all families share: sums and maxima over a team of threads, and stand-ins for what `compiled` binds.

Kernels are compiled with `real` as the type that they compute in, `load` and `store` as the way in and out of arrays whose
elements may have 16 bits, the words of the vocabulary and the constants below (see kernels/targets/handwritten.py); what stands
in for them here only makes them readable. Loops that hold a `syncthreads` run equally often for all threads of a block.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import cuda

from ...targets.cuda.geometry import SIMULATED, WARP

real = load = store = float
i32 = i64 = u32 = int
REAL: Any = float
"""The type as an object, for shared memory whose size the launch gives: the simulator asks it for the size of an element."""
LOWEST = -float("inf")
EVERYBODY = 0xFFFFFFFF
"""All threads of a warp."""
SHUFFLES = not SIMULATED
"""Whether threads of a warp hand values to each other directly, which the simulator cannot."""

Signatures = dict[Callable[..., Any], tuple[tuple[str, ...], tuple[str, ...], tuple[Callable[..., Any], ...]]]
"""What each kernel takes, the words of the vocabulary that it calls, and the functions of this file that it needs.

"matrix" and "vector" are stored in any type, "table" and "sums" in what is computed in; "labels" are int32 [rows], "columns"
int32 in two dimensions, "winners" uint8 in two, "counters" uint32, "count" is a whole number.
"""


def places():
    # Teams of lanes side by side along x, one above the other along y: who this thread is, how many there are of each, and the
    # thread's number in its block.
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    return lane, team, lanes, teams, team * lanes + lane


def shared_sum(part, slot, lane, lanes, value):
    # The slots of a team lie side by side, whichever threads they belong to.
    part[slot] = value
    cuda.syncthreads()
    half = lanes >> 1
    while half > 0:
        if lane < half:
            part[slot] += part[slot + half]
        cuda.syncthreads()
        half >>= 1
    result = part[slot - lane]
    cuda.syncthreads()
    return result


def team_sum(part, slot, lane, lanes, value):
    # For teams of threads that lie side by side along x.
    if SHUFFLES and lanes <= WARP:
        # All threads of a warp come here, and a partner at a distance below `lanes` is of the same team.
        half = lanes >> 1
        while half > 0:
            value += cuda.shfl_xor_sync(EVERYBODY, value, half)
            half >>= 1
        return value
    return shared_sum(part, slot, lane, lanes, value)


def team_max(part, slot, lane, lanes, value):
    if SHUFFLES and lanes <= WARP:
        half = lanes >> 1
        while half > 0:
            other = cuda.shfl_xor_sync(EVERYBODY, value, half)
            value = other if other > value else value
            half >>= 1
        return value
    part[slot] = value
    cuda.syncthreads()
    half = lanes >> 1
    while half > 0:
        if lane < half and part[slot + half] > part[slot]:
            part[slot] = part[slot + half]
        cuda.syncthreads()
        half >>= 1
    result = part[slot - lane]
    cuda.syncthreads()
    return result


def row_max(part, slot, lane, lanes, x, i):
    top = LOWEST
    if i < x.shape[0]:
        for j in range(lane, x.shape[1], lanes):
            value = load(x[i, j])
            top = value if value > top else top
    return team_max(part, slot, lane, lanes, top)


def last_block(counters, place, blocks):
    # Whether this block is the last one of so many to come here, so that it sees what all the others have written before. They
    # are counted at that place, which begins at 0 and is then 0 again, for the next launch.
    arrived = cuda.shared.array(1, i64)
    last = u32(blocks - 1)
    cuda.syncthreads()
    if cuda.threadIdx.x == 0 and cuda.threadIdx.y == 0:
        cuda.threadfence()
        arrived[0] = i64(cuda.atomic.inc(counters, place, last))
        cuda.threadfence()
    cuda.syncthreads()
    return arrived[0] == i64(last)


SUM = (places, shared_sum, team_sum)
MAX_AND_SUM = (*SUM, team_max, row_max)
