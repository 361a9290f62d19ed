"""Row kernels in NumPy that allocate nothing of the size of a matrix; meaning and arguments as in kernels/rows/reference.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..targets.numpy import BLOCK

Array = Any


def softmax_cross_entropy(
    logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
    losses: Array, gradient: Array,
) -> None:  # fmt: skip
    """A block of rows at a time, in the array of the gradient."""
    rows, width = logits.shape
    step = max(1, BLOCK // width)
    mass = on + off * (width - 1)
    every = np.arange(min(step, rows))
    for start in range(0, rows, step):
        here = slice(start, start + step)
        label, slope = labels[here], gradient[here]
        place = (every[: len(label)], label)
        np.subtract(logits[here], np.maximum.reduce(logits[here], axis=1, keepdims=True), out=slope)
        row = slope[place] * -(on - off)
        if off != 0.0:
            row -= off * np.add.reduce(slope, axis=1)
        np.exp(slope, out=slope)
        total = np.add.reduce(slope, axis=1)
        row += mass * np.log(total)
        scale: Any = factor
        if weights is not None:
            weight = weights[label]
            row *= weight
            scale = weight * factor
        losses[here] = row
        slope *= (scale * mass / total)[:, None]
        if off != 0.0:
            slope -= scale * off if weights is None else (scale * off)[:, None]
        slope[place] -= scale * (on - off)
