"""The operations of the handwritten step between linear layers: ReLU, or LayerNorm, GELU and Dropout; NumPy, in place."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from scipy.special import erf

from ..problem import LAYER_NORM_EPSILON, Problem

Array = Any


class ReLULayers:
    """a = max(z, 0) in place; the gradient passes where a > 0.

    Args: problem; xp – numpy, or a library with the same functions.
    """

    parameters = 0

    def __init__(self, problem: Problem, xp: Any = np) -> None:
        rows = problem.network.batch
        hidden = problem.network.widths[1:-1]
        self.xp = xp
        self.passes = [xp.empty((rows, m), bool) for m in hidden]
        self.saved: list[Array] = [None] * len(hidden)

    def bind(self, theta: Array, gradient: Array) -> None:
        """There is nothing to learn here."""

    def start(self) -> None:
        """Nor to set."""

    def forward(self, k: int, z: Array) -> Array:
        """The activations, in the array of the sums."""
        self.saved[k] = self.xp.maximum(z, 0.0, out=z)
        return z

    def backward(self, k: int, d: Array) -> None:
        """d becomes the slope of the sums."""
        self.xp.greater(self.saved[k], 0.0, out=self.passes[k])
        d *= self.passes[k]


class HiddenWithEverything:
    """LayerNorm, GELU (exact form) and inverted dropout.

    n = (z - mean) / sqrt(variance + 1e-5); h = n gain + offset; a = h Phi(h) mask / (1 - p).
    Source: Ba, Kiros and Hinton (2016); Hendrycks and Gimpel (2016); Srivastava et al. (2014).
    """

    def __init__(self, problem: Problem) -> None:
        self.hidden, self.p = problem.network.widths[1:-1], problem.dropped
        rows, dtype = problem.network.batch, problem.dtype
        self.normal, self.h, self.cdf, self.a, self.mask, self.spare = (
            [np.empty((rows, m), dtype) for m in self.hidden] for _ in range(6)
        )
        self.scale = [np.empty((rows, 1), dtype) for _ in self.hidden]
        self.rng = np.random.Generator(np.random.SFC64(problem.seed))
        self.ones = np.ones(rows, dtype)
        self.parameters = 2 * sum(self.hidden)

    def bind(self, theta: Array, gradient: Array) -> None:
        """Gains and offsets, and their gradients, in the flat arrays."""
        edges = list(accumulate((m for m in self.hidden for _ in range(2)), initial=0))
        values, derivatives = ([flat[a:b] for a, b in pairwise(edges)] for flat in (theta, gradient))
        self.gain, self.offset = values[::2], values[1::2]
        self.gain_gradient, self.offset_gradient = derivatives[::2], derivatives[1::2]

    def start(self) -> None:
        """Gains 1, offsets 0."""
        for gain, offset in zip(self.gain, self.offset, strict=True):
            gain[...], offset[...] = 1.0, 0.0

    def forward(self, k: int, z: Array) -> Array:
        """The activations a of layer k from its sums z."""
        n, h, cdf, a, spare = self.normal[k], self.h[k], self.cdf[k], self.a[k], self.spare[k]
        np.subtract(z, np.mean(z, axis=1, keepdims=True), out=n)
        variance = np.einsum("ij,ij->i", n, n)[:, None] / n.shape[1]
        scale = np.divide(1.0, np.sqrt(variance + LAYER_NORM_EPSILON), out=self.scale[k])
        n *= scale
        np.multiply(n, self.gain[k], out=h)
        h += self.offset[k]
        np.multiply(h, 0.5**0.5, out=spare)
        erf(spare, out=cdf)
        cdf += 1.0
        cdf *= 0.5
        np.multiply(h, cdf, out=a)
        if self.p:
            mask = self.mask[k]
            self.rng.random(out=spare, dtype=spare.dtype)
            np.greater_equal(spare, self.p, out=mask, casting="unsafe")
            mask *= 1.0 / (1.0 - self.p)
            a *= mask
        return a

    def backward(self, k: int, d: Array) -> None:
        """d becomes the slope of the sums; the gradients of gain and offset on the way."""
        n, h, cdf, spare = self.normal[k], self.h[k], self.cdf[k], self.spare[k]
        if self.p:
            d *= self.mask[k]
        np.multiply(h, h, out=spare)
        spare *= -0.5
        np.exp(spare, out=spare)
        spare *= (2.0 * np.pi) ** -0.5
        spare *= h
        spare += cdf
        d *= spare
        np.multiply(d, n, out=spare)
        np.dot(self.ones, spare, out=self.gain_gradient[k])
        np.dot(self.ones, d, out=self.offset_gradient[k])
        d *= self.gain[k]
        np.multiply(n, np.einsum("ij,ij->i", d, n)[:, None] / n.shape[1], out=spare)
        d -= np.mean(d, axis=1, keepdims=True)
        d -= spare
        d *= self.scale[k]
