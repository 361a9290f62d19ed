"""Elementwise arithmetic for layers: sums, scaling, biases.

Activations, losses and updates are in separate files.
"""

from __future__ import annotations

from ..formula import Column, Each, Row, RowSum, Scalar, formula


@formula
def add(a: Each, b: Each) -> Each:
    """a + b."""
    return a + b


@formula
def plane(origin: Each, first: Each, second: Each, a: Scalar, b: Scalar) -> Each:
    """origin + a first + b second: a point on the plane through `origin` that two directions span."""
    return origin + a * first + b * second


@formula
def add_bias(x: Each, bias: Row) -> Each:
    """x + bias, the bias broadcast over the rows."""
    return x + bias


@formula
def row_product(a: Each, b: Each) -> RowSum:
    """The scalar product of each row of a with the same row of b."""
    return a * b


@formula
def scale_columns(x: Each, factor: Row, offset: Row) -> Each:
    """x factor + offset, with one factor and one offset per column."""
    return x * factor + offset


@formula
def softmax_derivative(dy: Each, y: Each, dot: Column) -> Each:
    """dx = y (dy - dot) for y = softmax(x), with dot the scalar product of dy and y in each row."""
    return y * (dy - dot)
