"""Functions that all row kernels share: sums and maxima over a team of threads. Also placeholders for names bound by
`compiled`.

In a compiled kernel, `real` is the type of the computation, `load` and `store` convert from and to arrays whose elements may
have 16 bits, and the functions of the vocabulary and the constants below are defined for that type (see
kernels/targets/handwritten.py). The values here are placeholders for readers and linters. Loops that contain `syncthreads` run
equally often in all threads of a block.
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
"""The type as a dtype object, for shared memory whose size is set by the launch: the simulator reads its item size."""
LOWEST = -float("inf")
EVERYBODY = 0xFFFFFFFF
"""All threads of a warp."""
SHUFFLES = not SIMULATED
"""Whether threads of a warp exchange values by shuffle instructions, which the simulator does not support."""

Signatures = dict[Any, tuple[tuple[str, ...], tuple[str, ...], tuple[Callable[..., Any], ...]]]
"""Kernel -> (kinds of its arguments, operations of the vocabulary that it calls, helper functions that it calls).

Kinds: "matrix" and "vector" may be stored in a 16-bit type; "table" (two dimensions) and "sums" (one) have the type of the
computation; "labels" int32 [rows]; "columns" int32 in two dimensions; "winners" uint8 in two; "counters" uint32 in one;
"number" a real; "count" an integer.
"""


def places():
    # The threads (lanes) of a team are along x, the teams along y. Returns: lane and team of this thread, number of lanes,
    # number of teams, index of the thread in its block.
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    return lane, team, lanes, teams, team * lanes + lane


def shared_sum(part, slot, lane, lanes, value):
    # The sum of `value` over a team; the slots of a team in `part` are adjacent, in whatever order of threads.
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
    # The sum of `value` over a team whose threads are adjacent along x.
    if SHUFFLES and lanes <= WARP:
        # All threads of a warp are here, and a lane at a distance below `lanes` belongs to the same team.
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
    # Whether this block is the last one of `blocks` to arrive here; if so, it sees what all others wrote before. Arrivals are
    # counted in counters[place], which starts at 0 and is 0 again afterwards, for the next launch.
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
