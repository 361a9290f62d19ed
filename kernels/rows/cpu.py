"""Row operations compiled for the CPU, and their table; names, arguments and meaning as in kernels/rows/reference.py.

Sums over rows are computed in blocks, in a fixed order, so the same call always gives the same bits.
"""

# The functions below are compiled with `real` as the type of the arrays and the words of the vocabulary in its
# precision (see kernels/targets/handwritten.py); the imports here only make them readable and runnable as they stand.
from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from math import exp, expm1, log, sqrt
from typing import Any

import numpy as np

from ..targets.cpu import CpuKernel, expansions
from ..targets.handwritten import Weighted, kernel_text
from ..targets.llvm.kinds import F64, I64, ArrayOf, Kind, scalar_of
from . import reference
from .operation import scaled

real = float
f64 = float
i64 = int
BLOCK_ROWS = 128  # rows that are summed in the kernel's own precision before they are added to the total
LEAST_INNER = 64
"""Rows of the weight of a group from which on BLAS libraries are faster than `grouped_matmul`, unless it has one column."""


# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
def row_top(x, i):
    # The largest of a row; NaN is handled by the code that reads the row.
    top = x[i, 0]
    for j in range(1, x.shape[1]):
        top = x[i, j] if x[i, j] > top else top
    return top


def softmax(x, out):
    rows, width = x.shape
    for start in range(0, rows, BLOCK_ROWS):
        stop = min(rows, start + BLOCK_ROWS)
        for i in range(start, stop):
            top = row_top(x, i)
            for j in range(width):
                out[i, j] = x[i, j] - top
        # One loop over the rows of the block, which lie one after the other, because a loop over few columns is slow.
        for k in range((stop - start) * width):
            out[start, k] = exp(out[start, k])
        for i in range(start, stop):
            total = real(0.0)
            for j in range(width):
                total += out[i, j]
            inverse = real(1.0) / total
            for j in range(width):
                out[i, j] *= inverse


# The losses below have two kernels each: without weights of rows, what mentions `row_weights` is left out.


def softmax_cross_entropy(logits, labels, weights, on, off, factor, losses, gradient, row_weights):
    rows, width = logits.shape
    mass = on + off * real(width - 1)
    for start in range(0, rows, BLOCK_ROWS):
        stop = min(rows, start + BLOCK_ROWS)
        for i in range(start, stop):
            losses[i] = row_top(logits, i)
            for j in range(width):
                gradient[i, j] = logits[i, j] - losses[i]
        for k in range((stop - start) * width):  # as in softmax
            gradient[start, k] = exp(gradient[start, k])
        for i in range(start, stop):
            label = labels[i]
            top = losses[i]
            shifted_sum = real(0.0)
            if off != real(0.0):
                for j in range(width):
                    shifted_sum += logits[i, j] - top
            at_label = logits[i, label] - top
            total = real(0.0)
            for j in range(width):
                total += gradient[i, j]
            weight = weights[label] if weights.shape[0] > 0 else real(1.0)
            weight *= row_weights[i]
            losses[i] = weight * (mass * log(total) - off * shifted_sum - (on - off) * at_label)
            scale = weight * factor
            inverse = scale * mass / total
            shift = scale * off
            for j in range(width):
                gradient[i, j] = gradient[i, j] * inverse - shift
            gradient[i, label] -= scale * (on - off)


def softmax_cross_entropy_soft(logits, targets, factor, losses, gradient, row_weights):
    rows, width = logits.shape
    for i in range(rows):
        top = row_top(logits, i)
        mass = real(0.0)
        product = real(0.0)
        for j in range(width):
            mass += targets[i, j]
            product += targets[i, j] * (logits[i, j] - top)
        total = real(0.0)
        for j in range(width):
            total += exp(logits[i, j] - top)
        losses[i] = mass * log(total) - product
        losses[i] *= row_weights[i]
        inverse = mass / total
        for j in range(width):
            gradient[i, j] = factor * (exp(logits[i, j] - top) * inverse - targets[i, j])
            gradient[i, j] *= row_weights[i]


