"""Sizes of blocks and grids; small in the simulator.

A grid depends only on the shape, so that sums are always computed in the same order.
"""

from __future__ import annotations

from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether kernels run in Numba's simulator, on NumPy arrays, one Python thread per CUDA thread."""

BLOCK = 8 if SIMULATED else 256
"""Threads per block; a power of two. Generated modules contain this number."""
WARP = 4 if SIMULATED else 32
"""Threads per warp; the largest x extent of a block, except where a whole block processes a row."""
LONG = 4 if SIMULATED else 64
"""Elements per thread up to which one warp processes a row; longer rows are processed by a whole block."""
MOST_BLOCKS = 2 if SIMULATED else 4096
"""Largest number of blocks along x; threads stride over the remaining elements."""
MOST_ROW_BLOCKS = 2 if SIMULATED else 1024
"""Largest number of blocks along y."""

Geometry = tuple[tuple[int, ...], tuple[int, ...]] | tuple[tuple[int, ...], tuple[int, ...], int]
"""(blocks of the grid, threads of a block, [bytes of dynamic shared memory per block]); the first two as (x,) or (x, y)."""

Plain = tuple[tuple[int, ...], tuple[int, ...]]
"""A geometry without dynamic shared memory."""


def _blocks(count: int, per_block: int, most: int) -> int:
    return max(1, min(-(-count // per_block), most))


def _power_of_two(count: int, most: int) -> int:
    """The smallest power of two >= count, within 1 … most."""
    return min(most, 1 << max(count - 1, 0).bit_length())


def flat_geometry(count: int) -> Plain:
    """One thread per element; larger arrays in strides."""
    return (_blocks(count, BLOCK, MOST_BLOCKS),), (BLOCK,)


def matrix_geometry(rows: int, columns: int) -> Plain:
    """Columns along x and rows along y; larger matrices in strides."""
    across = _power_of_two(columns, WARP)
    grid = _blocks(columns, across, MOST_BLOCKS), _blocks(rows, BLOCK // across, MOST_ROW_BLOCKS)
    return grid, (across, BLOCK // across)


def team_geometry(rows: int, width: int) -> Plain:
    """One team of threads per row: the threads of a team are along x, the teams of a block along y.

    A team is at most a warp, which needs no barriers, unless a thread would then process more than LONG elements of a row. Its
    size depends only on the width, so that sums over a row do not depend on the number of rows.
    """
    lanes = _power_of_two(-(-width // 4), WARP if width <= LONG * WARP else BLOCK)
    return (_blocks(rows, BLOCK // lanes, MOST_BLOCKS),), (lanes, BLOCK // lanes)


def quarter(width: int) -> int:
    """ceil(width / 4): number of iterations over a row if each processes four columns."""
    return -(-width // 4)
