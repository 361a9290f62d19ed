"""Row and column kernels for CUDA; names, arguments and meaning as in kernels/rows/reference.py.

A team of threads shares a row and reduces it in shared memory; sums over many rows take two launches through a buffer
of partial sums, always added in the same order, so that the same call always gives the same bits.
"""

# The functions below are compiled with `real` as the type that they compute in, `load` and `store` as the way in and out
# of arrays whose elements may have 16 bits, the words of the vocabulary and the constants of `source` (see
# kernels/targets/handwritten.py); what stands in for them here only makes them readable. Loops that hold a `syncthreads`
# run equally often for all threads of a block.
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import exp, log, sqrt
from typing import Any

import numba
import numpy as np
from numba import cuda, types

from ..targets.cpu import expansions
from ..targets.cuda import (
    BLOCK,
    BOUND,
    MOST_BLOCKS,
    SIMULATED,
    WARP,
    Generated,
    Geometry,
    Kernel,
    Launch,
    array_type,
    flat_geometry,
    matrix_geometry,
    team_geometry,
)
from ..targets.handwritten import kernel_text
from ..targets.source import Spelling
from ..targets.storage import NARROW, Storage, computed_in

real = load = store = float
i64 = int
LOWEST = -float("inf")
EVERYBODY = 0xFFFFFFFF
"""All threads of a warp."""
SHUFFLES = not SIMULATED
"""Whether threads of a warp hand values to each other directly, which the simulator cannot."""
MOST_CHUNKS = 64
"""Most parts that the rows of a matrix are cut into for sums over columns."""


# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
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


def softmax(x, out):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = team * lanes + lane
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        top = LOWEST
        if i < rows:
            for j in range(lane, width, lanes):
                value = load(x[i, j])
                top = value if value > top else top
        top = team_max(part, slot, lane, lanes, top)
        total = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                total += exp(load(x[i, j]) - top)
        total = team_sum(part, slot, lane, lanes, total)
        inverse = real(1.0) / total
        if i < rows:
            for j in range(lane, width, lanes):
                out[i, j] = store(exp(load(x[i, j]) - top) * inverse)


def softmax_cross_entropy(logits, labels, weights, on, off, factor, losses, gradient):
    part = cuda.shared.array(BLOCK, real)
    rows, width = logits.shape
    mass = on + off * real(width - 1)
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = team * lanes + lane
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        top = LOWEST
        label = 0
        own = real(0.0)
        if i < rows:
            label = labels[i]
            own = load(logits[i, label])  # read before anybody writes: `gradient` may be the same array
            for j in range(lane, width, lanes):
                value = load(logits[i, j])
                top = value if value > top else top
        top = team_max(part, slot, lane, lanes, top)
        total = real(0.0)
        shifted_sum = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                shifted = load(logits[i, j]) - top
                total += exp(shifted)
                shifted_sum += shifted
        total = team_sum(part, slot, lane, lanes, total)
        if off != real(0.0):
            shifted_sum = team_sum(part, slot, lane, lanes, shifted_sum)
        else:
            shifted_sum = real(0.0)
        if i < rows:
            weight = weights[label] if weights.shape[0] == width else real(1.0)
            if lane == 0:
                losses[i] = weight * (mass * log(total) - off * shifted_sum - (on - off) * (own - top))
            scale = weight * factor
            inverse = scale * mass / total
            shift = scale * off
            for j in range(lane, width, lanes):
                slope = exp(load(logits[i, j]) - top) * inverse - shift
                gradient[i, j] = store(slope - scale * (on - off) if j == label else slope)


def softmax_cross_entropy_soft(logits, targets, factor, losses, gradient):
    part = cuda.shared.array(BLOCK, real)
    rows, width = logits.shape
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = team * lanes + lane
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        top = LOWEST
        if i < rows:
            for j in range(lane, width, lanes):
                value = load(logits[i, j])
                top = value if value > top else top
        top = team_max(part, slot, lane, lanes, top)
        total = real(0.0)
        mass = real(0.0)
        product = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                shifted = load(logits[i, j]) - top
                total += exp(shifted)
                mass += targets[i, j]
                product += targets[i, j] * shifted
        total = team_sum(part, slot, lane, lanes, total)
        mass = team_sum(part, slot, lane, lanes, mass)
        product = team_sum(part, slot, lane, lanes, product)
        if i < rows:
            if lane == 0:
                losses[i] = mass * log(total) - product
            inverse = mass / total
            for j in range(lane, width, lanes):
                gradient[i, j] = store(factor * (exp(load(logits[i, j]) - top) * inverse - targets[i, j]))


