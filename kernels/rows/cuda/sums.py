"""Sums over rows and over whole arrays, and norm clipping based on them.

Blocks write partial sums, and the last block adds them in a fixed order, so each sum takes one launch.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from math import sqrt

from numba import cuda

from ...targets.cuda.geometry import BLOCK
from .chunks import CHUNKS, add_chunks, chunk_rows, last_chunk, sum_to
from .teams import LOWEST, Signatures, last_block, load, places, real, shared_sum, store


def column_sum(x, partial, counters, out, adds):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    start, stop = chunk_rows(rows)
    lane, team, lanes, teams, _ = places()
    for first in range(cuda.blockIdx.x * lanes, width, cuda.gridDim.x * lanes):
        j = first + lane
        value = real(0.0)
        if j < width:
            for i in range(start + team, stop, teams):
                value += load(x[i, j])
        sum_to(part, value, j, partial, cuda.blockIdx.y, 0)
    if last_chunk(counters):
        add_chunks(part, partial, out, adds)


def scale_columns_backward(dy, x, factor, dx, factor_parts, offset_parts, counters, dfactor, doffset, adds):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    start, stop = chunk_rows(rows)
    lane, team, lanes, teams, _ = places()
    for first in range(cuda.blockIdx.x * lanes, width, cuda.gridDim.x * lanes):
        j = first + lane
        factor_sum = real(0.0)
        offset_sum = real(0.0)
        if j < width:
            scale = load(factor[j])
            for i in range(start + team, stop, teams):
                derivative = load(dy[i, j])
                factor_sum += derivative * load(x[i, j])
                offset_sum += derivative
                dx[i, j] = store(derivative * scale)
        sum_to(part, factor_sum, j, factor_parts, cuda.blockIdx.y, 0)
        sum_to(part, offset_sum, j, offset_parts, cuda.blockIdx.y, 0)
    if last_chunk(counters):
        add_chunks(part, factor_parts, dfactor, adds)
        add_chunks(part, offset_parts, doffset, adds)


def grouped_matmul_weight(x, dy, wide, partial, counters, out, adds):
    # Element k wide + j of `out` is element (k, j) of the gradient.
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    size = width * wide // dy.shape[1]
    start, stop = chunk_rows(rows)
    lane, team, lanes, teams, _ = places()
    for first in range(cuda.blockIdx.x * lanes, width * wide, cuda.gridDim.x * lanes):
        n = first + lane
        value = real(0.0)
        if n < width * wide:
            k = n // wide
            column = k // size * wide + n % wide
            for i in range(start + team, stop, teams):
                value += load(x[i, k]) * load(dy[i, column])
        sum_to(part, value, n, partial, cuda.blockIdx.y, 0)
    if last_chunk(counters):
        add_chunks(part, partial, out, adds)


def add_parts(part, value, partial, counter, out):
    # Writes the sum over the threads to the block's element of `partial`; the last block adds these in a fixed order.
    lane = cuda.threadIdx.x
    value = shared_sum(part, lane, lane, cuda.blockDim.x, value)
    if lane == 0:
        partial[cuda.blockIdx.x] = value
    if last_block(counter, 0, cuda.gridDim.x):
        value = real(0.0)
        for i in range(lane, cuda.gridDim.x, cuda.blockDim.x):
            value += partial[i]
        value = shared_sum(part, lane, lane, cuda.blockDim.x, value)
        if lane == 0:
            out[0] = value


def total(x, partial, counter, out):
    # Kahan summation, because one thread adds many terms. The correction is reset where it is NaN, after an infinite sum.
    part = cuda.shared.array(BLOCK, real)
    value = real(0.0)
    lost = real(0.0)
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        term = load(x[i]) - lost
        larger = value + term
        lost = (larger - value) - term
        lost = lost if lost == lost else real(0.0)
        value = larger
    add_parts(part, value, partial, counter, out)


def sum_of_squares(x, partial, counter, out):
    part = cuda.shared.array(BLOCK, real)
    value = real(0.0)
    lost = real(0.0)
    count, stride = x.shape[0], cuda.gridsize(1)
    for i in range(cuda.grid(1), count, 4 * stride):
        # Four independent loads, added before the compensated sum, whose steps depend on each other.
        a = load(x[i])
        b = load(x[i + stride]) if i + stride < count else real(0.0)
        c = load(x[i + 2 * stride]) if i + 2 * stride < count else real(0.0)
        d = load(x[i + 3 * stride]) if i + 3 * stride < count else real(0.0)
        term = ((a * a + b * b) + (c * c + d * d)) - lost
        larger = value + term
        lost = (larger - value) - term
        lost = lost if lost == lost else real(0.0)
        value = larger
    add_parts(part, value, partial, counter, out)


def limit_norm(scales, squares, largest, most):
    norm = sqrt(squares[0])
    factor = largest / norm if norm > largest else real(1.0)
    if not squares[0] <= most:
        factor = LOWEST - LOWEST  # NaN, also where squares is NaN
    for i in range(cuda.grid(1), scales.shape[0], cuda.gridsize(1)):
        scales[i] *= factor


SIGNATURES: Signatures = {
    column_sum: (("matrix", "table", "counters", "table", "count"), (), CHUNKS),
    scale_columns_backward: (
        ("matrix", "matrix", "vector", "matrix", "table", "table", "counters", "table", "table", "count"), (), CHUNKS,
    ),
    grouped_matmul_weight: (("matrix", "matrix", "count", "table", "counters", "table", "count"), (), CHUNKS),
    total: (("vector", "sums", "counters", "sums"), (), (shared_sum, last_block, add_parts)),
    sum_of_squares: (("vector", "sums", "counters", "sums"), (), (shared_sum, last_block, add_parts)),
    limit_norm: (("sums", "sums", "number", "number"), ("sqrt",), ()),
}
