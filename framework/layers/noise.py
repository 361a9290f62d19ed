"""Layers that are active only in training: Dropout and GaussianNoise.

Their random numbers depend only on (seed, layer, step, row, column), so the backward pass regenerates the mask.
"""

from __future__ import annotations

from typing import Any

from ...kernels.formulas.random import dropout, gaussian_noise
from ..engine.tape import Tape
from ..settings import fraction, not_negative
from .base import Array, Layer, zeros


class Dropout(Layer):
    """Inverted dropout: in training y = x mask / (1 - p), mask = 0 with probability p; in evaluation y = x.

    Args: p – the probability of dropping a unit, 0 <= p < 1; the notes keep 0.5 of the hidden units (p = 0.5) and 0.8 of the
        visible ones (p = 0.2).
    Differs from: the notes, which scale by 1 - p at test time; the expectation of every unit is the same.
    Source: Srivastava et al. (2014); notes 002.
    """

    keeps_image = True
    setting_names = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        self.p = fraction(p, "p of Dropout", "pass the fraction that is dropped, such as 0.5")

    @property
    def scalars(self) -> tuple[float, float]:
        """(fraction, scale) of the formula."""
        return self.p, 1.0 / (1.0 - self.p)

    def forward(self, x: Array, tape: Tape) -> Array:
        """The masked x in training, otherwise x."""
        if not tape.training or self.p == 0.0:
            tape.push(None)
            return x
        random = tape.random()
        y = tape.empty(x.shape)
        tape.backend.map(dropout, y, x, *self.scalars, random=random)
        tape.push(random)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dy under the same mask."""
        return self._masked(dy, tape, tape.pop()[0])

    def _masked(self, dy: Array, tape: Tape, random: Any) -> Array:
        if random is None:
            return dy
        dx = tape.empty(dy.shape)
        tape.backend.map(dropout, dx, dy, *self.scalars, random=random)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dx under the same mask."""
        y = self.forward(x, tape)
        return y, zeros(tape, y.shape) if dx is None else self._masked(dx, tape, tape.top()[0])


class GaussianNoise(Layer):
    """In training y = x + e with e ~ N(0, sigma^2) for every element; in evaluation y = x.

    For a linear model this is equivalent to an L2 penalty (notes 002).

    Args: sigma – standard deviation, >= 0, in the units of x.
    """

    keeps_image = True
    setting_names = ("sigma",)

    def __init__(self, sigma: float) -> None:
        self.sigma = not_negative(sigma, "sigma of GaussianNoise", "pass a standard deviation in the units of x")

    def forward(self, x: Array, tape: Tape) -> Array:
        """The noisy x in training, otherwise x."""
        if not tape.training or self.sigma == 0.0:
            return x
        y = tape.empty(x.shape)
        tape.backend.map(gaussian_noise, y, x, self.sigma, random=tape.random())
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dy."""
        return dy

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dx."""
        y = self.forward(x, tape)
        return y, zeros(tape, y.shape) if dx is None else dx
