"""The table of row operations on CUDA: which kernels each one launches, in which order, with which buffers.

An operation that uses a buffer has exclusive access to the device until its last launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ...targets.cuda.geometry import (
    BLOCK,
    MOST_BLOCKS,
    SIMULATED,
    WARP,
    Geometry,
    flat_geometry,
    matrix_geometry,
    team_geometry,
)
from ...targets.cuda.kernel import CudaKernel, Launch
from ...targets.handwritten import Weighted
from . import columns, hinge, softmax
from .compiled import SIGNATURES, kernel
from .embedding import embed_backward
from .labels import repeat_labels
from .normalization import layer_norm, layer_norm_columns, layer_norm_input
from .sums import column_sum, grouped_matmul_weight, limit_norm, scale_columns_backward

Scratch = Callable[[int], Any]
"""Returns a flat buffer of that many elements, which is valid until the next call."""


class Device(Protocol):
    """The methods of a backend that launches need."""

    def launch(self, kernel: CudaKernel, geometry: Geometry, arguments: Sequence[Any]) -> None:
        """Launches a kernel on the device."""

    def exclusive(self) -> AbstractContextManager[Any]:
        """Context in which no other thread uses the buffers."""

    def scratch(self, like: Any) -> Scratch:
        """A function that returns buffers of the type of an array."""

    def counters(self) -> Any:
        """uint32 [COUNTERS], all 0: used by kernels to count finished blocks."""

    def one(self, like: Any) -> Any:
        """An array [1] that contains 1, of the type of another array."""


COUNTERS = MOST_BLOCKS
"""Number of block counters: one for each block along the x axis of a grid."""
MOST_CHUNKS = 64
"""Largest number of chunks of rows in a column sum."""
MOST_SUMMING = 2 if SIMULATED else 528
"""Largest number of blocks of a cross-entropy with column sums, because each block writes a row of partial sums: as many as an
H100 or H200 with its 132 multiprocessors runs concurrently at 64 registers per thread."""
MOST_HELD = 256 if SIMULATED else 47_000
"""Largest size in bytes of the sums in a block's shared memory: the default limit minus what reductions of rows need."""
MOST_EMBEDDED = 256 if SIMULATED else 32_768
"""Bytes of shared memory for the elements of a gradient of embeddings, those of all teams of a block."""
LAST_BLOCK = 16 if SIMULATED else 8192
"""Largest number of partial sums that the last block adds by itself; more of them are added by a separate launch."""
SUMMED_ACROSS = 2 if SIMULATED else 8
"""Columns per block in that separate launch."""


