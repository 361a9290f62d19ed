"""A step that an expert would write directly in NumPy: no allocations, in-place operations, BLAS on all cores."""

from __future__ import annotations

from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from ..problem import BETA1, BETA2, CLIP_NORM, EPSILON, WEIGHT_DECAY, Problem
from ..team import blas_threads
from ..timing import Prepared
from .base import Contender

Array = Any

CHUNK = 32_768
"""Block size of the optimiser, so that its seven passes stay in the cache."""


class Handwritten(Contender):
    """Plain NumPy with preallocated buffers, `out=`, one flat array of parameters, and Adam in cache-sized chunks.

    Elementwise operations run on one thread, as in NumPy; matrix products on all.

    Args: xp – numpy, or CuPy where it is to be the reference on a GPU (the plain variant only).
    """

    name: ClassVar[str] = "handwritten"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("numpy", "numpy"),)

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp

    def prepare(self, problem: Problem) -> Prepared:
        """All arrays."""
        from .handwritten_layers import HiddenWithEverything, ReLULayers

        hidden = HiddenWithEverything(problem) if problem.full else ReLULayers(problem, self.xp)
        run = NumpyStep(problem, hidden, self.xp)
        return Prepared(run, reset=run.reset, around=lambda: blas_threads(problem.threads))


class NumpyStep:
    """Forward, loss, backward and Adam; `hidden` computes what is between two linear layers.

    Args: problem; hidden – with `parameters`, `start`, `bind`, `forward` and `backward`; see handwritten_layers; xp – numpy, or
        a library with the same functions.
    """

    def __init__(self, problem: Problem, hidden: Any, xp: Any = np) -> None:
        self.problem, self.hidden, self.xp = problem, hidden, xp
        rows, dtype = problem.network.batch, problem.dtype
        weights = sum(n * m for n, m in problem.sizes)
        biases = sum(m for _, m in problem.sizes)
        self.decayed, size = weights, weights + biases + hidden.parameters
        self.theta, self.gradient, self.m, self.v = (xp.zeros(size, dtype) for _ in range(4))
        # A device has room for more, and each operation costs a launch.
        self.chunk = min(size, CHUNK if xp is np else 1024 * CHUNK)
        self.scratch = xp.empty((2, self.chunk), dtype)
        self.minibatches = [(xp.asarray(x), xp.asarray(y)) for x, y in problem.minibatches]
        self.weights, self.biases = self._views(self.theta)
        self.weight_gradients, self.bias_gradients = self._views(self.gradient)
        hidden.bind(self.theta[weights + biases :], self.gradient[weights + biases :])
        self.outputs = [xp.empty((rows, m), dtype) for _, m in problem.sizes]
        self.derivatives = [xp.empty((rows, m), dtype) for _, m in problem.sizes]
        self.ones, self.every = xp.ones(rows, dtype), xp.arange(rows)
        self.column = xp.empty((rows, 1), dtype)
        self.reset()

    def _views(self, flat: Array) -> tuple[list[Array], list[Array]]:
        place, weights, biases = 0, [], []
        for n, m in self.problem.sizes:
            weights.append(flat[place : place + n * m].reshape(n, m))
            place += n * m
        for _, m in self.problem.sizes:
            biases.append(flat[place : place + m])
            place += m
        return weights, biases

    def reset(self) -> None:
        """The common start, and no memory of any step."""
        for k, (weights, biases) in enumerate(self.problem.start):
            self.weights[k][...], self.biases[k][...] = self.xp.asarray(weights), self.xp.asarray(biases)
        self.hidden.start()
        self.m[...], self.v[...], self.t = 0.0, 0.0, 0
        self.turn = cycle(self.minibatches)

    def __call__(self) -> float:
        xp = self.xp
        x, y = next(self.turn)
        activations = self.forward(x)
        loss = self._loss(activations[-1], y)
        for k in range(len(self.weights) - 1, -1, -1):
            d = self.derivatives[k]
            xp.matmul(activations[k].T, d, out=self.weight_gradients[k])
            xp.dot(self.ones, d, out=self.bias_gradients[k])
            if k:
                below = xp.matmul(d, self.weights[k].T, out=self.derivatives[k - 1])
                self.hidden.backward(k - 1, below)
        self._update()
        return loss

    def forward(self, x: Array) -> list[Array]:
        """The inputs of each linear layer, and the logits, of one minibatch."""
        activations = [x]
        last = len(self.weights) - 1
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = self.xp.matmul(activations[k], w, out=self.outputs[k])
            z += b
            activations.append(self.hidden.forward(k, z) if k < last else z)
        return activations

    def loss_of(self, x: Array, y: Array) -> float:
        """The mean loss of a minibatch on which it is not trained."""
        return self._loss(self.forward(x)[-1], y)

    def _loss(self, logits: Array, y: Array) -> float:
        """The mean of log sum exp z - z_label, and its gradient (softmax(z) - one_hot) / B."""
        xp = self.xp
        rows, d = len(y), self.derivatives[-1]
        xp.subtract(logits, xp.max(logits, axis=1, keepdims=True, out=self.column), out=logits)
        of_label = logits[self.every, y]
        xp.exp(logits, out=d)
        total = xp.sum(d, axis=1, keepdims=True, out=self.column)
        loss = float(xp.mean(xp.log(total[:, 0]) - of_label))
        total *= rows
        d /= total
        d[self.every, y] -= 1.0 / rows
        return loss

    def _update(self) -> None:
        """Adam, or AdamW with clipping: m += (1 - b1)(g - m); v += (1 - b2)(g² - v); theta -= lr m^ / (sqrt(v^) + eps)."""
        xp = self.xp
        self.t += 1
        if self.problem.full:
            norm = float(xp.dot(self.gradient, self.gradient)) ** 0.5
            if norm > CLIP_NORM:
                self.gradient *= CLIP_NORM / norm
            self.theta[: self.decayed] *= 1.0 - self.problem.learning_rate * WEIGHT_DECAY
        rate, root = self.problem.learning_rate / (1.0 - BETA1**self.t), (1.0 - BETA2**self.t) ** -0.5
        for low in range(0, self.theta.size, self.chunk):
            here = slice(low, low + self.chunk)
            theta, g, m, v = self.theta[here], self.gradient[here], self.m[here], self.v[here]
            a, b = self.scratch[0, : theta.size], self.scratch[1, : theta.size]
            xp.subtract(g, m, out=a)
            a *= 1.0 - BETA1
            m += a
            xp.multiply(g, g, out=a)
            a -= v
            a *= 1.0 - BETA2
            v += a
            xp.sqrt(v, out=a)
            a *= root
            a += EPSILON
            xp.divide(m, a, out=b)
            b *= rate
            theta -= b
