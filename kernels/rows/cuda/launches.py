"""How the kernels are launched: their geometry, the buffers between two of them, and in what order.

A `launch` is the backend's way to hand a kernel to the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...targets.cuda.geometry import BLOCK, MOST_BLOCKS, SIMULATED, Geometry, flat_geometry, matrix_geometry, team_geometry
from ...targets.cuda.kernel import Launch
from . import columns
from .compiled import SIGNATURES, kernel
from .normalization import layer_norm_columns, layer_norm_input
from .sums import column_sum, limit_norm

Scratch = Callable[[int], Any]
"""Lends a flat buffer of that many elements until the next call."""

COUNTERS = MOST_BLOCKS
"""Of blocks, one for each place of a grid along x."""
MOST_CHUNKS = 64
"""Most parts that the rows of a matrix are cut into for sums over columns."""
MOST_SUMMING = 2 if SIMULATED else 528
"""Most blocks that sum columns beside their rows, because each leaves a row of partial sums: as many as an H100 or H200 with
its 132 multiprocessors runs at once, at 64 registers a thread."""
MOST_HELD = 256 if SIMULATED else 47_000
"""Most bytes of the sums that a block may hold: what a block has without asking for more, less what reductions of rows need."""
LAST_BLOCK = 16 if SIMULATED else 8192
"""Partial sums that the last block adds up by itself; more are worth a launch over the whole device."""
SUMMED_ACROSS = 2 if SIMULATED else 8
"""Columns side by side in a block of that launch."""


def chunk_geometry(rows: int, width: int) -> tuple[int, Geometry]:
    """(number of chunks that the rows are cut into, geometry) for sums over columns."""
    (columns, _), (across, down) = matrix_geometry(1, width)
    chunks = max(1, min(MOST_CHUNKS, rows // (16 * down) if BLOCK > 8 else rows // (2 * down)))
    return chunks, ((columns, chunks), (across, down))


def part_geometry(count: int) -> tuple[int, Geometry]:
    """(number of partial sums, geometry) for sums over everything: at least four elements for each thread."""
    blocks = max(1, min(MOST_BLOCKS, -(-count // (4 * BLOCK)), 1024))
    return blocks, ((blocks,), (BLOCK,))


def run(function: Callable[..., Any], rows: int, width: int, arguments: tuple[Any, ...], launch: Launch) -> None:
    """Launches a kernel whose rows are independent: teams for those that reduce, else a thread per element."""
    if rows:
        reduces = function not in columns.SIGNATURES
        dtype = next(a.dtype for a, kind in zip(arguments, SIGNATURES[function][0], strict=True) if kind == "matrix")
        launch(kernel(function, dtype), (team_geometry if reduces else matrix_geometry)(rows, width), arguments)


def run_column_sum(x: Any, out: Any, accumulate: bool, scratch: Scratch, counters: Any, launch: Launch) -> None:
    """out = the sum over the rows of x, or added to `out`, in one launch.

    Args: scratch – of the dtype of out; counters – COUNTERS of blocks, all 0.
    """
    rows, width = x.shape
    chunks, geometry = chunk_geometry(rows, width)
    partial = scratch(chunks * width).reshape(chunks, width)
    launch(kernel(column_sum, x.dtype), geometry, (x, partial, counters, out.reshape(1, width), accumulate))


def run_layer_norm_backward(
    dy: Any, x: Any, gain: Any, mean: Any, scale: Any, dx: Any, dgain: Any, doffset: Any, accumulate: bool,
    scratch: Scratch, counters: Any, launch: Launch,
) -> None:  # fmt: skip
    """See `layer_norm_backward` in kernels/rows/reference.py; sums over rows first, so that dx may be dy or x."""
    rows, width = x.shape
    chunks, geometry = chunk_geometry(rows, width)
    partial = scratch(2 * chunks * width).reshape(2, chunks, width)
    sums = (partial[0], partial[1], counters, dgain.reshape(1, width), doffset.reshape(1, width), accumulate)
    launch(kernel(layer_norm_columns, x.dtype), geometry, (dy, x, mean, scale, *sums))
    run(layer_norm_input, rows, width, (dy, x, gain, mean, scale, dx), launch)


def run_cross_entropy(
    function: Callable[..., Any], arguments: tuple[Any, ...], sums: Any, accumulate: bool, unused: Any, scratch: Scratch,
    counters: Any, launch: Launch,
) -> bool:  # fmt: skip
    """One of the cross-entropies of softmax.py, and the column sums of its gradient where there is room for them.

    Args: arguments – of the kernel, the gradient last; sums – where the column sums go, or None; accumulate – whether they are
        added to what is there; unused – one number on the device; counters – as for `run_column_sum`.
    Returns: whether `sums` was written.
    """
    rows, width = arguments[-1].shape
    if not rows:
        return False
    grid, (lanes, teams) = team_geometry(rows, width)
    code = kernel(function, arguments[-1].dtype)
    held = teams * width * unused.itemsize
    if sums is None or held > MOST_HELD:
        nothing = unused.reshape(1, 1)
        launch(code, (grid, (lanes, teams)), (*arguments, 0, nothing, counters, nothing, False))
        return False
    blocks = min(grid[0], MOST_SUMMING)
    room, total = scratch((blocks + 1) * width).reshape(blocks + 1, width), sums.reshape(1, width)
    partial, last = room[:blocks], room[blocks:]
    stages = 2 if blocks * width <= LAST_BLOCK else 1
    geometry = ((blocks,), (lanes, teams), held)
    launch(code, geometry, (*arguments, stages, partial, counters, total, accumulate))
    if stages == 1:
        columns = min(-(-width // SUMMED_ACROSS), COUNTERS), 1
        block = (SUMMED_ACROSS, BLOCK // SUMMED_ACROSS)
        launch(kernel(column_sum, partial.dtype), (columns, block), (partial, last, counters, total, accumulate))
    return True


def run_sum(function: Callable[..., Any], x: Any, out: Any, scratch: Scratch, counters: Any, launch: Launch) -> None:
    """out[0] = the sum of a flat array (`total`) or of its squares (`sum_of_squares`), in one launch."""
    blocks, geometry = part_geometry(x.shape[0])
    launch(kernel(function, x.dtype), geometry, (x, scratch(blocks), counters, out))


def run_limit_norm(scales: Any, squares: Any, largest: float, launch: Launch) -> None:
    """Scales by min(1, largest / sqrt(squares[0])), on the device."""
    launch(kernel(limit_norm, scales.dtype), flat_geometry(scales.shape[0]), (scales, squares, largest))
