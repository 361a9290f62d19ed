"""Layers with a weight matrix: Linear, TiedLinear (another layer's matrix, transposed), Maxout.

Weights are [inputs, outputs], so that a row of x times the matrix is a row of y.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import HyperparameterError
from ...kernels.formulas.activations import ACTIVATIONS
from ...kernels.formulas.elementwise import add_bias
from ..engine.initializers import Initializer, initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import whole
from .base import Array, Layer, require_width, zeros

BiasGradient = tuple[Array, bool] | None
"""(array for the gradient of a bias, whether to add to it); None if there is no bias, or its gradient is already written."""


def room_for(bias: BiasGradient) -> Array | None:
    """The array to which a product may write the gradient of a bias as a second output; None if it would have to add to it."""
    return None if bias is None or bias[1] else bias[0]


def make_bias(size: int, init: Any, fan_in: int) -> Parameter:
    """The declaration of a bias."""
    return Parameter("bias", (size,), initializer(init), fan_in, size, decays=False)


class Linear(Layer):
    """The affine layer Y = X W + b.

    dW = X^T dY, db = sum of the rows of dY, dX = dY W^T.

    Args: inputs, outputs – numbers of columns; bias – whether to add b; weight_init – an initializer, its name, or a constant,
        default "he_normal"; bias_init – the same kinds, default 0.
    Parameters: weight [inputs, outputs], bias [outputs].
    Source: notes 000, 001, 004.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        weight_init: str | float | Initializer = "he_normal",
        bias_init: str | float | Initializer = 0.0,
    ) -> None:
        self.inputs = whole(inputs, "inputs of Linear")
        self.outputs = whole(outputs, "outputs of Linear")
        self.weight = Parameter("weight", (self.inputs, self.outputs), initializer(weight_init), self.inputs, self.outputs)
        self.bias = make_bias(self.outputs, bias_init, self.inputs) if bias else None

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        return {"inputs": self.inputs, "outputs": self.outputs, **({} if self.bias else {"bias": False})}

    def output_width(self, width: int) -> int:
        """`outputs`."""
        require_width(self, self.inputs, width)
        return self.outputs

    def product(self, x: Array, tape: Tape) -> Array:
        """X W, without the bias."""
        out = tape.empty((x.shape[0], self.outputs))
        tape.backend.matmul(x, tape.parameter(self.weight), out)
        return out

    def forward(self, x: Array, tape: Tape) -> Array:
        """X W + b."""
        y = tape.empty((x.shape[0], self.outputs))
        bias = None if self.bias is None else tape.parameter(self.bias)
        tape.backend.dense_forward(x, tape.parameter(self.weight), bias, ACTIVATIONS["identity"], (), y)
        tape.push(x)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Writes the gradients of W and b to the tape; returns dX."""
        (x,) = tape.pop()
        self.parameter_gradients(x, dy, tape, self.bias_gradient(tape))
        if not needs_input:
            return None
        dx = tape.empty(x.shape)
        tape.backend.matmul(dy, tape.parameter(self.weight), dx, transpose_b=True)
        return dx

    def bias_gradient(self, tape: Tape) -> BiasGradient:
        """See BiasGradient."""
        return None if self.bias is None else tape.gradient(self.bias)

    def parameter_gradients(self, x: Array, dy: Array, tape: Tape, bias: BiasGradient) -> None:
        """Writes dW to the tape, and db as `bias` says."""
        weight, again = tape.gradient(self.weight)
        written = tape.backend.dense_weight_gradient(x, dy, weight, again, room_for(bias))
        if bias is not None and not written:
            tape.backend.rows("column_sum", dy, *bias)

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dY = dX W + X dW + db."""
        y = self.forward(x, tape)
        return y, affine_tangent(
            x, dx, tape, self.weight, tape.parameter(self.weight), self.bias, y.shape, transposed=False
        )


def affine_tangent(
    x: Array, dx: Array | None, tape: Tape, weight: Parameter, values: Array, bias: Parameter | None,
    shape: tuple[int, ...], transposed: bool,
) -> Array:  # fmt: skip
    """dX op(W) + X op(dW) + db, in a buffer of that shape; op is the transpose for tied weights."""
    moved = zeros(tape, shape)
    if dx is not None:
        tape.backend.matmul(dx, values, moved, transpose_b=transposed, accumulate=True)
    weight_direction = tape.tangent(weight)
    if weight_direction is not None:
        tape.backend.matmul(x, weight_direction, moved, transpose_b=transposed, accumulate=True)
    bias_direction = None if bias is None else tape.tangent(bias)
    if bias_direction is not None:
        tape.backend.map(add_bias, moved, moved, bias_direction)
    return moved


