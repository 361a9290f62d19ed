"""The table of row operations on NumPy: the reference, or versions of it without matrix-sized temporaries."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..targets.products import multiply
from ..targets.storage import is_narrow
from . import reference
from .operation import scaled

Array = Any

OWN_SUMS = 2304 * 4
"""Elements of a matrix up to which NumPy's library sums its columns, also beside MKL: so far OpenBLAS takes one thread."""

SHORT = 64
"""Columns of a matrix up to which the largest value of each row is found sooner in column-major order: [4096, 10] takes 14 us
there, the copy included, and 172 in row-major order."""


@lru_cache(maxsize=16)
def ones(rows: int, dtype: np.dtype[Any]) -> Array:
    """A matrix [1, rows] whose product with another one is the sum of its rows."""
    return np.ones((1, rows), dtype)


def column_sum(backend: Any, x: Array, out: Array, accumulate: bool = True) -> None:
    """A product."""
    x = backend.wide(x)
    multiply(ones(x.shape[0], x.dtype), x, out[None], accumulate, OWN_SUMS)


def softmax_cross_entropy(
    backend: Any, logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
    losses: Array, gradient: Array, sums: Array | None = None, accumulate: bool = False, scale: Array | None = None,
    row_weights: Array | None = None,
) -> bool:  # fmt: skip
    """In the array of the gradient."""
    del sums, accumulate
    rows, width = logits.shape
    mass, drop = on + off * (width - 1), on - off
    derivative = np.empty(gradient.shape, losses.dtype) if is_narrow(gradient) else gradient
    label = labels.astype(np.intp)
    if weights is not None:
        row_weights = weights[label] if row_weights is None else weights[label] * row_weights
    weight: Any = scaled(factor, scale) if row_weights is None else scaled(factor, scale) * row_weights
    place, logits = (np.arange(rows), label), backend.wide(logits)
    lines = logits.copy("F") if width <= SHORT else logits
    np.subtract(logits, np.maximum.reduce(lines, axis=1, keepdims=True), out=derivative)
    np.multiply(derivative[place], -drop, out=losses)
    if off != 0.0:
        losses -= off * np.add.reduce(derivative, axis=1)
    np.exp(derivative, out=derivative)
    total = np.add.reduce(derivative, axis=1)
    losses += mass * np.log(total)
    if row_weights is not None:
        losses *= row_weights
    derivative *= (weight * mass / total)[:, None]
    if off != 0.0:
        derivative -= off * weight if row_weights is None else (off * weight)[:, None]
    derivative[place] -= weight * drop
    if derivative is not gradient:
        gradient[...] = derivative
    return False


def embed_backward(backend: Any, dy: Array, x: Array, table: Array, out: Array, accumulate: bool = True) -> None:
    """Added row by row, so in the order of the rows."""
    if not accumulate:
        out[...] = 0.0
    index, known = reference.places(np, x, table)
    np.add.at(out, index[known], backend.wide(dy)[known])


ROWS: dict[str, Callable[..., Any]] = {
    **reference.ROWS, "column_sum": column_sum, "softmax_cross_entropy": softmax_cross_entropy,
    "embed_backward": embed_backward,
}  # fmt: skip
"""Operation -> what runs it, on a backend and the arguments of the reference."""
