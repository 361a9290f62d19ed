"""Softmax by row, its cross-entropy with labels or distributions, the focal loss, and their gradients with column sums.

Each kernel reads a row three times, the second and third time from the cache. A thread reads only those elements of the logits
that it later overwrites, so the gradient may be written over the logits although the threads of a warp are not synchronised.
The column sums are the gradient of the bias of the last layer. They need no further pass: each thread accumulates what it
writes in shared memory; see `column_sums`.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from math import exp, expm1, log

from numba import cuda

from ...targets.cuda.geometry import BLOCK
from .teams import MAX_AND_SUM, REAL, Signatures, last_block, load, places, real, row_max, store, team_sum


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


def cleared(held, lane, lanes, team, width):
    # Sets the team's accumulators, one per column, to 0; each thread those of its own columns.
    for j in range(lane, width, lanes):
        held[team * width + j] = real(0.0)


def add_teams(held, width, table, row, adds):
    # Adds the accumulators of all teams in a fixed order, and writes the sums to a row of the table, or adds them there if
    # `adds`.
    lanes, teams = cuda.blockDim.x, cuda.blockDim.y
    cuda.syncthreads()
    for j in range(cuda.threadIdx.y * lanes + cuda.threadIdx.x, width, lanes * teams):
        value = real(0.0)
        for k in range(teams):
            value += held[k * width + j]
        table[row, j] = table[row, j] + value if adds > 0 else value


def column_sums(held, width, stages, partial, counter, sums, adds):
    # Writes the block's sums to its row of `partial`; with two stages, the last block adds these rows in a fixed order.
    if stages > 0:
        add_teams(held, width, partial, cuda.blockIdx.x, 0)
        if stages > 1 and last_block(counter, 0, cuda.gridDim.x):
            lane, team, lanes, teams, _ = places()
            for j in range(lane, width, lanes):
                value = real(0.0)
                for block in range(team, cuda.gridDim.x, teams):
                    value += partial[block, j]
                held[team * width + j] = value
            add_teams(held, width, sums, 0, adds)


def softmax_cross_entropy(
    logits, labels, weights, on, off, factor, scale, losses, gradient, stages, partial, counter, sums, adds, row_weights
):
    part = cuda.shared.array(BLOCK, real)
    held = cuda.shared.array(0, REAL)
    rows, width = logits.shape
    whole = factor * scale[0]
    mass = on + off * real(width - 1)
    lane, team, lanes, teams, slot = places()
    if stages > 0:
        cleared(held, lane, lanes, team, width)
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        label = 0
        if i < rows:
            label = labels[i]
        top = row_max(part, slot, lane, lanes, logits, i)
        total = real(0.0)
        shifted_sum = real(0.0)
        own = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                shifted = load(logits[i, j]) - top
                total += exp(shifted)
                shifted_sum += shifted
                if j == label:
                    own = shifted
        total = team_sum(part, slot, lane, lanes, total)
        if off != real(0.0):
            shifted_sum = team_sum(part, slot, lane, lanes, shifted_sum)
        else:
            shifted_sum = real(0.0)
        if i < rows:
            weight = weights[label] if weights.shape[0] == width else real(1.0)
            weight *= row_weights[i]
            if lane == label & (lanes - 1):  # the thread that processes the column of the label
                losses[i] = weight * (mass * log(total) - off * shifted_sum - (on - off) * own)
            size = weight * whole
            inverse = size * mass / total
            shift = size * off
            for j in range(lane, width, lanes):
                derivative = exp(load(logits[i, j]) - top) * inverse - shift
                if j == label:
                    derivative -= size * (on - off)
                gradient[i, j] = store(derivative)
                if stages > 0:
                    held[team * width + j] += derivative
    column_sums(held, width, stages, partial, counter, sums, adds)


def softmax_cross_entropy_soft(
    logits, targets, factor, scale, losses, gradient, stages, partial, counter, sums, adds, row_weights
):
    part = cuda.shared.array(BLOCK, real)
    held = cuda.shared.array(0, REAL)
    rows, width = logits.shape
    whole = factor * scale[0]
    lane, team, lanes, teams, slot = places()
    if stages > 0:
        cleared(held, lane, lanes, team, width)
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
                losses[i] *= row_weights[i]
            inverse = mass / total
            for j in range(lane, width, lanes):
                derivative = whole * (exp(load(logits[i, j]) - top) * inverse - targets[i, j])
                derivative *= row_weights[i]
                gradient[i, j] = store(derivative)
                if stages > 0:
                    held[team * width + j] += derivative
    column_sums(held, width, stages, partial, counter, sums, adds)


def focal_loss(
    logits, labels, weights, gamma, factor, scale, losses, gradient, stages, partial, counter, sums, adds, row_weights
):
    part = cuda.shared.array(BLOCK, real)
    held = cuda.shared.array(0, REAL)
    rows, width = logits.shape
    lane, team, lanes, teams, slot = places()
    if stages > 0:
        cleared(held, lane, lanes, team, width)
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        label = 0
        if i < rows:
            label = labels[i]
        top = row_max(part, slot, lane, lanes, logits, i)
        total = real(0.0)
        own = real(0.0)
        if i < rows:
            for j in range(lane, width, lanes):
                shifted = load(logits[i, j]) - top
                total += exp(shifted)
                if j == label:
                    own = shifted
        total = team_sum(part, slot, lane, lanes, total)
        own = team_sum(part, slot, lane, lanes, own)
        if i < rows:
            entropy = log(total) - own
            miss = -expm1(-entropy)
            miss = miss if miss > real(1e-30) else real(1e-30)  # SMALLEST of formulas/losses.py
            weight = (weights[label] if weights.shape[0] == width else real(1.0)) * exp(gamma * log(miss))
            weight *= row_weights[i]
            if lane == 0:
                losses[i] = weight * entropy
            size = factor * scale[0] * weight * (real(1.0) + gamma * entropy * exp(-entropy) / miss)
            inverse = size / total
            for j in range(lane, width, lanes):
                derivative = exp(load(logits[i, j]) - top) * inverse
                if j == label:
                    derivative -= size
                gradient[i, j] = store(derivative)
                if stages > 0:
                    held[team * width + j] += derivative
    column_sums(held, width, stages, partial, counter, sums, adds)


_SUMMED = ("sums", "matrix", "count", "table", "counters", "table", "count")
_HELPERS = (*MAX_AND_SUM, last_block, cleared, add_teams, column_sums)
SIGNATURES: Signatures = {
    softmax: (("matrix", "matrix"), ("exp",), MAX_AND_SUM),
    softmax_cross_entropy: (
        ("matrix", "labels", "sums", "number", "number", "number", "sums", *_SUMMED), ("exp", "log"), _HELPERS
    ),
    focal_loss: (
        ("matrix", "labels", "sums", "number", "number", "sums", *_SUMMED), ("exp", "expm1", "log"), _HELPERS
    ),
    softmax_cross_entropy_soft: (("matrix", "table", "number", "sums", *_SUMMED), ("exp", "log"), _HELPERS),
}  # fmt: skip
