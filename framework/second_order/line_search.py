"""Line searches: the step length along a direction p, from phi(a) = f(theta + a p) only.

A probe gives (phi(a), phi'(a)); NaN is treated as infinite. Near a minimum, values differ by less than their rounding errors,
and derivatives are compared instead: all comparisons of two values are made by `change`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import HyperparameterError
from ..settings import positive, real, whole
from ..suggestions import suggests_arguments


class Probe(NamedTuple):
    """phi at one step.

    Attributes: step; value – phi(step); derivative – phi'(step), or NaN if it was not computed; rounding – only in the probe at
        0: bound on the rounding error of each value along the line, 0 for exact values.
    """

    step: float
    value: float
    derivative: float = math.nan
    rounding: float = 0.0


Phi = Callable[[float, bool], Probe]
"""(step, whether to compute the derivative) -> Probe."""


def hidden(a: Probe, b: Probe, rounding: float) -> bool:
    """Whether the difference of the values may be a rounding error: each may be off by `rounding`."""
    return abs(b.value - a.value) < 2.0 * rounding


def change(a: Probe, b: Probe, rounding: float) -> float:
    """phi(b) - phi(a), from the values, or if rounding hides it from the derivatives: (b - a) (phi'(a) + phi'(b)) / 2.

    Near a minimum phi is approximately quadratic, for which this trapezoidal rule is exact. Values determine the position of
    the minimum only to sqrt(eps), derivatives to eps. In the second form, Armijo's condition phi(a) - phi(0) <= c1 a phi'(0)
    becomes phi'(a) <= (2 c1 - 1) phi'(0), the approximate Wolfe condition. If the derivatives imply a change so large that the
    values would show it, they are ignored.

    Source: Hager and Zhang (2005), "A new conjugate gradient method with guaranteed descent and an efficient line search",
    SIAM J. Optim. 16(1), equation 4.1.
    """
    by_values = b.value - a.value
    if not hidden(a, b, rounding):
        return by_values
    by_derivatives = 0.5 * (b.step - a.step) * (a.derivative + b.derivative)
    return by_derivatives if abs(by_derivatives) < 4.0 * rounding else by_values


def measured(phi: Phi, start: Probe, step: float) -> Probe:
    """phi at a step, with the derivative if rounding hides the change of the value."""
    tried = phi(step, False)
    return phi(step, True) if hidden(start, tried, start.rounding) else tried


def low_enough(start: Probe, here: Probe, c1: float) -> bool:
    """Whether a step satisfies Armijo's condition and lowers phi; the latter matters if rounding makes the margin 0."""
    fall = change(start, here, start.rounding)
    return fall < 0.0 and fall <= c1 * here.step * start.derivative


class LineSearch:
    """A line search; `search` returns None if it found no step that satisfies its condition."""

    needs_descent = True
    """Whether the search needs a descent direction."""

    def search(self, phi: Phi, start: Probe, first: float) -> Probe | None:
        """The accepted step, or None.

        Args: phi; start – phi at 0, with its derivative and `rounding`; first – the step to try first.
        """
        raise NotImplementedError(f"{type(self).__name__} must define search")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


@suggests_arguments
class Backtracking(LineSearch):
    """a = first, shrink first, shrink^2 first, … until phi(a) <= phi(0) + c1 a phi'(0), the condition of Armijo.

    If rounding hides the difference of the values: until phi'(a) <= (2 c1 - 1) phi'(0), which is equivalent for a quadratic;
    derivatives are computed only in this case.

    Args: c1 – in (0, 1), default 1e-4; shrink – in (0, 1), default 0.5; probes – largest number of steps tried, default 40.
    Source: Armijo (1966); Nocedal and Wright (2006), algorithm 3.1; Hager and Zhang (2005), equation 4.1.
    """

    def __init__(self, c1: float = 1e-4, shrink: float = 0.5, probes: int = 40) -> None:
        self.c1 = real(c1, "c1", 0.0, 1.0, "()")
        self.shrink = real(shrink, "shrink", 0.0, 1.0, "()")
        self.probes = whole(probes, "probes")

    def search(self, phi: Phi, start: Probe, first: float) -> Probe | None:
        """The first step of the sequence that satisfies the condition."""
        step = first
        for _ in range(self.probes):
            tried = measured(phi, start, step)
            if low_enough(start, tried, self.c1):
                return tried
            step *= self.shrink
        return None


@suggests_arguments
class BestOf(LineSearch):
    """Tries several learning rates and takes the one with the lowest loss; uses derivatives if rounding hides the difference.

    Args: rates – default 1e-3, 1e-2, 1e-1, 1, 10.
    Source: notes 002, line search.
    """

    needs_descent = False

    def __init__(self, rates: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)) -> None:
        if isinstance(rates, str) or not isinstance(rates, Sequence) or not rates:
            raise HyperparameterError(f"expected several learning rates; got {rates!r}; write BestOf([0.01, 0.1, 1.0])")
        self.rates = tuple(positive(rate, "rates") for rate in rates)

    def search(self, phi: Phi, start: Probe, first: float) -> Probe | None:  # noqa: ARG002
        """The step with the lowest phi, or None if none is below phi(0)."""
        tried = [measured(phi, start, rate) for rate in self.rates]
        changes = [change(start, here, start.rounding) for here in tried]
        lowest = min(changes)
        return tried[changes.index(lowest)] if lowest < 0.0 else None


