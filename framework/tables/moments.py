"""Mean and scale of the columns of a matrix, in blocks, robust against overflow and rounding.

They are applied in `feature_coding.py` and `target_coding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sources.blocks import row_blocks
from ..sources.row_source import RowSource
from .validation import require_finite

FloatArray = NDArray[np.float64]
_LARGE = 1e300
"""Larger numbers are not subtracted from others, because the difference could be infinite."""


def column_moments(values: FloatArray, names: Sequence[str] | None = None) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each column, with 1 in place of the deviation of a constant column.

    mean = Σx/N, scale = √(Σ(x−mean)²/N) (ddof = 0), by the corrected two-pass formula, deviations divided by the largest one
    before they are squared. A column counts as constant if all its entries are equal, or if the deviation is below four
    rounding errors of the mean.

    Args: values – [N, d] finite, N ≥ 1; names – of the columns, for the message.
    Returns: (mean [d], scale [d]), float64, on the host; scale > 0.
    Raises: NonFiniteDataError if the spread of a column exceeds float64.
    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, equation 1.7.
    """
    return _Moments.of(values).finished(names, np.zeros(values.shape[1]))


def source_moments(source: RowSource, name: str) -> tuple[FloatArray, FloatArray]:
    """As `column_moments`, for the columns [N, d] of a source, in one pass that combines the moments of its blocks.

    mean = mean_a + (n_b / n) d, scale² = (n_a scale_a² + n_b scale_b²) / n + (n_a n_b / n²) d², with d = mean_b - mean_a, all
    of x minus the first row, so that d keeps its digits if the mean is large compared with the deviation.

    Args: source; name – its name in error messages.
    Raises: NonFiniteDataError for NaN or infinity, with the row.
    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, equation 2.1.
    """
    joined: _Moments | None = None
    shift = np.zeros(source.shape[1])
    for rows, block in source.blocks(np.float64):
        label = name if rows.start == 0 else f"{name}, from row {rows.start + 1} on"
        require_finite(block, label, source.names)
        if joined is None:
            shift = np.where(np.abs(block[0]) < _LARGE, block[0], 0.0)
        block -= shift
        part = _Moments.of(block)
        joined = part if joined is None else joined.with_rows_of(part)
    assert joined is not None
    return joined.finished(source.names, shift)


def plain_number(value: Any, above_zero: bool = False) -> float:
    """A mean, or a scale above zero, as it was stored; TypeError or ValueError for anything but a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number; found {value!r}")
    if not math.isfinite(value) or (above_zero and value <= 0):
        raise ValueError(f"expected a finite {'number above 0' if above_zero else 'number'}; found {value!r}")
    return float(value)


class _Moments(NamedTuple):
    """Of each column of some rows: how many, mean, standard deviation, smallest and largest entry."""

    rows: int
    mean: FloatArray
    scale: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> _Moments:
        """The moments of the rows of a matrix in memory."""
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
        return cls(rows, mean, scale, low, high)

    def with_rows_of(self, other: _Moments) -> _Moments:
        """The moments of both together; hypot, so that squares of large numbers do not overflow."""
        rows = self.rows + other.rows
        mine, theirs = self.rows / rows, other.rows / rows
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            apart = other.mean - self.mean
            within = np.hypot(np.sqrt(mine) * self.scale, np.sqrt(theirs) * other.scale)
            return _Moments(
                rows, self.mean + theirs * apart, np.hypot(within, np.sqrt(mine * theirs) * apart),
                np.minimum(self.low, other.low), np.maximum(self.high, other.high),
            )  # fmt: skip

    def finished(self, names: Sequence[str] | None, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and scale, with 1 as the scale of a constant column; `shift` – what was subtracted from each column."""
        _, mean, scale, low, high = self
        require_finite(scale[np.newaxis], "standard deviation of the columns", names)
        mean = np.where(low == high, low, mean) + shift
        constant = (low == high) | (scale <= 4.0 * np.finfo(np.float64).eps * np.abs(mean))
        return mean, np.where(constant, 1.0, scale)
