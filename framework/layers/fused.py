"""Neighbours that one kernel computes: Linear, then an activation, then dropout.

After the GEMM a single pass adds the bias, applies the activation and drops; backward likewise.
"""

from __future__ import annotations

from collections.abc import Sequence as Layers

from ...kernels.formulas.activations import ACTIVATIONS, Activation, dense_backward, dense_forward
from ..tape import Tape
from .activations import _Elementwise
from .base import Array, Layer
from .dense import Linear
from .noise import Dropout


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
        """One GEMM and one pass, in place."""
        linear, activation = self.linear, self.activation
        z = linear.product(x, tape)
        dropping = self.drop if self.drop is not None and tape.training and self.drop.p > 0.0 else None
        keeps_input = activation.keeps == "input" and tape.records
        formula = dense_forward(activation, linear.bias is not None, dropping is not None, keeps_input)
        arguments = [z, *([tape.parameter(linear.bias)] if linear.bias is not None else []), *self.scalars]
        random = None
        if dropping is not None:
            arguments += dropping.scalars
            random = tape.random()
        if keeps_input:
            y = tape.empty(z.shape)
            tape.backend.map(formula, (y, z), *arguments, random=random)
        else:
            y = z
            tape.backend.map(formula, y, *arguments, random=random)
        tape.push(z if keeps_input else y, random)
        tape.push(x)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """One pass, then the products of the affine layer."""
        x = tape.pop()
        kept, random = tape.pop()
        dz = dy
        if self.activation.name != "identity" or random is not None:
            dz = tape.empty(dy.shape)
            dropped = self.drop.scalars if self.drop is not None and random is not None else ()
            formula = dense_backward(self.activation, random is not None)
            tape.backend.map(formula, dz, dy, kept, *self.scalars, *dropped, random=random)
        tape.push(*x)
        return self.linear.backward(dz, tape, needs_input)


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
