"""Mean and scale of the columns of a matrix, in blocks, safe against overflow and rounding.

Applying them lives in `preprocessing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .validation import require_finite, row_blocks

FloatArray = NDArray[np.float64]


def column_moments(values: FloatArray, names: Sequence[str] | None = None) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each column, with 1 in place of the deviation of a constant column.

    mean = Σx/N, scale = √(Σ(x−mean)²/N) (ddof = 0), by the corrected two-pass formula, deviations divided by the
    largest one before they are squared. A column counts as constant if all its entries are equal, or if the deviation
    is below four roundings of the mean.

    Args: values – [N, d] finite, N ≥ 1; names – of the columns, for the message.
    Returns: (mean [d], scale [d]), float64, on the host; scale > 0.
    Raises: NonFiniteDataError if the spread of a column exceeds float64.
    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, equation 1.7.
    """
    rows, width = values.shape
    mean = np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for block in row_blocks(rows, width):
            part = values[block]
            mean += (part / rows).sum(axis=0)
            np.minimum(low, part.min(axis=0), out=low)
            np.maximum(high, part.max(axis=0), out=high)
        peak = np.maximum(high - mean, mean - low)
        peak[peak <= 0.0] = 1.0
        drift, squares = np.zeros(width), np.zeros(width)
        for block in row_blocks(rows, width):
            deviation = (values[block] - mean) / peak
            drift += deviation.sum(axis=0)
            np.multiply(deviation, deviation, out=deviation)
            squares += deviation.sum(axis=0)
        drift /= rows
        mean += drift * peak
        scale = np.sqrt(np.maximum(squares / rows - drift * drift, 0.0)) * peak
    require_finite(scale[np.newaxis], "standard deviation of the columns", names)
    mean = np.where(low == high, low, mean)
    constant = (low == high) | (scale <= 4.0 * np.finfo(np.float64).eps * np.abs(mean))
    scale[constant] = 1.0
    return mean, scale
