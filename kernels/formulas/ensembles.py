"""Elementwise arithmetic for members of an ensemble that are computed together: their scales, weights and averages.

The layers are in framework/layers/ensemble.py.
"""

from __future__ import annotations

from ..formula import Column, Each, Row, Scalar, formula
from ..vocabulary import exp, log, maximum, select

SMALLEST_MEAN = 1e-30
"""Averages of probabilities and rates below this one count as this one, so that their logarithm is finite."""


@formula
def times_tangent(dx: Each, x: Each, scale: Row, dscale: Row) -> Each:
    """dx scale + x dscale for y = x scale."""
    return dx * scale + x * dscale


@formula
def spread(weight: Column, factor: Scalar) -> Each:
    """weight factor in every column."""
    return weight * factor


@formula
def mean_of(total: Each, fraction: Scalar) -> Each:
    """total fraction."""
    return total * fraction


@formula
def log_of_mean(total: Each, fraction: Scalar) -> Each:
    """ln(total fraction), where a mean is at least SMALLEST_MEAN."""
    return log(maximum(total * fraction, SMALLEST_MEAN))


@formula
def through_log_of_mean(d: Each, total: Each, fraction: Scalar) -> Each:
    """d / total: the derivative of `log_of_mean`, 0 where the mean is too small."""
    large = total * fraction > SMALLEST_MEAN
    return select(large, d / select(large, total, 1.0), 0.0)


@formula
def both_odds(z: Each) -> tuple[Each, Each]:
    """(s, 1 - s) for s = 1 / (1 + e^-z); the smaller one is as accurate as the other."""
    least = exp(-maximum(z, -z))
    large, small = 1.0 / (1.0 + least), least / (1.0 + least)
    return select(z > 0.0, large, small), select(z > 0.0, small, large)


@formula
def log_odds_of_means(ones: Each, zeros: Each, fraction: Scalar) -> Each:
    """ln(mean of s / mean of 1 - s) for the totals of both, where a mean is at least SMALLEST_MEAN."""
    return log(maximum(ones * fraction, SMALLEST_MEAN)) - log(maximum(zeros * fraction, SMALLEST_MEAN))


@formula
def through_log_odds_of_means(d: Each, ones: Each, zeros: Each, fraction: Scalar) -> Each:
    """d (1 / ones + 1 / zeros): the derivative of `log_odds_of_means` times s (1 - s), without the terms of too small means."""
    some, others = ones * fraction > SMALLEST_MEAN, zeros * fraction > SMALLEST_MEAN
    left = select(some, 1.0 / select(some, ones, 1.0), 0.0)
    return d * (left + select(others, 1.0 / select(others, zeros, 1.0), 0.0))


@formula
def times_both(d: Each, one: Each, zero: Each) -> Each:
    """d s (1 - s): the derivative of s."""
    return d * one * zero