def chunk_geometry(rows: int, width: int) -> tuple[int, Geometry]:
    """(number of chunks that the rows are cut into, geometry) for sums over columns."""
    (columns, _), (across, down) = matrix_geometry(1, width)
    chunks = max(1, min(MOST_CHUNKS, rows // (16 * down) if BLOCK > 8 else rows // (2 * down)))
    return chunks, ((columns, chunks), (across, down))


def part_geometry(count: int) -> tuple[int, Geometry]:
    """(number of partial sums, geometry) for the sum of `count` elements: at least four elements per thread."""
    blocks = max(1, min(MOST_BLOCKS, -(-count // (4 * BLOCK)), 1024))
    return blocks, ((blocks,), (BLOCK,))


def run(function: Callable[..., Any], rows: int, width: int, arguments: tuple[Any, ...], launch: Launch) -> None:
    """Launches a kernel whose rows are independent: a team of threads per row if it reduces rows, else a thread per element."""
    if rows:
        reduces = function not in columns.WORK
        dtype = next(a.dtype for a, kind in zip(arguments, SIGNATURES[function][0], strict=True) if kind == "matrix")
        launch(kernel(function, dtype), (team_geometry if reduces else matrix_geometry)(rows, width), arguments)


def _each(function: Callable[..., Any], of: int = 0) -> Callable[..., None]:
    """An operation that consists of one kernel; `of` – index of the argument that gives the number of rows and columns."""

    def launch(device: Device, *arguments: Any) -> None:
        rows, width = arguments[of].shape
        run(function, rows, width, arguments, device.launch)

    return launch


def _column_sum(device: Device, x: Any, out: Any, accumulate: bool = True) -> None:
    """out = the column sums of x, or added to out; one launch."""
    _summed(device, column_sum, (x,), out, accumulate)


def _grouped_matmul_weight(device: Device, x: Any, dy: Any, dweight: Any, accumulate: bool = True) -> None:
    """dweight = sums of products of columns of x and dy, or added to dweight; one launch."""
    _summed(device, grouped_matmul_weight, (x, dy, dweight.shape[1]), dweight, accumulate)


def _summed(device: Device, function: Callable[..., Any], given: tuple[Any, ...], out: Any, accumulate: bool) -> None:
    """Launches a kernel that sums over the rows of its arguments, and writes or adds one number for each element of `out`."""
    x, width = given[0], out.size
    if x.size:
        chunks, geometry = chunk_geometry(x.shape[0], width)
        with device.exclusive():
            partial = device.scratch(out)(chunks * width).reshape(chunks, width)
            arguments = (*given, partial, device.counters(), out.reshape(1, width), accumulate)
            device.launch(kernel(function, x.dtype), geometry, arguments)
    elif not accumulate:
        out[...] = 0.0


def _grouped_matmul(device: Device, x: Any, weight: Any, out: Any, accumulate: bool = False) -> None:
    rows, width = out.shape
    run(columns.grouped_matmul, rows, width, (x, weight, out, accumulate), device.launch)


def _layer_norm_backward(
    device: Device, dy: Any, x: Any, gain: Any, mean: Any, scale: Any, dx: Any, dgain: Any, doffset: Any,
    accumulate: bool = True,
) -> None:  # fmt: skip
    """Two launches; the sums over rows come first, so that dx may be the same array as dy or x."""
    if x.size:
        rows, width = x.shape
        chunks, geometry = chunk_geometry(rows, width)
        with device.exclusive():
            partial = device.scratch(dgain)(2 * chunks * width).reshape(2, chunks, width)
            sums = (partial[0], partial[1], device.counters(), dgain.reshape(1, width), doffset.reshape(1, width), accumulate)
            device.launch(kernel(layer_norm_columns, x.dtype), geometry, (dy, x, mean, scale, *sums))
            run(layer_norm_input, rows, width, (dy, x, gain, mean, scale, dx), device.launch)
    elif not accumulate:
        dgain[...] = 0.0
        doffset[...] = 0.0


def _scale_columns_backward(
    device: Device, dy: Any, x: Any, factor: Any, dx: Any, dfactor: Any, doffset: Any, accumulate: bool = True
) -> None:
    """One launch."""
    if x.size:
        rows, width = x.shape
        chunks, geometry = chunk_geometry(rows, width)
        with device.exclusive():
            partial = device.scratch(dfactor)(2 * chunks * width).reshape(2, chunks, width)
            sums = (partial[0], partial[1], device.counters(), dfactor.reshape(1, width), doffset.reshape(1, width), accumulate)
            device.launch(kernel(scale_columns_backward, x.dtype), geometry, (dy, x, factor, dx, *sums))
    elif not accumulate:
        dfactor[...] = 0.0
        doffset[...] = 0.0


def _embed_backward(device: Device, dy: Any, x: Any, table: Any, out: Any, accumulate: bool = True) -> None:
    """out = sums of the rows of dy by code, or added to out; one launch. Few elements are shared out by rows as well."""
    if not dy.size:
        if not accumulate:
            out[...] = 0.0
        return
    rows, size = dy.shape[0], out.shape[0]
    lanes = WARP // 2
    teams = BLOCK // lanes
    room = MOST_EMBEDDED // (teams * out.itemsize)
    parts = -(-size // room)
    chunks = max(1, min(MOST_CHUNKS, rows // BLOCK, MOST_SUMMING // parts)) if parts <= COUNTERS else 1
    geometry = (min(parts, MOST_BLOCKS), chunks), (lanes, teams), MOST_EMBEDDED
    with device.exclusive():
        sums = device.scratch(out)(chunks * size).reshape(chunks, size) if chunks > 1 else device.one(out).reshape(1, 1)
        arguments = (dy, x, table, room, sums, device.counters(), out, accumulate)
        device.launch(kernel(embed_backward, dy.dtype), geometry, arguments)


def _softmax_cross_entropy(
    device: Device, logits: Any, labels: Any, weights: Any, on: float, off: float, factor: float, losses: Any, gradient: Any,
    sums: Any = None, accumulate: bool = False, scale: Any = None, *row_weights: Any,
) -> bool:  # fmt: skip
    one = device.one(losses)
    given = (logits, labels, one if weights is None else weights, on, off, factor, one if scale is None else scale)
    return _cross_entropy(device, softmax.softmax_cross_entropy, (*given, losses, gradient), sums, accumulate, row_weights)


def _softmax_cross_entropy_soft(
    device: Device, logits: Any, targets: Any, factor: float, losses: Any, gradient: Any, sums: Any = None,
    accumulate: bool = False, scale: Any = None, *row_weights: Any,
) -> bool:  # fmt: skip
    given = (logits, targets, factor, device.one(losses) if scale is None else scale)
    return _cross_entropy(device, softmax.softmax_cross_entropy_soft, (*given, losses, gradient), sums, accumulate, row_weights)


def _focal_loss(
    device: Device, logits: Any, labels: Any, weights: Any, gamma: float, factor: float, losses: Any, gradient: Any,
    sums: Any = None, accumulate: bool = False, scale: Any = None, *row_weights: Any,
) -> bool:  # fmt: skip
    one = device.one(losses)
    given = (logits, labels, one if weights is None else weights, gamma, factor, one if scale is None else scale)
    return _cross_entropy(device, softmax.focal_loss, (*given, losses, gradient), sums, accumulate, row_weights)


def _cross_entropy(
    device: Device, function: Callable[..., Any], arguments: tuple[Any, ...], sums: Any, accumulate: bool,
    row_weights: tuple[Any, ...],
) -> bool:  # fmt: skip
    """Launches a loss of softmax.py, with the column sums of the unrounded gradient if they fit into shared memory.

    Args: arguments – of the kernel, the last two being losses and gradient; sums – output for the column sums, or None;
        row_weights – an array [B], or nothing.
    Returns: whether `sums` was written.
    """
    rows, width = arguments[-1].shape
    if not rows:
        return False
    losses = arguments[-2]
    grid, (lanes, teams) = team_geometry(rows, width)
    code = kernel(Weighted.of(function, row_weights), arguments[-1].dtype)
    held = teams * width * losses.itemsize
    with device.exclusive():
        counters = device.counters()
        if sums is None or held > MOST_HELD:
            nothing = device.one(losses).reshape(1, 1)
            device.launch(code, (grid, (lanes, teams)), (*arguments, 0, nothing, counters, nothing, False, *row_weights))
            return False
        blocks = min(grid[0], MOST_SUMMING)
        room, total = device.scratch(losses)((blocks + 1) * width).reshape(blocks + 1, width), sums.reshape(1, width)
        partial, last = room[:blocks], room[blocks:]
        stages = 2 if blocks * width <= LAST_BLOCK else 1
        summed = (stages, partial, counters, total, accumulate)
        device.launch(code, ((blocks,), (lanes, teams), held), (*arguments, *summed, *row_weights))
        if stages == 1:
            across = min(-(-width // SUMMED_ACROSS), COUNTERS), 1
            block = (SUMMED_ACROSS, BLOCK // SUMMED_ACROSS)
            device.launch(kernel(column_sum, partial.dtype), (across, block), (partial, last, counters, total, accumulate))
    return True


def _multi_class_hinge(
    device: Device, scores: Any, labels: Any, factor: float, losses: Any, gradient: Any, *row_weights: Any
) -> None:  # fmt: skip
    function = Weighted.of(hinge.multi_class_hinge, row_weights)
    rows, width = scores.shape
    run(function, rows, width, (scores, labels, factor, losses, gradient, *row_weights), device.launch)


def _repeat_labels(device: Device, labels: Any, out: Any) -> None:
    """Each label several times; the kernel is the same for all types of reals, because it reads none."""
    if out.size:
        device.launch(kernel(repeat_labels, "float32"), flat_geometry(out.shape[0]), (labels, out))


ROWS: dict[str, Callable[..., Any]] = {
    "softmax": _each(softmax.softmax),
    "softmax_cross_entropy": _softmax_cross_entropy,
    "softmax_cross_entropy_soft": _softmax_cross_entropy_soft,
    "focal_loss": _focal_loss,
    "multi_class_hinge": _multi_class_hinge,
    "layer_norm": _each(layer_norm),
    "layer_norm_backward": _layer_norm_backward,
    "scale_columns_backward": _scale_columns_backward,
    "column_sum": _column_sum,
    "embed_backward": _embed_backward,
    **{function.__name__: _each(function, of) for function, of in columns.WORK.items()},
    "grouped_matmul": _grouped_matmul,
    "grouped_matmul_weight": _grouped_matmul_weight,
    "repeat_labels": _repeat_labels,
}
"""Operation -> function that launches it; takes a Device and the arguments of the reference."""


def run_sum(device: Device, function: Callable[..., Any], x: Any, out: Any) -> None:
    """out[0] = the sum of a flat array (`total`) or of its squares (`sum_of_squares`), in one launch."""
    blocks, geometry = part_geometry(x.shape[0])
    with device.exclusive():
        device.launch(kernel(function, x.dtype), geometry, (x, device.scratch(out)(blocks), device.counters(), out))


def run_limit_norm(device: Device, scales: Any, squares: Any, largest: float, most: float) -> None:
    """scales *= min(1, largest / sqrt(squares[0])), on the device; NaN unless squares[0] <= most."""
    device.launch(kernel(limit_norm, scales.dtype), flat_geometry(scales.shape[0]), (scales, squares, largest, most))