def multi_class_hinge(scores, labels, factor, losses, gradient):
    part = cuda.shared.array(BLOCK, real)
    place = cuda.shared.array(BLOCK, i64)
    rows, width = scores.shape
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = team * lanes + lane
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        best = LOWEST
        rival = i64(width)
        label = 0
        own = real(0.0)
        if i < rows:
            label = labels[i]
            own = load(scores[i, label])
            for j in range(lane, width, lanes):
                value = load(scores[i, j])
                if j != label and (value > best or rival == width or value != value):
                    best = value
                    rival = i64(j)
        part[slot] = best
        place[slot] = rival
        cuda.syncthreads()
        half = lanes >> 1
        while half > 0:
            if lane < half:
                other = slot + half
                tied = part[other] == part[slot] and place[other] < place[slot]
                if part[other] > part[slot] or tied or part[other] != part[other]:
                    part[slot] = part[other]
                    place[slot] = place[other]
            cuda.syncthreads()
            half >>= 1
        best = part[slot - lane]
        rival = place[slot - lane]
        cuda.syncthreads()
        if i < rows:
            margin = real(1.0) + best - own
            active = not margin <= real(0.0)
            if lane == 0:
                losses[i] = margin if active else real(0.0)
            for j in range(lane, width, lanes):
                slope = factor if j == rival else (-factor if j == label else real(0.0))
                gradient[i, j] = store(slope if active else real(0.0))


def layer_norm(x, gain, offset, epsilon, out, mean, scale):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    share = real(1.0) / real(width)
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = team * lanes + lane
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        total = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                total += load(x[i, j])
        average = team_sum(part, slot, lane, lanes, total) * share
        squares = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                centred = load(x[i, j]) - average
                squares += centred * centred
        squares = team_sum(part, slot, lane, lanes, squares)
        inverse = real(1.0) / sqrt(squares * share + epsilon)
        if i < rows:
            if lane == 0:
                mean[i] = average
                scale[i] = inverse
            for j in range(lane, width, lanes):
                out[i, j] = store((load(x[i, j]) - average) * inverse * load(gain[j]) + load(offset[j]))


def layer_norm_input(dy, x, gain, mean, scale, dx):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    share = real(1.0) / real(width)
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = team * lanes + lane
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        plain = real(0.0)
        product = real(0.0)
        average = real(0.0)
        inverse = real(0.0)
        if i < rows:
            average = mean[i]
            inverse = scale[i]
            for j in range(lane, width, lanes):
                g = load(dy[i, j]) * load(gain[j])
                plain += g
                product += g * ((load(x[i, j]) - average) * inverse)
        plain = team_sum(part, slot, lane, lanes, plain) * share
        product = team_sum(part, slot, lane, lanes, product) * share
        if i < rows:
            for j in range(lane, width, lanes):
                n = (load(x[i, j]) - average) * inverse
                dx[i, j] = store(inverse * (load(dy[i, j]) * load(gain[j]) - plain - n * product))


def layer_norm_columns(dy, x, mean, scale, gains, offsets):
    # Sums over one chunk of the rows (along the grid's y): threads side by side take neighbouring columns.
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    share = (rows + gains.shape[0] - 1) // gains.shape[0]
    chunk = cuda.blockIdx.y
    start, stop = chunk * share, min(rows, (chunk + 1) * share)
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = lane * teams + team
    for first in range(cuda.blockIdx.x * lanes, width, cuda.gridDim.x * lanes):
        j = first + lane
        gain_sum = real(0.0)
        offset_sum = real(0.0)
        if j < width:
            for i in range(start + team, stop, teams):
                slope = load(dy[i, j])
                gain_sum += slope * ((load(x[i, j]) - mean[i]) * scale[i])
                offset_sum += slope
        gain_sum = shared_sum(part, slot, team, teams, gain_sum)
        offset_sum = shared_sum(part, slot, team, teams, offset_sum)
        if team == 0 and j < width:
            gains[chunk, j] = gain_sum
            offsets[chunk, j] = offset_sum


def column_sum_chunks(x, partial):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    share = (rows + partial.shape[0] - 1) // partial.shape[0]
    chunk = cuda.blockIdx.y
    start, stop = chunk * share, min(rows, (chunk + 1) * share)
    lane, team = cuda.threadIdx.x, cuda.threadIdx.y
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    slot = lane * teams + team
    for first in range(cuda.blockIdx.x * lanes, width, cuda.gridDim.x * lanes):
        j = first + lane
        value = real(0.0)
        if j < width:
            for i in range(start + team, stop, teams):
                value += load(x[i, j])
        value = shared_sum(part, slot, team, teams, value)
        if team == 0 and j < width:
            partial[chunk, j] = value


def add_chunks(partial, out):
    for j in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        value = real(0.0)
        for chunk in range(partial.shape[0]):
            value += partial[chunk, j]
        out[j] += value


