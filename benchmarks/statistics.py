"""Medians, quartiles and ratios of times measured in rounds; this module has no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """Median and quartiles of some numbers."""

    low: float
    median: float
    high: float

    @property
    def relative(self) -> float:
        """Distance of the quartiles over the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def quantile(values: Sequence[float], fraction: float) -> float:
    """Linear between neighbours of the sorted values, as numpy.quantile by default."""
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float]) -> Spread:
    """Lower quartile, median and upper quartile."""
    return Spread(quantile(values, 0.25), median(values), quantile(values, 0.75))


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """ours / theirs by round: a disturbance of a round affects both values."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def pair_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round; not the ratio of the medians."""
    return median(pair_ratios(ours, theirs))


def geometric_mean(values: Iterable[float]) -> float:
    """(v1 v2 … vn)^(1/n); NaN for no values."""
    logs = [math.log(v) for v in values]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan
