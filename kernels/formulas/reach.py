"""How far update rules can carry parameters and states: bounds that need no look at the arrays.

The bound of a rule stands beside its formula, in updates.py, as the argument of `@rule`. Each function here takes an `Ahead`
and the largest |element| of theta and of each state; it returns the same after that many steps, followed by whatever else must
not overflow on the way. Bounds may be generous; framework/optimizers/headroom.py measures the arrays when they have run out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ahead:
    """The steps that a bound is asked about.

    Attributes: steps – how many; g – largest |element| of the gradient, penalties included; low, high – smallest and largest
        value of each scalar of the rule; rounding – relative error of a stored state; tiny – numbers up to it have no exact
        square; size – number of parameters; decay – largest weight decay.
    """

    steps: int
    g: float
    low: Mapping[str, float]
    high: Mapping[str, float]
    rounding: float
    tiny: float
    size: int
    decay: float

    @property
    def path(self) -> float:
        """Largest sum of the learning rates."""
        return self.steps * self.high["lr"]

    @property
    def pull(self) -> float:
        """Largest product of learning rate and gradient."""
        return self.high["lr"] * self.g


Reach = Callable[..., tuple[float, ...]]


def _divided(a: float, b: float) -> float:
    return a / b if b > 0.0 else math.inf


def growth(factor: float, steps: int) -> float:
    """factor^steps, infinite where that overflows."""
    try:
        return factor**steps
    except OverflowError:
        return math.inf


def descent(ahead: Ahead, theta: float) -> tuple[float, ...]:
    """theta -= lr g."""
    return (theta + ahead.path * ahead.g,)


def signs(ahead: Ahead, theta: float, *m: float) -> tuple[float, ...]:
    """theta -= lr sign(…); m, if there is one, is a mean of gradients."""
    return (theta + ahead.path, *(max(bound, ahead.g) for bound in m))


def rates_added(ahead: Ahead, theta: float, u: float) -> tuple[float, ...]:
    """u = gamma u + lr g; theta -= u, or gamma u more or less."""
    u = u + ahead.steps * ahead.pull
    return theta + (ahead.steps + 1) * u, u


def gradients_added(ahead: Ahead, theta: float, u: float) -> tuple[float, ...]:
    """u = gamma u + g, or the mean of gradients; theta -= lr u, or lr (g + gamma u)."""
    u = u + ahead.steps * ahead.g
    return theta + ahead.path * (ahead.g + u), u


def _divisor(ahead: Ahead) -> float:
    """What epsilon leaves of a denominator, inside the root or outside."""
    eps = ahead.low["eps"]
    return min(eps, math.sqrt(eps))


def _scaled_gradient(ahead: Ahead, low: float, high: float) -> float:
    """Largest |g| / (sqrt(v) + eps), where v is at least g^2 times a number from low to high, up to rounding."""
    divisor = _divisor(ahead)
    if low <= 0.0 or 1.0 - 16.0 * ahead.rounding < high < math.inf:
        return _divided(ahead.g, divisor)  # what rounding leaves of v + (g^2 - v) can be much less than g^2
    return max(1.01 / math.sqrt(low), _divided(ahead.tiny, divisor))


def adagrad(ahead: Ahead, theta: float, v: float) -> tuple[float, ...]:
    """v += g^2; theta -= lr g / (sqrt(v) + eps)."""
    step = _scaled_gradient(ahead, 1.0, math.inf)
    return theta + ahead.path * step, v + ahead.steps * ahead.g * ahead.g, ahead.pull


def rmsprop(ahead: Ahead, theta: float, v: float) -> tuple[float, ...]:
    """v = mean of g^2; theta -= lr g / (sqrt(v) + eps)."""
    step = _scaled_gradient(ahead, ahead.low["rest"], ahead.high["rest"])
    return theta + ahead.path * step, max(v, ahead.g * ahead.g), ahead.pull


def adadelta(ahead: Ahead, theta: float, v: float, d: float) -> tuple[float, ...]:
    """s = (sqrt(d) + eps) / (sqrt(v) + eps) g; d = mean of s^2; theta -= lr s."""
    rest, eps = ahead.high["rest"], ahead.high["eps"]
    ratio = _scaled_gradient(ahead, ahead.low["rest"], rest)
    # (sqrt(d) + eps)^2 <= 1.1 (d + 10 eps^2)
    d = (d + eps + 10.0 * eps * eps) * growth(1.0 - ahead.low["rest"] + 1.1 * rest * ratio * ratio, ahead.steps)
    root = 1.1 * math.sqrt(d)
    s = root * ratio
    return theta + ahead.path * s, max(v, ahead.g * ahead.g), d, s * s, _divided(root, _divisor(ahead))


def _mean_over_root(ahead: Ahead) -> float:
    """Largest |m| / (sqrt(v) + 2 tiny) of states that began at 0: by Cauchy and Schwarz for the two weighted sums of gradients.

    It is infinite where m remembers longer than v, and where rounding decides.
    """
    beta1 = (1.0 - ahead.low["rest1"]) * (1.0 + 4.0 * ahead.rounding)
    beta2 = (1.0 - ahead.high["rest2"]) * (1.0 - 4.0 * ahead.rounding)
    if beta2 < 16.0 * ahead.rounding or beta1 * beta1 >= beta2:
        return math.inf
    return _divided(1.1 * ahead.high["rest1"], math.sqrt(ahead.low["rest2"] * (1.0 - beta1 * beta1 / beta2)))


def _corrected(ahead: Ahead, m: float, over_root: float) -> float:
    """Largest |m| / (sqrt(v) root + eps), where |m| <= over_root (sqrt(v) + 2 tiny)."""
    divisor = _divisor(ahead)
    return min(_divided(m, divisor), over_root * (_divided(1.0, ahead.low["root"]) + _divided(2.0 * ahead.tiny, divisor)))


def _moments(ahead: Ahead, m: float, v: float) -> tuple[float, float]:
    """m and v, means of g and of g^2."""
    return max(m, ahead.g), max(v, ahead.g * ahead.g)


def adam(ahead: Ahead, theta: float, m: float, v: float) -> tuple[float, ...]:
    """theta -= lr m / (sqrt(v) root + eps)."""
    m, v = _moments(ahead, m, v)
    return theta + ahead.path * _corrected(ahead, m, _mean_over_root(ahead)), m, v, ahead.high["lr"] * m


def nadam(ahead: Ahead, theta: float, m: float, v: float) -> tuple[float, ...]:
    """theta -= lr (ahead m + now g) / (sqrt(v) root + eps)."""
    m, v = _moments(ahead, m, v)
    sums = ahead.high["ahead"] * m + ahead.high["now"] * ahead.g
    over_root = ahead.high["ahead"] * _mean_over_root(ahead)
    over_root += ahead.high["now"] * _divided(1.1, math.sqrt(ahead.low["rest2"]))
    return theta + ahead.path * _corrected(ahead, sums, over_root), m, v, ahead.high["lr"] * sums


def adamax(ahead: Ahead, theta: float, m: float, u: float) -> tuple[float, ...]:
    """u = max(b2 u, |g| + eps); theta -= lr m / u."""
    m, u = max(m, ahead.g), max(u, ahead.g + ahead.high["eps"])
    beta1 = (1.0 - ahead.low["rest1"]) * (1.0 + 4.0 * ahead.rounding)
    beta2 = ahead.low["beta2"] * (1.0 - 4.0 * ahead.rounding)
    over_u = 1.1 * _divided(ahead.high["rest1"], 1.0 - beta1 / beta2) if beta1 < beta2 else math.inf
    return theta + ahead.path * min(_divided(m, ahead.low["eps"]), over_u), m, u, ahead.high["lr"] * m


def lamb(ahead: Ahead, theta: float, m: float, v: float) -> tuple[float, ...]:
    """theta -= lr ||theta|| / ||r|| r, with r as in Adam, plus weight_decay theta."""
    m, v = _moments(ahead, m, v)
    direction = ahead.high["correction"] * _corrected(ahead, m, _mean_over_root(ahead))
    root = math.sqrt(ahead.size)
    # The factor 2 covers the rounding of squared norms that are nearly 0. The ratio is 1 where a norm is 0.
    norm = (root * theta + root * ahead.path * direction) * growth(1.0 + 2.0 * ahead.high["lr"], ahead.steps)
    return norm, m, v, norm * norm, ahead.high["correction"] * m, direction + ahead.decay * norm


def schedule_free(ahead: Ahead, theta: float, z: float, v: float) -> tuple[float, ...]:
    """d = lr (g / (sqrt(v) root + eps) + decay y); z -= d; y = (1 - mix) y + mix z - pull d, pull <= 1 and mix <= 1."""
    step = _corrected(ahead, ahead.g, _divided(1.1, math.sqrt(ahead.low["rest2"])))
    largest = (max(theta, z) + ahead.path * step) * growth(1.0 + ahead.high["lr"] * ahead.decay, ahead.steps)
    return largest, largest, max(v, ahead.g * ahead.g), _divided(ahead.g, _divisor(ahead))


LARGEST_ORTHOGONALISED = 2.0
"""More than any |element| of a matrix after Newton-Schulz steps: its singular values are at most 1.3 or so."""


def muon(scale: float, ahead: Ahead, theta: float, m: float, v: float) -> tuple[float, ...]:
    """theta -= lr direction; that of matrices is orthogonalised, then multiplied by `scale` or less; others as in Adam."""
    of_others, m, v, pull = nadam(ahead, theta, m, v)
    mean = ahead.high["matrix_ahead"] * m + ahead.high["matrix_now"] * ahead.g
    return max(of_others, theta + ahead.path * LARGEST_ORTHOGONALISED * scale), m, v, pull, mean


def averaged(bound: Reach, states: int) -> Reach:
    """The bound of a rule with so many states whose parameters are averaged in a further one."""

    def reach(ahead: Ahead, theta: float, *given: float) -> tuple[float, ...]:
        after, *others = bound(ahead, theta, *given[:states])
        return (after, *others[:states], max(after, *given[states:]), *others[states:])

    return reach