def focal_loss(logits, labels, weights, gamma, factor, losses, gradient, row_weights):
    rows, width = logits.shape
    for start in range(0, rows, BLOCK_ROWS):
        stop = min(rows, start + BLOCK_ROWS)
        for i in range(start, stop):
            losses[i] = row_top(logits, i)
            for j in range(width):
                gradient[i, j] = logits[i, j] - losses[i]
        for k in range((stop - start) * width):  # as in softmax
            gradient[start, k] = exp(gradient[start, k])
        for i in range(start, stop):
            label = labels[i]
            total = real(0.0)
            for j in range(width):
                total += gradient[i, j]
            entropy = log(total) - (logits[i, label] - losses[i])
            miss = -expm1(-entropy)
            miss = miss if miss > real(1e-30) else real(1e-30)  # SMALLEST of formulas/losses.py
            weight = (weights[label] if weights.shape[0] > 0 else real(1.0)) * exp(gamma * log(miss))
            weight *= row_weights[i]
            losses[i] = weight * entropy
            size = factor * weight * (real(1.0) + gamma * entropy * exp(-entropy) / miss)
            inverse = size / total
            for j in range(width):
                gradient[i, j] *= inverse
            gradient[i, label] -= size


def multi_class_hinge(scores, labels, factor, losses, gradient, row_weights):
    rows, width = scores.shape
    for i in range(rows):
        label = labels[i]
        rival = 0 if label != 0 else 1
        for j in range(width):
            gradient[i, j] = real(0.0)
            # The second comparison finds NaN, which then stays the rival.
            if j != label and (scores[i, j] > scores[i, rival] or scores[i, j] != scores[i, j]):
                rival = j
        margin = real(1.0) + scores[i, rival] - scores[i, label]
        if margin <= real(0.0):
            losses[i] = real(0.0)
        else:
            gradient[i, rival] = factor
            gradient[i, label] = -factor
            losses[i] = margin
            gradient[i, rival] *= row_weights[i]
            gradient[i, label] *= row_weights[i]
            losses[i] *= row_weights[i]


def layer_norm(x, gain, offset, epsilon, out, mean, scale):
    rows, width = x.shape
    fraction = real(1.0) / real(width)
    for i in range(rows):
        total = real(0.0)
        for j in range(width):
            total += x[i, j]
        average = total * fraction
        squares = real(0.0)
        for j in range(width):
            centred = x[i, j] - average
            squares += centred * centred
        inverse = real(1.0) / sqrt(squares * fraction + epsilon)
        mean[i] = average
        scale[i] = inverse
        for j in range(width):
            out[i, j] = (x[i, j] - average) * inverse * gain[j] + offset[j]


def layer_norm_backward(dy, x, gain, mean, scale, dx, dgain, doffset):
    rows, width = x.shape
    fraction = real(1.0) / real(width)
    gain_part = np.zeros(width, gain.dtype)
    offset_part = np.zeros(width, gain.dtype)
    for start in range(0, rows, BLOCK_ROWS):
        gain_part[:] = real(0.0)
        offset_part[:] = real(0.0)
        for i in range(start, min(rows, start + BLOCK_ROWS)):
            average = mean[i]
            inverse = scale[i]
            plain = real(0.0)
            product = real(0.0)
            for j in range(width):
                n = (x[i, j] - average) * inverse
                g = dy[i, j] * gain[j]
                gain_part[j] += dy[i, j] * n
                offset_part[j] += dy[i, j]
                plain += g
                product += g * n
            plain *= fraction
            product *= fraction
            for j in range(width):
                n = (x[i, j] - average) * inverse
                dx[i, j] = inverse * (dy[i, j] * gain[j] - plain - n * product)
        for j in range(width):
            dgain[j] += gain_part[j]
            doffset[j] += offset_part[j]


def scale_columns_backward(dy, x, factor, dx, dfactor, doffset):
    rows, width = x.shape
    factor_part = np.zeros(width, factor.dtype)
    offset_part = np.zeros(width, factor.dtype)
    for start in range(0, rows, BLOCK_ROWS):
        factor_part[:] = real(0.0)
        offset_part[:] = real(0.0)
        for i in range(start, min(rows, start + BLOCK_ROWS)):
            for j in range(width):
                factor_part[j] += dy[i, j] * x[i, j]
            for j in range(width):
                offset_part[j] += dy[i, j]
            for j in range(width):
                dx[i, j] = dy[i, j] * factor[j]
        for j in range(width):
            dfactor[j] += factor_part[j]
            doffset[j] += offset_part[j]