def total_parts(x, partial):
    # Compensated (Kahan), so that long strides lose nothing; the correction of an infinite sum would be NaN.
    part = cuda.shared.array(BLOCK, real)
    value = real(0.0)
    lost = real(0.0)
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        term = load(x[i]) - lost
        larger = value + term
        lost = (larger - value) - term
        lost = lost if lost == lost else real(0.0)
        value = larger
    lane = cuda.threadIdx.x
    value = shared_sum(part, lane, lane, cuda.blockDim.x, value)
    if lane == 0:
        partial[cuda.blockIdx.x] = value


def sum_of_squares_parts(x, partial):
    part = cuda.shared.array(BLOCK, real)
    value = real(0.0)
    lost = real(0.0)
    count, stride = x.shape[0], cuda.gridsize(1)
    for i in range(cuda.grid(1), count, 4 * stride):
        # Four loads that do not wait for each other, added up before they enter the chain of the compensated sum.
        a = load(x[i])
        b = load(x[i + stride]) if i + stride < count else real(0.0)
        c = load(x[i + 2 * stride]) if i + 2 * stride < count else real(0.0)
        d = load(x[i + 3 * stride]) if i + 3 * stride < count else real(0.0)
        term = ((a * a + b * b) + (c * c + d * d)) - lost
        larger = value + term
        lost = (larger - value) - term
        lost = lost if lost == lost else real(0.0)
        value = larger
    lane = cuda.threadIdx.x
    value = shared_sum(part, lane, lane, cuda.blockDim.x, value)
    if lane == 0:
        partial[cuda.blockIdx.x] = value


def add_parts(partial, out):
    part = cuda.shared.array(BLOCK, real)
    value = real(0.0)
    lane = cuda.threadIdx.x
    for i in range(lane, partial.shape[0], cuda.blockDim.x):
        value += partial[i]
    value = shared_sum(part, lane, lane, cuda.blockDim.x, value)
    if lane == 0:
        out[0] = value


def limit_norm(scales, squares, largest):
    norm = sqrt(squares[0])
    factor = largest / norm if norm > largest else real(1.0)
    if not norm < -LOWEST:
        factor = norm - norm  # NaN, from infinity as well as from NaN
    for i in range(cuda.grid(1), scales.shape[0], cuda.gridsize(1)):
        scales[i] *= factor


def maxout(z, out, winner):
    rows, units = out.shape
    pieces = z.shape[1] // units
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, rows, down):
        for j in range(left, units, across):
            best = load(z[i, j])
            which = 0
            for k in range(1, pieces):
                value = load(z[i, k * units + j])
                if value > best or value != value:
                    best = value
                    which = k
            out[i, j] = store(best)
            winner[i, j] = which


def maxout_spread(dy, winner, dz):
    rows, units = dy.shape
    pieces = dz.shape[1] // units
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, rows, down):
        for j in range(left, units, across):
            for k in range(pieces):
                dz[i, k * units + j] = store(load(dy[i, j]) if winner[i, j] == k else real(0.0))


def maxout_pick(z, winner, out):
    rows, units = out.shape
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, rows, down):
        for j in range(left, units, across):
            out[i, j] = store(load(z[i, winner[i, j] * units + j]))


def take_columns(x, table, out):
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, x.shape[0], down):
        for j in range(left, table.shape[0], across):
            column = table[j]
            out[i, j] = store(load(x[i, column]) if column >= 0 else real(0.0))


def sum_columns(x, table, out):
    width, most = table.shape
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, x.shape[0], down):
        for j in range(left, width, across):
            value = real(0.0)
            for k in range(most):
                column = table[j, k]
                if column >= 0:
                    value += load(x[i, column])
            out[i, j] = store(value)


def largest_columns(x, table, out, winner):
    units, size = table.shape
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, x.shape[0], down):
        for j in range(left, units, across):
            best = load(x[i, table[j, 0]])
            which = 0
            for k in range(1, size):
                value = load(x[i, table[j, k]])
                if value > best or value != value:
                    best = value
                    which = k
            out[i, j] = store(best)
            winner[i, j] = which


def largest_columns_spread(dy, winner, table, dx):
    width, most = table.shape
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, dy.shape[0], down):
        for j in range(left, width, across):
            value = real(0.0)
            for k in range(most):
                code = table[j, k]
                if code >= 0 and winner[i, code >> 8] == code & 255:
                    value += load(dy[i, code >> 8])
            dx[i, j] = store(value)


def largest_columns_pick(x, table, winner, out):
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, x.shape[0], down):
        for j in range(left, table.shape[0], across):
            out[i, j] = store(load(x[i, table[j, winner[i, j]]]))


