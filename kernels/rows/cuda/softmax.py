"""Softmax by row, and the cross-entropy of softmax with labels and with distributions, with its gradient.

Each reads a row three times, from the cache but for the first.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from math import exp, log

from numba import cuda

from ...targets.cuda.geometry import BLOCK
from .teams import MAX_AND_SUM, Signatures, load, places, real, row_max, store, team_sum


def softmax(x, out):
    part = cuda.shared.array(BLOCK, real)
    rows, width = x.shape
    lane, team, lanes, teams, slot = places()
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        top = row_max(part, slot, lane, lanes, x, i)
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
    lane, team, lanes, teams, slot = places()
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        label = 0
        own = real(0.0)
        if i < rows:
            label = labels[i]
            own = load(logits[i, label])  # read before anybody writes: `gradient` may be the same array
        top = row_max(part, slot, lane, lanes, logits, i)
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
    lane, team, lanes, teams, slot = places()
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        top = row_max(part, slot, lane, lanes, logits, i)
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


SIGNATURES: Signatures = {
    softmax: (("matrix", "matrix"), ("exp",), MAX_AND_SUM),
    softmax_cross_entropy: (
        ("matrix", "labels", "sums", "number", "number", "number", "sums", "matrix"), ("exp", "log"), MAX_AND_SUM
    ),
    softmax_cross_entropy_soft: (("matrix", "table", "number", "sums", "matrix"), ("exp", "log"), MAX_AND_SUM),
}  # fmt: skip