def column_sum(x, out):
    rows, width = x.shape
    part = np.zeros(width, x.dtype)
    for start in range(0, rows, BLOCK_ROWS):
        part[:] = real(0.0)
        for i in range(start, min(rows, start + BLOCK_ROWS)):
            for j in range(width):
                part[j] += x[i, j]
        for j in range(width):
            out[j] += part[j]


def total(x, out):
    value = 0.0
    for i in range(x.shape[0]):
        value += f64(x[i])
    out[0] = value


def sum_of_squares(x, out):
    value = 0.0
    for i in range(x.shape[0]):
        value += f64(x[i]) * f64(x[i])
    out[0] = value


def add_to(first, other):
    for i in range(first.shape[0]):
        first[i] += other[i]


def copy(x, out):
    for i in range(out.shape[0]):
        out[i] = x[i]


def settle(totals, squares, largest, most, scales, result):
    # What comes between gradient and update: the sums, and Backend.limit_norm for the row of scales.
    total = 0.0
    for k in range(totals.shape[0]):
        total += totals[k]
    square = 0.0
    for k in range(squares.shape[0]):
        square += squares[k]
    result[0] = total
    result[1] = square
    square += 0.0 * total
    norm = math.sqrt(square)
    factor = 1.0
    if norm > largest:
        factor = largest / norm
    if not square <= most:
        factor = np.nan
    for k in range(scales.shape[0]):
        scales[k] *= real(factor)


def fill(out, value):
    for i in range(out.shape[0]):
        out[i] = value


# The following four run in a launch of several steps: `step` is the number of the current one, from 0.


def gather(source, indices, step, rows, first, out):
    # The rows from number `first` on, of a minibatch of `rows` rows.
    begin = step[0] * rows + first
    for i in range(out.shape[0]):
        row = indices[begin + i]
        for j in range(out.shape[1]):
            out[i, j] = source[row, j]


def scalars_of_step(scalars, step, out):
    begin = step[0] * out.shape[0]
    for k in range(out.shape[0]):
        out[k] = scalars[begin + k]


def end_step(sums, scales, results, step, stop):
    # After `settle`: keeps its sums, and stops before the next step where it forbade the update.
    place = 2 * step[0]
    results[place] = sums[0]
    results[place + 1] = sums[1]
    if scales[0] == scales[0]:
        step[0] += 1
    else:
        stop[0] = 1


def next_random(state):
    # To the random numbers of the next step.
    state[2] += 1


def maxout(z, out, winner):
    rows, units = out.shape
    pieces = z.shape[1] // units
    for i in range(rows):
        for j in range(units):
            best = z[i, j]
            which = 0
            for k in range(1, pieces):
                if z[i, k * units + j] > best or z[i, k * units + j] != z[i, k * units + j]:
                    best = z[i, k * units + j]
                    which = k
            out[i, j] = best
            winner[i, j] = which


def maxout_spread(dy, winner, dz):
    rows, units = dy.shape
    pieces = dz.shape[1] // units
    for i in range(rows):
        for k in range(pieces):
            for j in range(units):
                dz[i, k * units + j] = dy[i, j] if winner[i, j] == k else real(0.0)


def maxout_pick(z, winner, out):
    rows, units = out.shape
    for i in range(rows):
        for j in range(units):
            out[i, j] = z[i, winner[i, j] * units + j]


def take_columns(x, table, out):
    for i in range(x.shape[0]):
        for j in range(table.shape[0]):
            column = table[j]
            out[i, j] = x[i, column] if column >= 0 else real(0.0)


def sum_columns(x, table, out):
    width, most = table.shape
    for i in range(x.shape[0]):
        for j in range(width):
            value = real(0.0)
            for k in range(most):
                column = table[j, k]
                if column >= 0:
                    value += x[i, column]
            out[i, j] = value


