"""Maxout, pooling, embeddings, products of groups of columns, and columns by index: functions that compute the element (i, j)
of the output in a single thread.

The kernels are these functions inside the loop LOOP.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .teams import LOWEST, Signatures, i64, load, real, store


def maxout(i, j, z, out, winner):
    units = out.shape[1]
    pieces = z.shape[1] // units
    best = load(z[i, j])
    which = 0
    for k in range(1, pieces):
        value = load(z[i, k * units + j])
        if value > best or value != value:
            best = value
            which = k
    out[i, j] = store(best)
    winner[i, j] = which


def maxout_spread(i, j, dy, winner, dz):
    units = dy.shape[1]
    pieces = dz.shape[1] // units
    for k in range(pieces):
        dz[i, k * units + j] = store(load(dy[i, j]) if winner[i, j] == k else real(0.0))


def maxout_pick(i, j, z, winner, out):
    out[i, j] = store(load(z[i, winner[i, j] * out.shape[1] + j]))


def take_columns(i, j, x, table, out):
    column = table[j]
    out[i, j] = store(load(x[i, column]) if column >= 0 else real(0.0))


def sum_columns(i, j, x, table, out):
    value = real(0.0)
    for k in range(table.shape[1]):
        column = table[j, k]
        if column >= 0:
            value += load(x[i, column])
    out[i, j] = store(value)


def largest_columns(i, j, x, table, out, winner):
    best = load(x[i, table[j, 0]])
    which = 0
    for k in range(1, table.shape[1]):
        value = load(x[i, table[j, k]])
        if value > best or value != value:
            best = value
            which = k
    out[i, j] = store(best)
    winner[i, j] = which


def largest_columns_spread(i, j, dy, winner, table, dx):
    value = real(0.0)
    for k in range(table.shape[1]):
        code = table[j, k]
        if code >= 0 and winner[i, code >> 8] == code & 255:
            value += load(dy[i, code >> 8])
    dx[i, j] = store(value)


def largest_columns_pick(i, j, x, table, winner, out):
    out[i, j] = store(load(x[i, table[j, winner[i, j]]]))


def code_of(x, i, column, count):
    # The code in a column of x; -1 if it is not a whole number from 0 to count - 1.
    value = x[i, column]
    code = i64(-1)
    if value >= real(0.0) and value < real(count):
        code = i64(value)
        if real(code) != value:
            code = i64(-1)
    return code


def embed(i, j, x, dense, weight, table, out):
    if table[j, 3] == 0:
        out[i, j] = store(dense[i, table[j, 0]])
    else:
        code = code_of(x, i, table[j, 0], table[j, 3])
        if code < 0:
            out[i, j] = store(LOWEST - LOWEST)  # NaN
        else:
            out[i, j] = store(load(weight[table[j, 1] + code * table[j, 2]]))


def grouped_matmul(i, j, x, weight, out, adds):
    wide = weight.shape[1]
    size = x.shape[1] * wide // out.shape[1]
    start = j // wide * size
    column = j % wide
    value = load(out[i, j]) if adds > 0 else real(0.0)
    for k in range(start, start + size):
        value += load(x[i, k]) * load(weight[k, column])
    out[i, j] = store(value)


def grouped_matmul_input(i, k, dy, weight, dx):
    wide = weight.shape[1]
    size = dx.shape[1] * wide // dy.shape[1]
    first = k // size * wide
    value = real(0.0)
    for j in range(wide):
        value += load(dy[i, first + j]) * load(weight[k, j])
    dx[i, k] = store(value)


def beside(i, j, x, table, z, out):
    count = table.shape[0]
    if j < count:
        out[i, j] = x[i, table[j]]
    else:
        out[i, j] = z[i, j - count]


SIGNATURES: Signatures = {
    maxout: (("matrix", "matrix", "winners"), (), ()),
    maxout_spread: (("matrix", "winners", "matrix"), (), ()),
    maxout_pick: (("matrix", "winners", "matrix"), (), ()),
    take_columns: (("matrix", "labels", "matrix"), (), ()),
    sum_columns: (("matrix", "columns", "matrix"), (), ()),
    largest_columns: (("matrix", "columns", "matrix", "winners"), (), ()),
    largest_columns_spread: (("matrix", "winners", "columns", "matrix"), (), ()),
    largest_columns_pick: (("matrix", "columns", "winners", "matrix"), (), ()),
    embed: (("table", "table", "vector", "columns", "matrix"), (), (code_of,)),
    grouped_matmul: (("matrix", "matrix", "matrix", "count"), (), ()),
    grouped_matmul_input: (("matrix", "matrix", "matrix"), (), ()),
    beside: (("matrix", "labels", "matrix", "matrix"), (), ()),
}
WORK: dict[Callable[..., Any], int] = {
    maxout: 1, maxout_spread: 0, maxout_pick: 2, take_columns: 2, sum_columns: 2, largest_columns: 2, largest_columns_spread: 3,
    largest_columns_pick: 3, embed: 4, grouped_matmul: 2, grouped_matmul_input: 2, beside: 3,
}  # fmt: skip
"""Function -> index of the argument whose rows and columns the loop runs over."""
LOOP = """\
def {name}({arguments}):
    left, above = cuda.grid(2)
    across, down = cuda.gridsize(2)
    for i in range(above, {work}.shape[0], down):
        for j in range(left, {work}.shape[1], across):
            element(i, j, {arguments})
"""
"""Source of a kernel: the threads of a two-dimensional grid stride over the rows and columns of one argument."""
