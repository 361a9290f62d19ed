"""Layer normalisation and its gradients.

Teams of threads process rows. The gradients of gain and offset are column sums as in chunks.py, both in one kernel.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from math import sqrt

from numba import cuda

from ...targets.cuda.geometry import BLOCK
from .chunks import CHUNKS, add_chunks, chunk_rows, last_chunk, sum_to
from .teams import SUM, Signatures, load, places, real, store, team_sum


def layer_norm(x, gain, offset, epsilon, out, mean, scale):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    fraction = real(1.0) / real(width)
    lane, team, lanes, teams, slot = places()
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        total = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                total += load(x[i, j])
        average = team_sum(part, slot, lane, lanes, total) * fraction
        squares = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                centred = load(x[i, j]) - average
                squares += centred * centred
        squares = team_sum(part, slot, lane, lanes, squares)
        inverse = real(1.0) / sqrt(squares * fraction + epsilon)
        if i < rows:
            if lane == 0:
                mean[i] = average
                scale[i] = inverse
            for j in range(lane, width, lanes):
                out[i, j] = store((load(x[i, j]) - average) * inverse * load(gain[j]) + load(offset[j]))


def layer_norm_input(dy, x, gain, mean, scale, dx):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    fraction = real(1.0) / real(width)
    lane, team, lanes, teams, slot = places()
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
        plain = team_sum(part, slot, lane, lanes, plain) * fraction
        product = team_sum(part, slot, lane, lanes, product) * fraction
        if i < rows:
            for j in range(lane, width, lanes):
                n = (load(x[i, j]) - average) * inverse
                dx[i, j] = store(inverse * (load(dy[i, j]) * load(gain[j]) - plain - n * product))


def layer_norm_columns(dy, x, mean, scale, gain_parts, offset_parts, counters, dgain, doffset, adds):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    start, stop = chunk_rows(rows)
    lane, team, lanes, teams, _ = places()
    for first in range(cuda.blockIdx.x * lanes, width, cuda.gridDim.x * lanes):
        j = first + lane
        gain_sum = real(0.0)
        offset_sum = real(0.0)
        if j < width:
            for i in range(start + team, stop, teams):
                derivative = load(dy[i, j])
                gain_sum += derivative * ((load(x[i, j]) - mean[i]) * scale[i])
                offset_sum += derivative
        sum_to(part, gain_sum, j, gain_parts, cuda.blockIdx.y, 0)
        sum_to(part, offset_sum, j, offset_parts, cuda.blockIdx.y, 0)
    if last_chunk(counters):
        add_chunks(part, gain_parts, dgain, adds)
        add_chunks(part, offset_parts, doffset, adds)


_TABLES = ("table", "table", "counters", "table", "table", "count")
SIGNATURES: Signatures = {
    layer_norm: (("matrix", "vector", "vector", "number", "matrix", "sums", "sums"), ("sqrt",), SUM),
    layer_norm_input: (("matrix", "matrix", "vector", "sums", "sums", "matrix"), (), SUM),
    layer_norm_columns: (("matrix", "matrix", "sums", "sums", *_TABLES), (), CHUNKS),
}
