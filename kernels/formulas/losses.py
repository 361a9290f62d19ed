"""Elementwise terms of the losses with their derivatives; each returns (term summed over the row, gradient).

Losses that need a whole row at once (softmax, multi-class hinge) are in kernels/rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..formula import Column, Each, Formula, Row, RowSum, Scalar, formula, make_formula
from ..vocabulary import absolute, exp, log, log1p, maximum, minimum, select, sign, sqrt

SMALLEST = 1e-30
"""Lower bound applied to probabilities before a logarithm or a division; far above the smallest normal float32."""


@formula
def squared_error(y: Each, target: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """(y - t)^2 and factor 2 (y - t)."""
    difference = y - target
    return difference * difference, factor * 2.0 * difference


@formula
def absolute_error(y: Each, target: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """|y - t| and factor sign(y - t); the subgradient at y = t is 0."""
    difference = y - target
    return absolute(difference), factor * sign(difference)


@formula
def huber(y: Each, target: Each, delta: Scalar, factor: Scalar) -> tuple[RowSum, Each]:
    """c (d - c / 2) for d = y - t and c = d clipped to [-delta, delta]; the gradient is factor c.

    That is d^2 / 2 where |d| <= delta, and delta (|d| - delta / 2) elsewhere.
    """
    difference = y - target
    clipped = minimum(maximum(difference, -delta), delta)
    return clipped * (difference - 0.5 * clipped), factor * clipped


@formula
def pinball(y: Each, target: Each, level: Row, factor: Scalar) -> tuple[RowSum, Each]:
    """(1 - level) (y - t) where y > t, else level (t - y); the subgradient at y = t is 0."""
    difference = y - target
    derivative = select(difference > 0.0, 1.0 - level, select(difference < 0.0, -level, 0.0))
    return derivative * difference, factor * derivative


@formula
def poisson(log_rate: Each, count: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """e^z - t z, which is -ln of the probability of t counts at the rate e^z without its constant ln t!; gradient e^z - t."""
    rate = exp(log_rate)
    return rate - count * log_rate, factor * (rate - count)


@formula
def rate(log_rate: Each) -> Each:
    """e^z."""
    return exp(log_rate)


@formula
def binary_cross_entropy(logit: Each, target: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """max(z, 0) - z t + ln(1 + e^-|z|), which is -t ln s - (1 - t) ln(1 - s) for s = sigmoid(z), without overflow.

    The gradient is factor (s - t).
    """
    decay = exp(-absolute(logit))
    probability = select(logit >= 0.0, 1.0, decay) / (1.0 + decay)
    return maximum(logit, 0.0) - logit * target + log1p(decay), factor * (probability - target)


@formula
def binary_focal(
    logit: Each, target: Each, gamma: Scalar, negative: Scalar, positive: Scalar, factor: Scalar
) -> tuple[RowSum, Each]:
    """-w (1 - p)^gamma ln p for the probability p = sigmoid(s z) of the target 0 or 1, without overflow (Lin et al., 2017).

    s = 2 t - 1, and w is `negative` for target 0, `positive` for target 1. With l = -ln p, and so ln(1 - p) = -s z - l, the
    gradient is -factor s w (1 - p)^gamma (1 - p + gamma p l).
    """
    side = 2.0 * target - 1.0
    signed = side * logit
    entropy = maximum(-signed, 0.0) + log1p(exp(-absolute(signed)))
    log_miss = -signed - entropy
    weight = (negative + target * (positive - negative)) * exp(gamma * log_miss)
    return weight * entropy, -factor * side * weight * (exp(log_miss) + gamma * exp(-entropy) * entropy)


@formula
def hinge(y: Each, target: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """max(0, 1 - t y) for t = -1 or 1; the subgradient at the corner is 0."""
    margin = 1.0 - target * y
    return select(margin <= 0.0, 0.0, margin), select(margin > 0.0, -target * factor, 0.0)


@formula
def kl_divergence(q: Each, p: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """p ln(p / q), the terms of KL(p || q) for target p and output q; gradient -p / q. 0 ln 0 counts as 0."""
    safe_q = maximum(q, SMALLEST)
    safe_p = maximum(p, SMALLEST)
    return p * (log(safe_p) - log(safe_q)), -factor * p / safe_q


@formula
def symmetric_kl(q: Each, p: Each, factor: Scalar) -> tuple[RowSum, Each]:
    """(p - q) ln(p / q), the terms of KL(p || q) + KL(q || p); gradient ln(q / p) + 1 - p / q."""
    safe_q = maximum(q, SMALLEST)
    safe_p = maximum(p, SMALLEST)
    ratio = log(safe_q) - log(safe_p)
    return (q - p) * ratio, factor * (ratio + (q - p) / safe_q)


@formula
def bhattacharyya_coefficient(q: Each, p: Each) -> RowSum:
    """sqrt(p q), the terms of the Bhattacharyya coefficient."""
    return sqrt(maximum(p * q, 0.0))


@formula
def bhattacharyya_gradient(q: Each, p: Each, coefficient: Column, factor: Scalar) -> Each:
    """The derivative of -ln(sum sqrt(p q)) by q: -1/2 sqrt(p / q) / coefficient."""
    return -0.5 * factor * sqrt(p / maximum(q, SMALLEST)) / maximum(coefficient, SMALLEST)


@formula
def negative_log(x: Each) -> Each:
    """-ln x."""
    return -log(maximum(x, SMALLEST))


@formula
def weighted_rows(x: Each, weight: Column) -> Each:
    """Each row times its weight."""
    return x * weight


@cache
def weighted(loss: Formula) -> Formula:
    """A formula whose outputs are those of another one times the weight of the row, its last argument: for sample weights."""

    def function(*arguments: Any) -> Any:
        *given, weight = arguments
        values = loss.function(*given)
        return tuple(value * weight for value in values) if isinstance(values, tuple) else values * weight

    kinds = {**dict(zip(loss.parameters, loss.kinds, strict=True)), "weight": "column"}
    return make_formula(f"weighted_{loss.name}", function, kinds, loss.outputs)


for _formula in [f for f in globals().values() if isinstance(f, Formula) and f.outputs == ("rowsum", "each")]:
    weighted(_formula)  # registered, so that tests and tools know it
for _formula in (bhattacharyya_gradient, negative_log):
    weighted(_formula)
