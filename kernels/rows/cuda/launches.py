"""How the kernels are launched: their geometry, the buffers between two of them, and in what order.

A `launch` is the backend's way to hand a kernel to the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...targets.cuda.geometry import BLOCK, MOST_BLOCKS, Geometry, flat_geometry, matrix_geometry, team_geometry
from ...targets.cuda.kernel import Launch
from . import columns
from .compiled import SIGNATURES, kernel
from .normalization import layer_norm_columns, layer_norm_input
from .sums import add_chunks, add_parts, column_sum_chunks, limit_norm

MOST_CHUNKS = 64
"""Most parts that the rows of a matrix are cut into for sums over columns."""


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


def run_column_sum(x: Any, out: Any, scratch: Callable[[int], Any], launch: Launch) -> None:
    """out += the sum over the rows of x, through `scratch(size)`, a flat buffer of the dtype of out."""
    rows, width = x.shape
    if not rows or not width:
        return
    chunks, geometry = chunk_geometry(rows, width)
    partial = scratch(chunks * width).reshape(chunks, width)
    launch(kernel(column_sum_chunks, x.dtype), geometry, (x, partial))
    launch(kernel(add_chunks, out.dtype), flat_geometry(width), (partial, out))


def run_layer_norm_backward(
    dy: Any, x: Any, gain: Any, mean: Any, scale: Any, dx: Any, dgain: Any, doffset: Any,
    scratch: Callable[[int], Any], launch: Launch,
) -> None:  # fmt: skip
    """See `layer_norm_backward` in kernels/rows/reference.py; sums over rows first, so that dx may be dy or x."""
    rows, width = x.shape
    if not rows or not width:
        return
    chunks, geometry = chunk_geometry(rows, width)
    partial = scratch(2 * chunks * width).reshape(2, chunks, width)
    launch(kernel(layer_norm_columns, x.dtype), geometry, (dy, x, mean, scale, partial[0], partial[1]))
    for part, out in ((partial[0], dgain), (partial[1], doffset)):
        launch(kernel(add_chunks, out.dtype), flat_geometry(width), (part, out))
    run(layer_norm_input, rows, width, (dy, x, gain, mean, scale, dx), launch)


def run_sum(function: Callable[..., Any], x: Any, out: Any, scratch: Callable[[int], Any], launch: Launch) -> None:
    """out[0] = the sum of a flat array (`total_parts`) or of its squares (`sum_of_squares_parts`)."""
    blocks, geometry = part_geometry(x.shape[0])
    partial = scratch(blocks)
    launch(kernel(function, x.dtype), geometry, (x, partial))
    launch(kernel(add_parts, out.dtype), ((1,), (BLOCK,)), (partial, out))


def run_limit_norm(scales: Any, squares: Any, largest: float, launch: Launch) -> None:
    """Scales by min(1, largest / sqrt(squares[0])), on the device."""
    launch(kernel(limit_norm, scales.dtype), flat_geometry(scales.shape[0]), (scales, squares, largest))
