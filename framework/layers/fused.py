"""Neighbours that one kernel computes: Linear, then an activation, then dropout.

A backend may do the bias and the activation inside the product, backward inside the product of the layer above; otherwise,
and with dropout, a single pass follows the product.
"""

from __future__ import annotations

from collections.abc import Sequence as Layers

from ...kernels.formulas.activations import ACTIVATIONS, Activation, dense_backward, dense_forward
from ..engine.tape import Tape
from .activations import _Elementwise
from .base import Array, Layer
from .dense import Linear
from .noise import Dropout

_WAITS, _SLOPED, _SUMMED = range(3)
"""What was done to the gradient that arrives: nothing; multiplied by the slope; and the bias gradient is there as well."""


class _Dense(Layer):
    """dropout(activation(x W + b)), equal to the three layers one after the other."""

    def __init__(self, linear: Linear, activation: _Elementwise | None, drop: Dropout | None) -> None:
        self.linear = linear
        self.after = activation
        self.drop = drop
        parts = [linear, *([] if activation is None else [activation]), *([] if drop is None else [drop])]
        self._label = " + ".join(type(part).__name__ for part in parts)

    @property
    def activation(self) -> Activation:
        """The row of the table of activations, as the layer has it now."""
        return ACTIVATIONS["identity"] if self.after is None else self.after.activation

    @property
    def scalars(self) -> tuple[float, ...]:
        """What the activation takes beside x, as the layer has it now."""
        return () if self.after is None else self.after.scalars

    @property
    def label(self) -> str:
        """The names of the layers that it stands for."""
        return self._label

    def forward(self, x: Array, tape: Tape) -> Array:
        """One product with what follows it; with dropout a product and one pass, in place."""
        if self.drop is not None and tape.training and self.drop.p > 0.0:
            return self._forward_dropping(x, tape, self.drop)
        linear, activation, backend = self.linear, self.activation, tape.backend
        y = tape.empty((x.shape[0], linear.outputs))
        z = tape.empty(y.shape) if activation.keeps == "input" and tape.records else None
        bytes_a_row = backend.mask_bytes(activation, linear.outputs, tape.dtype) if tape.records else 0
        mask = tape.empty((x.shape[0], bytes_a_row), "uint8") if bytes_a_row else None
        bias = None if linear.bias is None else tape.parameter(linear.bias)
        marked = backend.dense_forward(x, tape.parameter(linear.weight), bias, activation, self.scalars, y, z, mask)
        tape.push(x, y if z is None else z, None, mask if marked else None, _WAITS)
        return y

    def _forward_dropping(self, x: Array, tape: Tape, drop: Dropout) -> Array:
        linear, activation = self.linear, self.activation
        z = linear.product(x, tape)
        keeps_input = activation.keeps == "input" and tape.records
        formula = dense_forward(activation, linear.bias is not None, True, keeps_input)
        biases = [] if linear.bias is None else [tape.parameter(linear.bias)]
        random = tape.random()
        y = tape.empty(z.shape) if keeps_input else z
        tape.backend.map(formula, (y, z) if keeps_input else y, z, *biases, *self.scalars, *drop.scalars, random=random)
        tape.push(x, z if keeps_input else y, random, None, _WAITS)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """One pass, unless the layer above has done it, then the products of the affine layer."""
        x, kept, random, _, state = tape.pop()
        dz = dy
        if state == _WAITS and (self.activation.name != "identity" or random is not None):
            dz = tape.empty(dy.shape)
            dropped = self.drop.scalars if self.drop is not None and random is not None else ()
            formula = dense_backward(self.activation, random is not None)
            tape.backend.map(formula, dz, dy, kept, *self.scalars, *dropped, random=random)
        return self.linear.gradients(x, dz, tape, needs_input, state == _SUMMED)

    def pull(self, dy: Array, weight: Array, out: Array, tape: Tape) -> bool:
        """out = (dY W^T) times the slope of this layer, for the layer above with its W, whose only input this one gives.

        Returns: whether that was done; not with dropout, whose mask is replayed in a pass of its own.
        """
        x, kept, random, mask, _ = tape.top()
        if random is not None or self.activation.name == "identity":
            return False
        tape.pop()
        bias = self.linear.bias
        room = None if bias is None else tape.unwritten(bias)
        summed = tape.backend.dense_input_gradient(dy, weight, self.activation, self.scalars, kept, out, mask, room)
        if summed and bias is not None:
            tape.gradient(bias)
        tape.push(x, kept, None, None, _SUMMED if summed else _SLOPED)
        return True


def _plain(layer: Layer) -> bool:
    """Whether it is an activation that computes what its formula says, not a subclass that does something else."""
    cls = type(layer)
    return isinstance(layer, _Elementwise) and (cls.forward, cls.backward) == (_Elementwise.forward, _Elementwise.backward)


def fuse(layers: Layers[Layer]) -> list[Layer]:
    """The layers with every run of Linear, [activation], [Dropout] replaced by one."""
    result: list[Layer] = []
    position = 0
    while position < len(layers):
        layer = layers[position]
        position += 1
        if type(layer) is not Linear:
            result.append(layer)
            continue
        activation = drop = None
        if position < len(layers) and _plain(layers[position]):
            activation = layers[position]
            position += 1
        if position < len(layers) and type(layers[position]) is Dropout:
            drop = layers[position]
            position += 1
        fusible = activation is not None or drop is not None
        result.append(_Dense(layer, activation, drop) if fusible else layer)  # type: ignore[arg-type]
    return result


def below(layers: Layers[Layer], position: int) -> _Dense | None:
    """Of fused layers, the one below `position` whose part of the backward pass that one may do; see Tape.below."""
    under = layers[position - 1] if position and type(layers[position]) in (Linear, _Dense) else None
    return under if isinstance(under, _Dense) else None
