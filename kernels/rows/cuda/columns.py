"""Maxout, pooling and columns by number: a thread has an element of the result to itself.

The threads of a two-dimensional grid stride over rows and columns.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import cuda

from .teams import Signatures, load, real, store


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


SIGNATURES: Signatures = {
    maxout: (("matrix", "matrix", "winners"), (), ()),
    maxout_spread: (("matrix", "winners", "matrix"), (), ()),
    maxout_pick: (("matrix", "winners", "matrix"), (), ()),
    take_columns: (("matrix", "labels", "matrix"), (), ()),
    sum_columns: (("matrix", "columns", "matrix"), (), ()),
    largest_columns: (("matrix", "columns", "matrix", "winners"), (), ()),
    largest_columns_spread: (("matrix", "winners", "columns", "matrix"), (), ()),
    largest_columns_pick: (("matrix", "columns", "winners", "matrix"), (), ()),
}
