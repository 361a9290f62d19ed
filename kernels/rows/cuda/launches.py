"""The table of row operations on CUDA: how their kernels are launched, in which order, with which buffers.

An operation that uses a buffer has exclusive access to the device until its last launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ...targets.cuda.geometry import BLOCK, MOST_BLOCKS, SIMULATED, Geometry, flat_geometry, matrix_geometry, team_geometry
from ...targets.cuda.kernel import CudaKernel, Launch
from . import columns, hinge, softmax
from .compiled import SIGNATURES, kernel
from .normalization import layer_norm, layer_norm_columns, layer_norm_input
from .sums import column_sum, limit_norm

Scratch = Callable[[int], Any]
"""Lends a flat buffer of that many elements until the next call."""


class Device(Protocol):
    """What launches need of a backend."""

    def launch(self, kernel: CudaKernel, geometry: Geometry, arguments: Sequence[Any]) -> None:
        """Hands a kernel to the device."""

    def exclusive(self) -> AbstractContextManager[Any]:
        """Within it no other thread uses the buffers."""

    def scratch(self, like: Any) -> Scratch:
        """Lends buffers of the type of an array."""

    def counters(self) -> Any:
        """COUNTERS of blocks, all 0."""

    def one(self, like: Any) -> Any:
        """An array with a single 1, of the type of another one."""


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
        reduces = function not in columns.WORK
        dtype = next(a.dtype for a, kind in zip(arguments, SIGNATURES[function][0], strict=True) if kind == "matrix")
        launch(kernel(function, dtype), (team_geometry if reduces else matrix_geometry)(rows, width), arguments)


def _each(function: Callable[..., Any], of: int = 0) -> Callable[..., None]:
    """An operation that is one kernel; `of` – the argument that has as many rows and columns as there is work."""

    def launch(device: Device, *arguments: Any) -> None:
        rows, width = arguments[of].shape
        run(function, rows, width, arguments, device.launch)

    return launch


def _column_sum(device: Device, x: Any, out: Any, accumulate: bool = True) -> None:
    """One launch."""
    if x.size:
        rows, width = x.shape
        chunks, geometry = chunk_geometry(rows, width)
        with device.exclusive():
            partial = device.scratch(out)(chunks * width).reshape(chunks, width)
            arguments = (x, partial, device.counters(), out.reshape(1, width), accumulate)
            device.launch(kernel(column_sum, x.dtype), geometry, arguments)
    elif not accumulate:
        out[...] = 0.0


def _layer_norm_backward(
    device: Device, dy: Any, x: Any, gain: Any, mean: Any, scale: Any, dx: Any, dgain: Any, doffset: Any,
    accumulate: bool = True,
) -> None:  # fmt: skip
    """Two launches; sums over rows first, so that dx may be dy or x."""
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


def _softmax_cross_entropy(
    device: Device, logits: Any, labels: Any, weights: Any, on: float, off: float, factor: float, losses: Any, gradient: Any,
    sums: Any = None, accumulate: bool = False, scale: Any = None,
) -> bool:  # fmt: skip
    one = device.one(losses)
    given = (logits, labels, one if weights is None else weights, on, off, factor, one if scale is None else scale)
    return _cross_entropy(device, softmax.softmax_cross_entropy, (*given, losses, gradient), sums, accumulate)


def _softmax_cross_entropy_soft(
    device: Device, logits: Any, targets: Any, factor: float, losses: Any, gradient: Any, sums: Any = None,
    accumulate: bool = False, scale: Any = None,
) -> bool:  # fmt: skip
    given = (logits, targets, factor, device.one(losses) if scale is None else scale)
    return _cross_entropy(device, softmax.softmax_cross_entropy_soft, (*given, losses, gradient), sums, accumulate)


def _cross_entropy(
    device: Device, function: Callable[..., Any], arguments: tuple[Any, ...], sums: Any, accumulate: bool
) -> bool:
    """One of the cross-entropies of softmax.py; the column sums of its gradient, before that is rounded, where there is room.

    Args: arguments – of the kernel, losses and gradient last; sums – where the column sums go, or None.
    Returns: whether `sums` was written.
    """
    rows, width = arguments[-1].shape
    if not rows:
        return False
    losses = arguments[-2]
    grid, (lanes, teams) = team_geometry(rows, width)
    code = kernel(function, arguments[-1].dtype)
    held = teams * width * losses.itemsize
    with device.exclusive():
        counters = device.counters()
        if sums is None or held > MOST_HELD:
            nothing = device.one(losses).reshape(1, 1)
            device.launch(code, (grid, (lanes, teams)), (*arguments, 0, nothing, counters, nothing, False))
            return False
        blocks = min(grid[0], MOST_SUMMING)
        room, total = device.scratch(losses)((blocks + 1) * width).reshape(blocks + 1, width), sums.reshape(1, width)
        partial, last = room[:blocks], room[blocks:]
        stages = 2 if blocks * width <= LAST_BLOCK else 1
        device.launch(code, ((blocks,), (lanes, teams), held), (*arguments, stages, partial, counters, total, accumulate))
        if stages == 1:
            across = min(-(-width // SUMMED_ACROSS), COUNTERS), 1
            block = (SUMMED_ACROSS, BLOCK // SUMMED_ACROSS)
            device.launch(kernel(column_sum, partial.dtype), (across, block), (partial, last, counters, total, accumulate))
    return True


ROWS: dict[str, Callable[..., Any]] = {
    "softmax": _each(softmax.softmax),
    "softmax_cross_entropy": _softmax_cross_entropy,
    "softmax_cross_entropy_soft": _softmax_cross_entropy_soft,
    "multi_class_hinge": _each(hinge.multi_class_hinge),
    "layer_norm": _each(layer_norm),
    "layer_norm_backward": _layer_norm_backward,
    "column_sum": _column_sum,
    **{function.__name__: _each(function, of) for function, of in columns.WORK.items()},
}
"""Operation -> what launches it, on a Device and the arguments of the reference."""


def run_sum(device: Device, function: Callable[..., Any], x: Any, out: Any) -> None:
    """out[0] = the sum of a flat array (`total`) or of its squares (`sum_of_squares`), in one launch."""
    blocks, geometry = part_geometry(x.shape[0])
    with device.exclusive():
        device.launch(kernel(function, x.dtype), geometry, (x, device.scratch(out)(blocks), device.counters(), out))


def run_limit_norm(device: Device, scales: Any, squares: Any, largest: float) -> None:
    """Scales by min(1, largest / sqrt(squares[0])), on the device."""
    device.launch(kernel(limit_norm, scales.dtype), flat_geometry(scales.shape[0]), (scales, squares, largest))