_SHARED = (shared_sum,)
_SUM, _MAX = (*_SHARED, team_sum), (*_SHARED, team_max, team_sum)
SIGNATURES: dict[Callable[..., Any], tuple[tuple[str, ...], tuple[str, ...], tuple[Callable[..., Any], ...]]] = {
    softmax: (("matrix", "matrix"), ("exp",), _MAX),
    softmax_cross_entropy: (
        ("matrix", "labels", "sums", "number", "number", "number", "sums", "matrix"), ("exp", "log"), _MAX
    ),
    softmax_cross_entropy_soft: (("matrix", "table", "number", "sums", "matrix"), ("exp", "log"), _MAX),
    multi_class_hinge: (("matrix", "labels", "number", "sums", "matrix"), (), ()),
    layer_norm: (("matrix", "vector", "vector", "number", "matrix", "sums", "sums"), ("sqrt",), _SUM),
    layer_norm_input: (("matrix", "matrix", "vector", "sums", "sums", "matrix"), (), _SUM),
    layer_norm_columns: (("matrix", "matrix", "sums", "sums", "table", "table"), (), _SHARED),
    column_sum_chunks: (("matrix", "table"), (), _SHARED),
    add_chunks: (("table", "sums"), (), ()),
    total_parts: (("vector", "sums"), (), _SHARED),
    sum_of_squares_parts: (("vector", "sums"), (), _SHARED),
    add_parts: (("sums", "sums"), (), _SHARED),
    limit_norm: (("sums", "sums", "number"), ("sqrt",), ()),
    maxout: (("matrix", "matrix", "winners"), (), ()),
    maxout_spread: (("matrix", "winners", "matrix"), (), ()),
    maxout_pick: (("matrix", "winners", "matrix"), (), ()),
    take_columns: (("matrix", "labels", "matrix"), (), ()),
    sum_columns: (("matrix", "columns", "matrix"), (), ()),
    largest_columns: (("matrix", "columns", "matrix", "winners"), (), ()),
    largest_columns_spread: (("matrix", "winners", "columns", "matrix"), (), ()),
    largest_columns_pick: (("matrix", "columns", "winners", "matrix"), (), ()),
}  # fmt: skip
"""What each kernel takes, the words of the vocabulary that it calls, and the functions of this file that it calls.

"matrix" and "vector" are stored in any type, "table" and "sums" in what is computed in.
"""

BY_ELEMENT = frozenset({
    maxout, maxout_spread, maxout_pick, take_columns, sum_columns, largest_columns, largest_columns_spread,
    largest_columns_pick,
})  # fmt: skip
"""Kernels in which a thread has an element to itself."""
_KINDS = {"labels": (np.int32, 1), "columns": (np.int32, 2), "winners": (np.uint8, 2)}
_ROUND = """\
{decorator}
def load(x):
    return {load}


{decorator}
def store(x):
    {before}
    return {stored}"""


def source(function: Callable[..., Any], dtype: np.dtype[Any], stored: str = "") -> Generated:
    """One of the functions above as a module.

    Args: dtype – what it computes in; stored – how matrices and vectors are stored, the same unless given.
    """
    kinds, words, helpers = SIGNATURES[function]
    storage = Storage(stored or str(dtype))
    spelling = Spelling(dtype)
    settings: dict[str, object] = {
        **BOUND, "BLOCK": BLOCK, "WARP": WARP, "SHUFFLES": SHUFFLES, "EVERYBODY": EVERYBODY,
        "LOWEST": f'{spelling.real}(-float("inf"))',
    }  # fmt: skip
    decorator = '@cuda.jit(device=True, inline="always")'
    before, rounded = storage.rounded("x")
    if before:
        ways = _ROUND.format(decorator=decorator, load=storage.load("x"), before="; ".join(before), stored=rounded)
    else:
        ways = f"load = store = {spelling.real}"
    text = kernel_text(function, words, dtype, expansions(dtype), decorator, settings, helpers, ways)
    parameters: list[types.Type] = []
    narrow: dict[int, str] = {}
    for position, kind in enumerate(kinds):
        if kind == "number":
            parameters.append(numba.from_dtype(dtype))
        elif kind in _KINDS:
            element, dimensions = _KINDS[kind]
            parameters.append(array_type(np.dtype(element), dimensions))
        else:
            held = storage.seen if kind in ("matrix", "vector") else dtype
            if held is storage.seen:
                narrow[position] = storage.name
            parameters.append(array_type(held, 2 if kind in ("matrix", "table") else 1))
    return Generated(function.__name__, text, tuple(parameters), narrow)


@cache
def _kernel(function: Callable[..., Any], dtype: np.dtype[Any], stored: str) -> Kernel:
    return Kernel(source(function, dtype, stored))


def kernel(function: Callable[..., Any], dtype: Any) -> Kernel:
    """One of the functions above, compiled for matrices and vectors of that type."""
    stored = str(dtype)
    return _kernel(function, computed_in([dtype]), stored if stored in NARROW else "")


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
        reduces = function not in BY_ELEMENT
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
