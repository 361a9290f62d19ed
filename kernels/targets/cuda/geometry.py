"""Sizes of blocks and grids; small in the simulator.

A grid depends only on the shape, so that sums are always computed in the same order.
"""

from __future__ import annotations

from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether kernels run in Numba's simulator, on NumPy arrays, one Python thread per CUDA thread."""

BLOCK = 8 if SIMULATED else 256
"""Threads per block; a power of two, written into the generated modules."""
WARP = 4 if SIMULATED else 32
"""Most threads side by side in a row of a two-dimensional block."""
LONG = 4 if SIMULATED else 64
"""Elements of a row for each thread of a warp, beyond which a whole block takes the row."""
MOST_BLOCKS = 2 if SIMULATED else 4096
"""Blocks along x; threads stride over what is left."""
MOST_ROW_BLOCKS = 2 if SIMULATED else 1024
"""Blocks along y."""

Geometry = tuple[tuple[int, ...], tuple[int, ...]] | tuple[tuple[int, ...], tuple[int, ...], int]
"""Blocks of the grid and threads of the block, as (x, y), and how many bytes of shared memory a block gets beside its own."""

Plain = tuple[tuple[int, ...], tuple[int, ...]]
"""A geometry without further shared memory."""


def _blocks(count: int, per_block: int, most: int) -> int:
    return max(1, min(-(-count // per_block), most))


def _power_of_two(count: int, most: int) -> int:
    """The smallest power of two >= count, within 1 … most."""
    return min(most, 1 << max(count - 1, 0).bit_length())


def flat_geometry(count: int) -> Plain:
    """One thread per element, then in strides."""
    return (_blocks(count, BLOCK, MOST_BLOCKS),), (BLOCK,)


def matrix_geometry(rows: int, columns: int) -> Plain:
    """Columns along x and rows along y, then in strides."""
    across = _power_of_two(columns, WARP)
    grid = _blocks(columns, across, MOST_BLOCKS), _blocks(rows, BLOCK // across, MOST_ROW_BLOCKS)
    return grid, (across, BLOCK // across)


def team_geometry(rows: int, width: int) -> Plain:
    """A team of threads per row, side by side along x, with as many teams in a block as there is room for.

    A team is at most a warp, which needs no barrier, until a thread would have more than LONG elements of a row. Its size
    depends on the width alone, so that sums over a row always come out the same.
    """
    lanes = _power_of_two(-(-width // 4), WARP if width <= LONG * WARP else BLOCK)
    return (_blocks(rows, BLOCK // lanes, MOST_BLOCKS),), (lanes, BLOCK // lanes)


def quarter(width: int) -> int:
    """Turns of four columns that a row of that width takes."""
    return -(-width // 4)
