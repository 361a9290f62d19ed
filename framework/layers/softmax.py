"""Softmax as a layer; followed by SoftmaxCrossEntropy, both are computed in one pass from the logits."""

from __future__ import annotations

from ...kernels.formulas.elementwise import row_product, softmax_derivative
from ..engine.tape import Tape
from .base import Array, Layer, zeros


class Softmax(Layer):
    """y_k = exp(x_k) / (sum over j of exp(x_j)) in each row: a point of the probability simplex.

    Source: notes 000, 001.
    """

    def forward(self, x: Array, tape: Tape) -> Array:
        """Probabilities, in a new buffer."""
        y = tape.empty(x.shape)
        tape.backend.rows("softmax", x, y)
        tape.push(y)
        return y

    def _derivative(self, direction: Array, y: Array, tape: Tape) -> Array:
        dot = tape.empty((y.shape[0],))
        tape.backend.map(row_product, dot, direction, y)
        out = tape.empty(y.shape)
        tape.backend.map(softmax_derivative, out, direction, y, dot)
        return out

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dx = y (dy - <dy, y>)."""
        (y,) = tape.pop()
        return self._derivative(dy, y, tape)

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = y (dx - <dx, y>): as `backward`, because the Jacobian of softmax is symmetric."""
        y = self.forward(x, tape)
        return y, zeros(tape, y.shape) if dx is None else self._derivative(dx, y, tape)
