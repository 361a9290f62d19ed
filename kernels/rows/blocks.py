"""The table of row operations on NumPy: the reference, but for those that here allocate nothing of the size of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..targets.numpy import BLOCK, Call, Registers
from ..targets.storage import is_narrow
from . import reference
from .operation import scaled

Array = Any

FEW_CLASSES = 32
"""Classes up to which a block is transposed: sums over ten neighbours cost a loop each, those over rows of samples do not."""

_registers = Registers()


@lru_cache(maxsize=16)
def ones(rows: int, dtype: np.dtype[Any]) -> Array:
    """A vector whose product with a matrix is the sum of its rows."""
    return np.ones(rows, dtype)


def column_sum(backend: Any, x: Array, out: Array, accumulate: bool = True) -> None:
    """A product."""
    x = backend.wide(x)
    sums = np.dot(ones(x.shape[0], x.dtype), x)
    if accumulate:
        out += sums
    else:
        out[...] = sums


def softmax_cross_entropy(
    backend: Any, logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float, losses: Array,
    gradient: Array, sums: Array | None = None, accumulate: bool = False, scale: Array | None = None,
) -> bool:  # fmt: skip
    """The calls of `bind_softmax_cross_entropy`, made at once."""
    del sums, accumulate
    in_place = not is_narrow(gradient) and gradient.flags.c_contiguous
    slope = gradient if in_place else np.empty(gradient.shape, losses.dtype)
    given = (backend.wide(logits), labels, weights, on, off, scaled(factor, scale), losses, slope)
    for function, arguments in bind_softmax_cross_entropy(*given, _registers):
        function(*arguments)
    if slope is not gradient:
        gradient[...] = slope
    return False


def bind_softmax_cross_entropy(
    logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
    losses: Array, gradient: Array, registers: Registers,
) -> Iterator[Call]:  # fmt: skip
    """A block of rows at a time, in the array of the gradient; few classes lie transposed, [classes, rows], meanwhile.

    Args: gradient – row-major without gaps; registers – buffers that nobody else uses meanwhile; the others as in
        kernels/rows/reference.py.
    """
    rows, width = logits.shape
    step = max(1, BLOCK // width)
    turned = width <= FEW_CLASSES
    classes = 0 if turned else 1
    most = min(step, rows)
    every, places, vectors = np.arange(most), np.empty(most, np.intp), np.empty((4, most), gradient.dtype)
    if not turned:
        every *= width
    mass, drop = on + off * (width - 1), on - off
    plain = drop == mass == 1.0
    for start in range(0, rows, step):
        here = slice(start, start + step)
        given, slope, label, loss = logits[here], gradient[here], labels[here], losses[here]
        count = len(label)
        place, (at_label, total, spare, weight) = places[:count], vectors[:, :count]
        result = slope
        if not np.can_cast(label.dtype, place.dtype):
            given_labels, label = label, np.empty(count, place.dtype)
            yield label.__setitem__, (..., given_labels)
        if turned:
            (cells,) = registers.take([slope.dtype], slope.size)
            given = slope = cells[: slope.size].reshape(width, count)
            yield given.__setitem__, (..., logits[here].T)
            yield np.multiply, (label, np.intp(count), place)
            yield np.add, (place, every[:count], place)
        else:
            yield np.add, (label, every[:count], place)
        cells = slope.reshape(-1)
        sums = [b if turned else b[:, None] for b in (total, spare, weight)]
        yield np.maximum.reduce, (given, classes, None, sums[0], True) if not turned else (given, classes, None, total)
        yield np.subtract, (given, sums[0], slope)
        yield cells.take, (place, None, at_label, "clip")
        if not plain:
            yield np.multiply, (at_label, -drop, loss)
        if off != 0.0:
            yield np.add.reduce, (slope, classes, None, spare)
            yield np.multiply, (spare, -off, spare)
            yield np.add, (loss, spare, loss)
        yield np.exp, (slope, slope)
        yield np.add.reduce, (slope, classes, None, total)
        yield np.log, (total, spare)
        if plain:
            yield np.subtract, (spare, at_label, loss)
        else:
            yield np.multiply, (spare, mass, spare)
            yield np.add, (loss, spare, loss)
        if weights is None:
            yield np.divide, (factor * mass, total, total)
        else:
            yield weights.take, (label, None, weight, "clip")
            yield np.multiply, (loss, weight, loss)
            yield np.multiply, (weight, factor, weight)
            yield np.multiply, (weight, mass, spare)
            yield np.divide, (spare, total, total)
        yield np.multiply, (slope, sums[0], slope)
        if off != 0.0 and weights is None:
            yield np.subtract, (slope, factor * off, slope)
        elif off != 0.0:
            yield np.multiply, (weight, off, spare)
            yield np.subtract, (slope, sums[1], slope)
        yield cells.take, (place, None, at_label, "clip")
        if weights is None:
            yield np.subtract, (at_label, factor * drop, at_label)
        else:
            yield np.multiply, (weight, drop, weight)
            yield np.subtract, (at_label, weight, at_label)
        yield cells.__setitem__, (place, at_label)
        if turned:
            yield result.__setitem__, (..., slope.T)


ROWS: dict[str, Callable[..., Any]] = {
    **reference.ROWS, "column_sum": column_sum, "softmax_cross_entropy": softmax_cross_entropy,
}  # fmt: skip
"""Operation -> what runs it, on a backend and the arguments of the reference."""
