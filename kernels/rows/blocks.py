"""Row kernels in NumPy that allocate nothing of the size of a matrix; meaning and arguments as in kernels/rows/reference.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..targets.numpy import BLOCK

Array = Any

FEW_CLASSES = 32
"""Classes up to which a block is transposed: sums over ten neighbours cost a loop each, those over rows of samples do not."""


def softmax_cross_entropy(
    logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
    losses: Array, gradient: Array,
) -> None:  # fmt: skip
    """A block of rows at a time, in the array of the gradient; few classes lie transposed, [classes, rows], meanwhile."""
    rows, width = logits.shape
    step = max(1, BLOCK // width)
    mass = on + off * (width - 1)
    every = np.arange(min(step, rows))
    turned = width <= FEW_CLASSES
    classes = 0 if turned else 1
    for start in range(0, rows, step):
        here = slice(start, start + step)
        label, given, slope = labels[here], logits[here], gradient[here]
        count = len(label)
        cells, place = slope, (every[:count], label)
        if turned:
            given = slope = np.array(given.T, slope.dtype, order="C")
            cells, place = slope.reshape(-1), np.multiply(label, count, dtype=np.intp) + every[:count]
        np.subtract(given, np.maximum.reduce(given, axis=classes, keepdims=True), out=slope)
        row = cells[place] * -(on - off)
        if off != 0.0:
            row -= off * np.add.reduce(slope, axis=classes)
        np.exp(slope, out=slope)
        total = np.add.reduce(slope, axis=classes)
        row += mass * np.log(total)
        scale: Any = factor
        if weights is not None:
            weight = weights[label]
            row *= weight
            scale = weight * factor
        losses[here] = row
        share = scale * mass / total
        slope *= share if turned else share[:, None]
        if off != 0.0:
            slope -= scale * off if turned or weights is None else (scale * off)[:, None]
        cells[place] -= scale * (on - off)
        if turned:
            gradient[here] = slope.T