@suggests_arguments
class FixedStep(LineSearch):
    """No search: always takes the same step.

    Args: rate – > 0, default 1: a pure Newton step.
    """

    needs_descent = False

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = positive(rate, "rate")

    def search(self, phi: Phi, start: Probe, first: float) -> Probe | None:  # noqa: ARG002
        """The fixed step, or None if f is not finite there."""
        tried = phi(self.rate, False)
        return tried if math.isfinite(tried.value) else None


@suggests_arguments
class StrongWolfe(LineSearch):
    """phi(a) <= phi(0) + c1 a phi'(0) and |phi'(a)| <= c2 |phi'(0)|: sufficient decrease, and a curvature condition for
    quasi-Newton updates.

    A bracket is expanded until it must contain such a step, then narrowed by the minimum of the cubic through its ends. If
    rounding hides differences of values, the first condition becomes phi'(a) <= (2 c1 - 1) phi'(0), and derivatives decide
    which end is lower. If no step satisfies both, the lowest one found that satisfies the first is taken.

    Args: c1 – default 1e-4; c2 – c1 < c2 < 1, default 0.9 for quasi-Newton directions, 0.1 for conjugate gradients; probes –
        largest number of evaluations, default 30; longest – the largest step, default 1e10.
    Source: Nocedal and Wright (2006), algorithms 3.5 and 3.6; Hager and Zhang (2005), equation 4.1.
    """

    def __init__(self, c1: float = 1e-4, c2: float = 0.9, probes: int = 30, longest: float = 1e10) -> None:
        self.c1 = real(c1, "c1", 0.0, 1.0, "()")
        self.c2 = real(c2, "c2", self.c1, 1.0, "()", "the second condition must be the weaker one: c1 < c2 < 1")
        self.probes = whole(probes, "probes")
        self.longest = positive(longest, "longest")

    def search(self, phi: Phi, start: Probe, first: float) -> Probe | None:
        """A step that satisfies both conditions, otherwise one that satisfies the first, otherwise None."""
        left = self.probes
        last = low = start
        step = min(first, self.longest)
        while left > 0:
            here = phi(step, True)
            left -= 1
            higher = last is not start and change(last, here, start.rounding) >= 0.0
            if higher or not low_enough(start, here, self.c1):
                return self._zoom(phi, start, last, here, left)
            if abs(here.derivative) <= -self.c2 * start.derivative:
                return here
            if here.derivative >= 0.0:
                return self._zoom(phi, start, here, last, left)
            low = last = here
            if step >= self.longest:
                break
            step = min(2.0 * step, self.longest)
        return low if low is not start else None

    def _zoom(self, phi: Phi, start: Probe, low: Probe, high: Probe, left: int) -> Probe | None:
        """Searches between `low`, the lowest probe that satisfies Armijo, and `high`, in whose direction phi decreases."""
        for _ in range(left):
            width = abs(high.step - low.step)
            if width <= 1e-14 * max(low.step, high.step):
                break
            here = phi(_cubic_minimum(low, high, start.rounding), True)
            if not low_enough(start, here, self.c1) or change(low, here, start.rounding) >= 0.0:
                high = here
                continue
            if abs(here.derivative) <= -self.c2 * start.derivative:
                return here
            if here.derivative * (high.step - low.step) >= 0.0:
                high = low
            low = here
        return low if low.step > 0.0 else None


def _cubic_minimum(a: Probe, b: Probe, rounding: float) -> float:
    """The minimum of the cubic with the values and derivatives of two probes, at some distance from both; else their midpoint.

    If rounding hides the difference of the values, the minimum is the zero of the line through the derivatives.

    Source: Nocedal and Wright (2006), equation 3.59.
    """
    middle = 0.5 * (a.step + b.step)
    width = b.step - a.step
    if not all(map(math.isfinite, (b.value, b.derivative, a.derivative))):
        return middle
    d1 = a.derivative + b.derivative - 3.0 * change(a, b, rounding) / width
    inside = d1 * d1 - a.derivative * b.derivative
    if not inside >= 0.0:
        return middle
    d2 = math.copysign(math.sqrt(inside), width)
    denominator = b.derivative - a.derivative + 2.0 * d2
    if denominator == 0.0:
        return middle
    step = b.step - width * (b.derivative + d2 - d1) / denominator
    margin = 0.01 * abs(width)
    low, high = min(a.step, b.step) + margin, max(a.step, b.step) - margin
    return min(max(step, low), high) if math.isfinite(step) else middle


def search_or(value: Any, default: LineSearch) -> LineSearch:
    """`value`, or the default for None; raises HyperparameterError for anything but a line search."""
    if value is None:
        return default
    if not isinstance(value, LineSearch):
        raise HyperparameterError(
            f"expected a line search such as fs.StrongWolfe(); got {value!r}; did you forget ()?"
        )
    return value
