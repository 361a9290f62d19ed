"""Fusion: a Linear layer is computed together with the activation and dropout that follow it.

This is decided here, once, when a chain of layers is created; the layers themselves do not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Layers
from itertools import groupby
from typing import Any

from ...kernels.formulas.activations import ACTIVATIONS, dense_backward, dense_forward
from ..engine.frozen import is_frozen
from ..engine.tape import Tape
from .activations import _Elementwise
from .base import Array, Layer
from .dense import BiasGradient, Linear, room_for
from .noise import Dropout


class Nodes:
    """A sequence of layers or fused layers.

    Args: nodes – (name in profiles, layer), in order.
    """

    def __init__(self, nodes: Iterable[tuple[str, Layer]]) -> None:
        self.nodes = tuple(nodes)

    def forward(self, x: Array, tape: Tape) -> Array:
        """The output of the last node."""
        for place, node in self.nodes:
            tape.place, tape.stage = place, "forward"
            x = node.forward(x, tape)
        return x

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """The gradient with respect to the input; not computed if `needs_input` is False."""
        gradient: Any = dy
        for position in range(len(self.nodes) - 1, -1, -1):
            place, node = self.nodes[position]
            tape.place, tape.stage = place, "backward"
            gradient = node.backward(gradient, tape, needs_input or position > 0)
        return gradient


class _Dense:
    """dropout(activation(x W + b)), equal to the three layers in sequence; its backward pass is in DenseRun.

    Attributes: after, drop – the layers, or None; activation – the entry of ACTIVATIONS; scalars – its further arguments; label
        – the names of the layers.
    """

    def __init__(self, linear: Linear, activation: _Elementwise | None, drop: Dropout | None) -> None:
        self.linear = linear
        self.after = activation
        self.drop = drop
        self.activation = ACTIVATIONS["identity"] if activation is None else activation.activation
        self.scalars = () if activation is None else activation.scalars
        self.label = " + ".join(type(part).__name__ for part in (linear, activation, drop) if part is not None)

    def forward(self, x: Array, tape: Tape) -> Array:
        """One dense operation of the backend; with dropout a product, then one formula in place."""
        if self.drop is not None and tape.training and self.drop.p > 0.0:
            return self._forward_dropping(x, tape, self.drop)
        linear, activation, backend = self.linear, self.activation, tape.backend
        y = tape.empty((x.shape[0], linear.outputs))
        z = tape.empty(y.shape) if activation.keeps == "input" and tape.saves else None
        masks = backend.fuses and tape.saves
        bytes_a_row = backend.mask_bytes(activation, linear.outputs, tape.dtype) if masks else 0
        mask = tape.empty((x.shape[0], bytes_a_row), "uint8") if bytes_a_row else None
        bias = None if linear.bias is None else tape.parameter(linear.bias)
        marked = backend.dense_forward(x, tape.parameter(linear.weight), bias, activation, self.scalars, y, z, mask)
        tape.push(x, y if z is None else z, None, mask if marked else None)
        return y

    def _forward_dropping(self, x: Array, tape: Tape, drop: Dropout) -> Array:
        linear, activation = self.linear, self.activation
        z = linear.product(x, tape)
        keeps_input = activation.keeps == "input" and tape.saves
        formula = dense_forward(activation, linear.bias is not None, True, keeps_input)
        biases = [] if linear.bias is None else [tape.parameter(linear.bias)]
        random = tape.random()
        y = tape.empty(z.shape) if keeps_input else z
        tape.backend.map(formula, (y, z) if keeps_input else y, z, *biases, *self.scalars, *drop.scalars, random=random)
        tape.push(x, z if keeps_input else y, random, None)
        return y

    def through_activation(self, dy: Array, saved: Array, random: Any, tape: Tape) -> Array:
        """dz for y = dropout(activation(z)), by one formula."""
        if self.activation.name == "identity" and random is None:
            return dy
        dz = tape.empty(dy.shape)
        dropped = self.drop.scalars if self.drop is not None and random is not None else ()
        formula = dense_backward(self.activation, random is not None)
        tape.backend.map(formula, dz, dy, saved, *self.scalars, *dropped, random=random)
        return dz

    def joins_the_product_above(self, tape: Tape) -> bool:
        """Whether the input gradient of the next block may be computed together with the derivative of this activation.

        Not with dropout, whose mask is computed again by a separate formula.
        """
        return self.activation.name != "identity" and tape.top()[2] is None


class DenseRun(Layer, public=False):
    """Consecutive Linear layers, each with its activation and dropout.

    In the backward pass, the derivative of an activation and the gradient of the bias before it may be computed together with
    the input gradient of the next block.

    Args: blocks – (name in profiles, block), in order.
    """

    def __init__(self, blocks: Iterable[tuple[str, _Dense]]) -> None:
        self.blocks = tuple(blocks)

    @property
    def ends_in_linear(self) -> bool:
        """Whether the last block has neither activation nor dropout."""
        last = self.blocks[-1][1]
        return last.after is None and last.drop is None

    def bias_gradient(self, tape: Tape) -> BiasGradient:
        """See BiasGradient; for the last block."""
        return self.blocks[-1][1].linear.bias_gradient(tape)

    def forward(self, x: Array, tape: Tape) -> Array:
        """The output of the last block."""
        for place, block in self.blocks:
            tape.place = place
            x = block.forward(x, tape)
        return x

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """See Layer.backward."""
        return self.back(dy, tape, needs_input, self.bias_gradient(tape))

    def back(self, dy: Array, tape: Tape, needs_input: bool, bias: BiasGradient) -> Array | None:
        """As `backward`; bias – see BiasGradient, for the last block."""
        derived = False
        for position in range(len(self.blocks) - 1, -1, -1):
            tape.place, block = self.blocks[position]
            x, saved, random, _ = tape.pop()
            dz = dy if derived else block.through_activation(dy, saved, random, tape)
            block.linear.parameter_gradients(x, dz, tape, bias)
            if not (needs_input or position):
                return None
            dy, weight = tape.empty(x.shape), tape.parameter(block.linear.weight)
            below = self.blocks[position - 1][1] if position else None
            bias = None if below is None else below.linear.bias_gradient(tape)
            derived = below is not None and below.joins_the_product_above(tape)
            if below is None or not derived:
                tape.backend.matmul(dz, weight, dy, transpose_b=True)
                continue
            _, saved, _, mask = tape.top()
            given = (dz, weight, below.activation, below.scalars, saved, dy, mask)
            if tape.backend.dense_input_gradient(*given, room_for(bias)):
                bias = None
        return dy


def _plain(layer: Layer) -> bool:
    """Whether a layer is a frozen activation whose forward and backward are those of its formula, not overridden."""
    cls, own = type(layer), _Elementwise
    return isinstance(layer, own) and is_frozen(layer) and (cls.forward, cls.backward) == (own.forward, own.backward)


def fuse(layers: Layers[Layer]) -> Nodes:
    """The nodes for some layers: adjacent Linear layers and the activations and dropouts after them become one DenseRun.

    Subclasses of Linear and Dropout are not fused, because they may override anything.
    """
    waiting = list(layers)
    parts: list[tuple[str, Any]] = []
    while waiting:
        part: Any = waiting.pop(0)
        if type(part) is Linear:
            activation: Any = waiting.pop(0) if waiting and _plain(waiting[0]) else None
            drop: Any = waiting.pop(0) if waiting and type(waiting[0]) is Dropout else None
            part = _Dense(part, activation, drop)
        parts.append((f"{len(parts)} {part.label}", part))
    nodes: list[tuple[str, Layer]] = []
    for dense, group in groupby(parts, lambda part: isinstance(part[1], _Dense)):
        neighbours = list(group)
        nodes += [(neighbours[0][0], DenseRun(neighbours))] if dense else neighbours
    return Nodes(nodes)
