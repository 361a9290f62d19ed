"""Formulas for 16-bit types: conversion, and the loss scale that keeps gradients in the range of float16."""

from __future__ import annotations

from ..formula import Each, Row, Scalar, formula
from ..vocabulary import maximum, minimum, select

LARGEST = 3.4028234663852886e38
"""The largest finite float32; `x <= LARGEST` is false for infinity and NaN."""
LARGEST_SCALE = 16777216.0
SMALLEST_SCALE = 1.0


@formula
def as_stored(x: Each) -> Each:
    """x, rounded to the type of the output."""
    return x


@formula
def times(x: Each, factor: Row) -> Each:
    """x times one number per column."""
    return x * factor


@formula
def count_above(count: Each, x: Each, most: Scalar) -> Each:
    """The count, plus 1 unless x <= most."""
    return select(x <= most, count, count + 1.0)


@formula
def adapt_loss_scale(
    squares: Each, scale: Each, good: Each, period: Scalar
) -> tuple[Each, Each, Each, Each, Each]:
    """The update of a dynamic loss scale, from the sum of squares of the scaled gradient.

    A step is good if `squares` is finite. After `period` good steps in a row the scale is doubled, after a bad one it is
    halved, within [SMALLEST_SCALE, LARGEST_SCALE].

    Returns: (squares / scale^2, 1 / scale, verdict, scale for the next step, number of good steps in a row). The verdict is
        `squares` if the step was bad at the smallest scale, otherwise 0.
    """
    finite = squares <= LARGEST
    counted = good + 1.0
    full = counted >= period
    grown = select(full, minimum(scale * 2.0, LARGEST_SCALE), scale)
    shrunk = maximum(scale * 0.5, SMALLEST_SCALE)
    verdict = select(finite, 0.0, select(scale > SMALLEST_SCALE, 0.0, squares))
    following = select(finite, select(full, 0.0, counted), 0.0)
    return squares / (scale * scale), 1.0 / scale, verdict, select(finite, grown, shrunk), following