def largest_columns(x, table, out, winner):
    units, size = table.shape
    for i in range(x.shape[0]):
        for j in range(units):
            best = x[i, table[j, 0]]
            which = 0
            for k in range(1, size):
                value = x[i, table[j, k]]
                if value > best or value != value:
                    best = value
                    which = k
            out[i, j] = best
            winner[i, j] = which


def largest_columns_spread(dy, winner, table, dx):
    width, most = table.shape
    for i in range(dy.shape[0]):
        for j in range(width):
            value = real(0.0)
            for k in range(most):
                code = table[j, k]
                if code >= 0 and winner[i, code >> 8] == code & 255:
                    value += dy[i, code >> 8]
            dx[i, j] = value


def largest_columns_pick(x, table, winner, out):
    for i in range(x.shape[0]):
        for j in range(table.shape[0]):
            out[i, j] = x[i, table[j, winner[i, j]]]


def code_of(x, i, column, count):
    # The code in a column of x; -1 if it is not a whole number from 0 to count - 1.
    value = x[i, column]
    if value >= real(0.0) and value < real(count):
        code = i64(value)
        if real(code) == value:
            return code
    return -1


def embed(x, dense, weight, table, out):
    rows, width = out.shape
    for i in range(rows):
        j = 0
        while j < width:
            column = table[j, 0]
            size = table[j, 2]
            if table[j, 3] == 0:
                for k in range(size):
                    out[i, j + k] = dense[i, column + k]
            else:
                code = code_of(x, i, column, table[j, 3])
                first = table[j, 1] + code * size
                for k in range(size):
                    out[i, j + k] = weight[first + k] if code >= 0 else real(np.nan)
            j += max(size, 1)


def embed_backward(dy, x, table, out, low, high, adds):
    # The elements from low to high, each added in the order of the rows, so that other limits give the same bits.
    rows, width = dy.shape
    if adds == 0:
        for k in range(low, high):
            out[k] = real(0.0)
    j = 0
    while j < width:
        column = table[j, 0]
        size = table[j, 2]
        count = table[j, 3]
        if table[j, 1] < high and table[j, 1] + size * count > low:
            for i in range(rows):
                code = code_of(x, i, column, count)
                first = table[j, 1] + code * size
                if code >= 0:
                    for k in range(max(low - first, 0), min(high - first, size)):
                        out[first + k] += dy[i, j + k]
        j += max(size, 1)


