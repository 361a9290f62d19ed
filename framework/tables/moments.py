"""Mean and scale of the columns of a matrix, in blocks, robust against overflow and rounding.

Missing entries (NaN) are left out. What is made of them is in `column_codings.py` and `target_coding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sources.blocks import row_blocks
from .validation import require_finite

FloatArray = NDArray[np.float64]
_LARGE = 1e300
"""Larger numbers are not subtracted from others, because the difference could be infinite."""


def column_moments(values: FloatArray, names: Sequence[str] | None = None) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each column, with 1 in place of the deviation of a constant column.

    mean = Σx/N, scale = √(Σ(x−mean)²/N) (ddof = 0), by the corrected two-pass formula, deviations divided by the largest one
    before they are squared. A column counts as constant if all its entries are equal, or if the deviation is below four
    rounding errors of the mean.

    Args: values – [N, d] finite or NaN, N ≥ 1; names – of the columns, for the message.
    Returns: (mean [d], scale [d]), float64, on the host; scale > 0.
    Raises: NonFiniteDataError if the spread of a column exceeds float64.
    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, equation 1.7.
    """
    return Moments.of(values).finished(names)


def weighted_moments(
    values: NDArray[Any], weights: FloatArray | None, names: Sequence[str] | None = None
) -> tuple[FloatArray, FloatArray]:
    """As `column_moments`, of rows that count w times: mean = Σwx/Σw, scale = √(Σw(x−mean)²/Σw).

    Args: values – [N, d] finite numbers; weights – [N], > 0, or None for 1; names – as there.
    """
    if weights is None:
        return column_moments(values, names)
    width = values.shape[1]
    fractions = weights / weights.max()
    fractions /= fractions.sum()
    mean, squares = np.zeros(width), np.zeros(width)
    for block in row_blocks(*values.shape):
        mean += fractions[block] @ values[block].astype(np.float64, copy=False)
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        peak = np.maximum(high - mean, mean - low)
        peak[~(peak > 0.0)] = 1.0
        for block in row_blocks(*values.shape):
            squares += fractions[block] @ ((values[block] - mean) / peak) ** 2
        scale = np.sqrt(squares) * peak
    return Moments(np.full(width, float(len(values))), mean, scale, low, high, np.zeros(width)).finished(names)


def plain_number(value: Any, above_zero: bool = False) -> float:
    """A mean, or a scale above zero, as it was stored; TypeError or ValueError for anything but a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number; found {value!r}")
    if not math.isfinite(value) or (above_zero and value <= 0):
        raise ValueError(f"expected a finite {'number above 0' if above_zero else 'number'}; found {value!r}")
    return float(value)


class Moments(NamedTuple):
    """Of each column of some rows: how many entries are there, mean, standard deviation, smallest and largest entry.

    Mean and the two extremes are those of x minus `shift`.
    """

    rows: FloatArray
    mean: FloatArray
    scale: FloatArray
    low: FloatArray
    high: FloatArray
    shift: FloatArray

    @classmethod
    def of(cls, values: FloatArray, shift: FloatArray | None = None) -> Moments:
        """The moments of the rows of a matrix in memory, minus `shift`, 0 by default."""
        count, width = values.shape
        moved = values if shift is None else values - shift
        rows = np.full(width, float(count))
        for block in row_blocks(count, width):
            rows -= np.count_nonzero(np.isnan(moved[block]), axis=0)
        total = np.sum if bool((rows == count).all()) else np.nansum
        divisor = np.maximum(rows, 1.0)
        mean = np.zeros(width)
        low, high = np.full(width, np.inf), np.full(width, -np.inf)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for block in row_blocks(count, width):
                part = moved[block]
                mean += total(part / divisor, axis=0)
                np.fmin(low, np.fmin.reduce(part, axis=0), out=low)
                np.fmax(high, np.fmax.reduce(part, axis=0), out=high)
            peak = np.maximum(high - mean, mean - low)
            peak[~(peak > 0.0)] = 1.0
            drift, squares = np.zeros(width), np.zeros(width)
            for block in row_blocks(count, width):
                deviation = (moved[block] - mean) / peak
                drift += total(deviation, axis=0)
                np.multiply(deviation, deviation, out=deviation)
                squares += total(deviation, axis=0)
            drift /= divisor
            mean += drift * peak
            scale = np.sqrt(np.maximum(squares / divisor - drift * drift, 0.0)) * peak
        return cls(rows, mean, scale, low, high, np.zeros(width) if shift is None else shift)

    @classmethod
    def none(cls, shift: FloatArray) -> Moments:
        """The moments of no rows."""
        zeros, infinite = np.zeros_like(shift), np.full_like(shift, np.inf)
        return cls(zeros, zeros, zeros, infinite, -infinite, shift)

    def with_rows(self, values: FloatArray) -> Moments:
        """The moments of these rows as well, in one pass over blocks.

        mean = mean_a + (n_b / n) d, scale² = (n_a scale_a² + n_b scale_b²) / n + (n_a n_b / n²) d², with d = mean_b - mean_a,
        all of x minus `shift`, so that d keeps its digits if the mean is large compared with the deviation; hypot, so that
        squares of large numbers do not overflow.

        Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, equation 2.1.
        """
        other = Moments.of(values, self.shift)
        rows = self.rows + other.rows
        mine, theirs = self.rows / np.maximum(rows, 1.0), other.rows / np.maximum(rows, 1.0)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            apart = other.mean - self.mean
            within = np.hypot(np.sqrt(mine) * self.scale, np.sqrt(theirs) * other.scale)
            return Moments(
                rows, self.mean + theirs * apart, np.hypot(within, np.sqrt(mine * theirs) * apart),
                np.minimum(self.low, other.low), np.maximum(self.high, other.high), self.shift,
            )  # fmt: skip

    def finished(self, names: Sequence[str] | None) -> tuple[FloatArray, FloatArray]:
        """Mean and scale, with 1 as the scale of a constant column, and 0 and 1 for one without entries."""
        require_finite(self.scale[np.newaxis], "standard deviation of the columns", names)
        return self._means(), np.where(self.constant, 1.0, self.scale)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """[d]: whether the entries of a column are equal but for rounding."""
        equal: NDArray[np.bool_] = self.low == self.high
        return equal | (self.scale <= 4.0 * np.finfo(np.float64).eps * np.abs(self._means()))

    def _means(self) -> FloatArray:
        return np.where(self.low == self.high, self.low, self.mean) + self.shift


def first_shift(block: FloatArray) -> FloatArray:
    """What to subtract from the columns of a stream: the first row of its first block, where it is a number that can be."""
    return np.where(np.abs(block[0]) < _LARGE, block[0], 0.0)