class TiedLinear(Layer):
    """The decoder half of a tied autoencoder: Y = X W^T + b, with W the weight of another Linear layer.

    The gradients of both uses of W are added.

    Args: of – the Linear layer whose weight is used; bias – whether to add b [of.inputs]; bias_init.
    Source: notes 002, parameter tying.
    """

    def __init__(self, of: Linear, bias: bool = True, bias_init: str | float | Initializer = 0.0) -> None:
        if not isinstance(of, Linear):
            raise HyperparameterError(f"TiedLinear: expected a Linear layer to share weights with; got {of!r}")
        self.of = of
        self.bias = make_bias(of.inputs, bias_init, of.outputs) if bias else None

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer; model files replace `of` by its position in the model."""
        return {"of": self.of, **({} if self.bias else {"bias": False})}

    def declared(self) -> Iterator[tuple[str, Parameter]]:
        """The shared weight and the bias of this layer; a model names the weight after the layer that declares it first."""
        yield "weight", self.of.weight
        if self.bias is not None:
            yield "bias", self.bias

    def output_width(self, width: int) -> int:
        """`of.inputs`."""
        require_width(self, self.of.outputs, width)
        return self.of.inputs

    def forward(self, x: Array, tape: Tape) -> Array:
        """X W^T + b."""
        y = tape.empty((x.shape[0], self.of.inputs))
        tape.backend.matmul(x, tape.parameter(self.of.weight), y, transpose_b=True)
        if self.bias is not None:
            tape.backend.map(add_bias, y, y, tape.parameter(self.bias))
        tape.push(x)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """dW += dY^T X, db, dX = dY W."""
        (x,) = tape.pop()
        weight_gradient, again = tape.gradient(self.of.weight)
        tape.backend.matmul(dy, x, weight_gradient, transpose_a=True, accumulate=again)
        if self.bias is not None:
            tape.sum_rows(dy, self.bias)
        if not needs_input:
            return None
        dx = tape.empty(x.shape)
        tape.backend.matmul(dy, tape.parameter(self.of.weight), dx)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dY = dX W^T + X dW^T + db."""
        y = self.forward(x, tape)
        weight = self.of.weight
        return y, affine_tangent(x, dx, tape, weight, tape.parameter(weight), self.bias, y.shape, transposed=True)


class Maxout(Layer):
    """y_j = max over k of (x W_k + b_k)_j: the largest of k affine pieces, a learned activation function.

    Args: inputs, outputs; pieces – k, 2 to 255; weight_init, bias_init as in Linear.
    Parameters: weight [inputs, k outputs] and bias [k outputs], the pieces side by side.
    Source: Goodfellow et al. (2013); notes 002.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        pieces: int = 2,
        weight_init: str | float | Initializer = "he_normal",
        bias_init: str | float | Initializer = 0.0,
    ) -> None:
        self.outputs = whole(outputs, "outputs of Maxout")
        self.pieces = whole(pieces, "pieces of Maxout", 2, 255, "with one piece use Linear")
        self.affine = Linear(inputs, self.pieces * self.outputs, weight_init=weight_init, bias_init=bias_init)

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        return {"inputs": self.affine.inputs, "outputs": self.outputs, "pieces": self.pieces}

    def declared(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters of the affine pieces."""
        yield from self.affine.declared()

    def output_width(self, width: int) -> int:
        """`outputs`."""
        require_width(self, self.affine.inputs, width)
        return self.outputs

    def forward(self, x: Array, tape: Tape) -> Array:
        """The largest piece of each unit."""
        return self._largest(self.affine.forward(x, tape), tape)[0]

    def _largest(self, z: Array, tape: Tape) -> tuple[Array, Array]:
        """(the largest piece of each unit, its number)."""
        y = tape.empty((z.shape[0], self.outputs))
        winner = tape.empty(y.shape, "uint8")
        tape.backend.rows("maxout", z, y, winner)
        tape.push(z.shape, winner)
        return y, winner

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Each gradient goes to the largest piece only."""
        shape, winner = tape.pop()
        dz = tape.empty(shape)
        tape.backend.rows("maxout_spread", dy, winner, dz)
        return self.affine.backward(dz, tape, needs_input)

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """The directional derivatives of the largest pieces."""
        z, dz = self.affine.jvp(x, dx, tape)
        y, winner = self._largest(z, tape)
        dy = tape.empty(y.shape)
        tape.backend.rows("maxout_pick", dz, winner, dy)
        return y, dy