def grouped_matmul(x, weight, out, adds):
    rows, width = x.shape
    wide = weight.shape[1]
    size = width * wide // out.shape[1]
    for i in range(rows):
        for first in range(0, out.shape[1], wide):
            start = first // wide * size
            for j in range(0, wide - 7, 8):  # eight columns at a time, whose sums are in one vector register
                a = real(0.0)
                b = real(0.0)
                c = real(0.0)
                d = real(0.0)
                e = real(0.0)
                f = real(0.0)
                g = real(0.0)
                h = real(0.0)
                for k in range(start, start + size):
                    value = x[i, k]
                    a += value * weight[k, j]
                    b += value * weight[k, j + 1]
                    c += value * weight[k, j + 2]
                    d += value * weight[k, j + 3]
                    e += value * weight[k, j + 4]
                    f += value * weight[k, j + 5]
                    g += value * weight[k, j + 6]
                    h += value * weight[k, j + 7]
                if adds != 0:
                    a += out[i, first + j]
                    b += out[i, first + j + 1]
                    c += out[i, first + j + 2]
                    d += out[i, first + j + 3]
                    e += out[i, first + j + 4]
                    f += out[i, first + j + 5]
                    g += out[i, first + j + 6]
                    h += out[i, first + j + 7]
                out[i, first + j] = a
                out[i, first + j + 1] = b
                out[i, first + j + 2] = c
                out[i, first + j + 3] = d
                out[i, first + j + 4] = e
                out[i, first + j + 5] = f
                out[i, first + j + 6] = g
                out[i, first + j + 7] = h
            for j in range(wide // 8 * 8, wide):
                value = out[i, first + j] if adds != 0 else real(0.0)
                for k in range(start, start + size):
                    value += x[i, k] * weight[k, j]
                out[i, first + j] = value


def grouped_matmul_input(dy, weight, dx):
    rows, width = dx.shape
    wide = weight.shape[1]
    size = width * wide // dy.shape[1]
    if wide == 1:  # neighbours in memory, so that a vector of them is computed at a time
        for i in range(rows):
            for j in range(dy.shape[1]):
                value = dy[i, j]
                for k in range(j * size, (j + 1) * size):
                    dx[i, k] = value * weight[k, 0]
        return
    for i in range(rows):
        for k in range(width):
            first = k // size * wide
            value = real(0.0)
            for j in range(wide):
                value += dy[i, first + j] * weight[k, j]
            dx[i, k] = value


def grouped_matmul_weight(x, dy, dweight, adds):
    rows, width = x.shape
    wide = dweight.shape[1]
    size = width * wide // dy.shape[1]
    if adds == 0:
        for k in range(width):
            for j in range(wide):
                dweight[k, j] = real(0.0)
    for start in range(0, rows, BLOCK_ROWS):
        stop = min(rows, start + BLOCK_ROWS)
        for k in range(width):
            first = k // size * wide
            for j in range(0, wide - 7, 8):  # as in grouped_matmul
                a = real(0.0)
                b = real(0.0)
                c = real(0.0)
                d = real(0.0)
                e = real(0.0)
                f = real(0.0)
                g = real(0.0)
                h = real(0.0)
                for i in range(start, stop):
                    value = x[i, k]
                    a += value * dy[i, first + j]
                    b += value * dy[i, first + j + 1]
                    c += value * dy[i, first + j + 2]
                    d += value * dy[i, first + j + 3]
                    e += value * dy[i, first + j + 4]
                    f += value * dy[i, first + j + 5]
                    g += value * dy[i, first + j + 6]
                    h += value * dy[i, first + j + 7]
                dweight[k, j] += a
                dweight[k, j + 1] += b
                dweight[k, j + 2] += c
                dweight[k, j + 3] += d
                dweight[k, j + 4] += e
                dweight[k, j + 5] += f
                dweight[k, j + 6] += g
                dweight[k, j + 7] += h
            for j in range(wide // 8 * 8, wide):
                value = real(0.0)
                for i in range(start, stop):
                    value += x[i, k] * dy[i, first + j]
                dweight[k, j] += value


def beside(x, table, z, out):
    count = table.shape[0]
    for i in range(x.shape[0]):
        for j in range(count):
            out[i, j] = x[i, table[j]]
        for j in range(z.shape[1]):
            out[i, count + j] = z[i, j]


def repeat_labels(labels, out):
    count = labels.shape[0]
    times = out.shape[0] // max(count, 1)
    for i in range(count):
        for k in range(times):
            out[i * times + k] = labels[i]


def argmax(x, out):
    rows, width = x.shape
    for i in range(rows):
        best = x[i, 0]
        which = 0
        for j in range(1, width):
            value = x[i, j]
            # The first NaN counts as the largest, as in NumPy.
            if value > best or (value != value and best == best):
                best = value
                which = j
        out[i] = which


def row_matmul(x, weight, out, low, high):
    # Columns low to high of out = x weight, for few rows: reading the weight takes most of the time. It is read in four long
    # streams, which the processor can foresee, and in blocks, so that a second row finds them in the cache.
    rows, inner = x.shape
    quarter = inner // 4
    for i in range(rows):
        for j in range(low, high):
            out[i, j] = real(0.0)
    for start in range(0, quarter, 16):
        for i in range(rows):
            for k in range(start, min(start + 16, quarter)):
                a = x[i, k]
                b = x[i, quarter + k]
                c = x[i, 2 * quarter + k]
                d = x[i, 3 * quarter + k]
                for j in range(low, high):
                    first = a * weight[k, j] + b * weight[quarter + k, j]
                    out[i, j] += first + (c * weight[2 * quarter + k, j] + d * weight[3 * quarter + k, j])
    for i in range(rows):
        for k in range(4 * quarter, inner):
            a = x[i, k]
            for j in range(low, high):
                out[i, j] += a * weight[k, j]


# The functions of the table get a backend first, of which they `run` kernels and `fill` arrays.


def _alone(function: Callable[..., Any]) -> Callable[..., None]:
    """An operation that is one kernel, with the same arguments."""
    return lambda backend, *arguments: backend.run(function, *arguments)


@cache
def _no_weights(dtype: np.dtype[Any]) -> Any:
    return np.empty(0, dtype)


def _cross_entropy(
    backend: Any, logits: Any, labels: Any, weights: Any, on: float, off: float, factor: float, losses: Any, gradient: Any,
    sums: Any = None, accumulate: bool = False, scale: Any = None, *row_weights: Any,
) -> None:  # fmt: skip
    del sums, accumulate
    given = logits, labels, _no_weights(logits.dtype) if weights is None else weights, on, off, scaled(factor, scale)
    backend.run(Weighted.of(softmax_cross_entropy, row_weights), *given, losses, gradient, *row_weights)


def _cross_entropy_soft(
    backend: Any, logits: Any, targets: Any, factor: float, losses: Any, gradient: Any, sums: Any = None,
    accumulate: bool = False, scale: Any = None, *row_weights: Any,
) -> None:  # fmt: skip
    del sums, accumulate
    given = logits, targets, scaled(factor, scale), losses, gradient
    backend.run(Weighted.of(softmax_cross_entropy_soft, row_weights), *given, *row_weights)


def _multi_class_hinge(
    backend: Any, scores: Any, labels: Any, factor: float, losses: Any, gradient: Any, *row_weights: Any
) -> None:  # fmt: skip
    backend.run(Weighted.of(multi_class_hinge, row_weights), scores, labels, factor, losses, gradient, *row_weights)


def _focal_loss(
    backend: Any, logits: Any, labels: Any, weights: Any, gamma: float, factor: float, losses: Any, gradient: Any,
    sums: Any = None, accumulate: bool = False, scale: Any = None, *row_weights: Any,
) -> None:  # fmt: skip
    del sums, accumulate
    given = logits, labels, _no_weights(logits.dtype) if weights is None else weights, gamma, scaled(factor, scale)
    backend.run(Weighted.of(focal_loss, row_weights), *given, losses, gradient, *row_weights)


def _column_sum(backend: Any, x: Any, out: Any, accumulate: bool = True) -> None:
    if not accumulate:
        backend.fill(out, 0.0)
    backend.run(column_sum, x, out)


def _layer_norm_backward(
    backend: Any, dy: Any, x: Any, gain: Any, mean: Any, scale: Any, dx: Any, dgain: Any, doffset: Any, accumulate: bool = True
) -> None:  # fmt: skip
    if not accumulate:
        backend.fill(dgain, 0.0)
        backend.fill(doffset, 0.0)
    backend.run(layer_norm_backward, dy, x, gain, mean, scale, dx, dgain, doffset)


def _scale_columns_backward(
    backend: Any, dy: Any, x: Any, factor: Any, dx: Any, dfactor: Any, doffset: Any, accumulate: bool = True
) -> None:
    if not accumulate:
        backend.fill(dfactor, 0.0)
        backend.fill(doffset, 0.0)
    backend.run(scale_columns_backward, dy, x, factor, dx, dfactor, doffset)


def _embed_backward(backend: Any, dy: Any, x: Any, table: Any, out: Any, accumulate: bool = True) -> None:
    backend.run(embed_backward, dy, x, table, out, 0, out.shape[0], int(accumulate))


def _grouped_matmul(backend: Any, x: Any, weight: Any, out: Any, accumulate: bool = False) -> None:
    groups = _products(out, weight)
    for rows, columns in groups:
        backend.matmul(x[:, rows], weight[rows], out[:, columns], accumulate=accumulate)
    if not groups:
        backend.run(grouped_matmul, x, weight, out, int(accumulate))


def _grouped_matmul_input(backend: Any, dy: Any, weight: Any, dx: Any) -> None:
    groups = _products(dy, weight)
    for rows, columns in groups:
        backend.matmul(dy[:, columns], weight[rows], dx[:, rows], transpose_b=True)
    if not groups:
        backend.run(grouped_matmul_input, dy, weight, dx)


def _grouped_matmul_weight(backend: Any, x: Any, dy: Any, dweight: Any, accumulate: bool = True) -> None:
    groups = _products(dy, dweight)
    for rows, columns in groups:
        backend.matmul(x[:, rows], dy[:, columns], dweight[rows], transpose_a=True, accumulate=accumulate)
    if not groups:
        backend.run(grouped_matmul_weight, x, dy, dweight, int(accumulate))


def _products(out: Any, weight: Any) -> list[tuple[slice, slice]]:
    """The rows of the weight and the columns of `out` of each group, where a product of a BLAS library is faster; else none."""
    groups = reference.groups(out, weight)
    return groups if weight.shape[1] > 1 and len(weight) >= LEAST_INNER * len(groups) else []


_KERNELS = {name: globals()[name] for name in reference.ROWS}
ROWS: dict[str, Callable[..., None]] = {
    **{name: _alone(function) for name, function in _KERNELS.items()},
    "softmax_cross_entropy": _cross_entropy,
    "softmax_cross_entropy_soft": _cross_entropy_soft,
    "focal_loss": _focal_loss,
    "multi_class_hinge": _multi_class_hinge,
    "layer_norm_backward": _layer_norm_backward,
    "scale_columns_backward": _scale_columns_backward,
    "column_sum": _column_sum,
    "embed_backward": _embed_backward,
    "grouped_matmul": _grouped_matmul,
    "grouped_matmul_input": _grouped_matmul_input,
    "grouped_matmul_weight": _grouped_matmul_weight,
}
"""Operation -> what runs it, on a backend and the arguments of the reference."""

KINDS: dict[Any, tuple[str, ...]] = {
    **{_KERNELS[name]: operation.kinds[: operation.required] for name, operation in reference.ROWS.items()},
    **{
        Weighted(_KERNELS[name]): (*operation.kinds[: operation.required], "vector")
        for name, operation in reference.ROWS.items()
        if operation.weighs
    },
    embed_backward: ("matrix", "matrix", "table", "written vector", "count", "count", "count"),
    grouped_matmul: ("matrix", "matrix", "written matrix", "count"),
    grouped_matmul_weight: ("matrix", "matrix", "written matrix", "count"),
    total: ("vector", "double"),
    sum_of_squares: ("vector", "double"),
    add_to: ("written vector", "vector"),
    copy: ("vector", "written vector"),
    settle: ("double", "double", "one double", "one double", "written vector", "double"),
    fill: ("written vector", "number"),
    gather: ("matrix", "places", "places", "count", "count", "written matrix"),
    scalars_of_step: ("vector", "places", "written vector"),
    end_step: ("double", "vector", "double", "written places", "written places"),
    next_random: ("written bits",),
    argmax: ("matrix", "written places"),
    row_matmul: ("matrix", "matrix", "written matrix", "count", "count"),
}
"""What each kernel takes; those of row operations take what must be given to these."""


def _kind(name: str, dtype: np.dtype[Any]) -> Kind:
    if name == "number":
        return scalar_of(dtype)
    if name == "one double":
        return F64
    if name.endswith(("labels", "table")):
        return ArrayOf(np.dtype(np.int32), 2 if name == "table" else 1, name.startswith("written"))
    if name == "double":
        return ArrayOf(np.dtype(np.float64), 1, True)
    if name == "count":
        return I64
    if name.endswith(("places", "bits")):
        return ArrayOf(np.dtype(np.int64 if name.endswith("places") else np.uint32), 1, name.startswith("written"))
    if name.endswith("winners"):
        return ArrayOf(np.dtype(np.uint8), 2, name.startswith("written"))
    return ArrayOf(dtype, 2 if name.endswith("matrix") else 1, name.startswith("written"))


@cache
def kernel(function: Any, dtype: np.dtype[Any]) -> CpuKernel:
    """One of the functions above, or Weighted of one, compiled for arrays of that dtype."""
    called = getattr(function, "function", function).__code__.co_names
    words = [word for word in ("exp", "expm1", "log", "sqrt") if word in called]
    helpers = [helper for helper in (row_top, code_of) if helper.__name__ in called]
    text = kernel_text(function, words, dtype, expansions(dtype), "", {"BLOCK_ROWS": BLOCK_ROWS}, helpers)
    parameters = {f"a{k}": _kind(name, dtype) for k, name in enumerate(KINDS[function])}
    return CpuKernel(function.__name__, text, parameters, reassociates=True)
