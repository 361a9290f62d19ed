"""A network whose layers show what goes through them: the same layers and parameters, each behind a pane of glass.

The network itself is not touched; the step that trains it does not know of this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ..engine.tape import Tape
from ..layers import Layer
from ..layers.fused import Nodes
from ..layers.sequence import Sequence

Array = Any


class Watcher(Protocol):
    """Who looks: is called with every layer's output and with the gradient of the loss by it, which it must not change."""

    def forward(self, place: int, y: Array) -> None:
        """The output y [B, e] of layer number `place`."""

    def backward(self, place: int, dy: Array) -> None:
        """The gradient dy [B, e] by that output."""


class _Pane(Layer, public=False):
    """A layer that shows its output and the gradient by it."""

    def __init__(self, layer: Layer, place: int, watcher: Watcher) -> None:
        self.layer = layer
        self.place = place
        self.watcher = watcher

    def forward(self, x: Array, tape: Tape) -> Array:
        """The layer's own."""
        y = self.layer.forward(x, tape)
        self.watcher.forward(self.place, y)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """The layer's own."""
        self.watcher.backward(self.place, dy)
        return self.layer.backward(dy, tape, needs_input)


def named_layers(chain: Sequence, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """(name, layer) of every layer, also of those inside others, in the order in which their outputs come.

    Names are as in parameters: "2.ReLU", and "3.Residual.1.ReLU" for the second layer inside the fourth.
    """
    for index, layer in enumerate(chain.layers):
        name = f"{prefix}{index}.{type(layer).__name__}"
        if isinstance(layer, Sequence):
            yield from named_layers(layer, f"{name}.")
        yield name, layer


def watched(chain: Sequence, watcher: Watcher) -> Sequence:
    """The same chain with panes before its layers, nothing fused; layers are numbered in the order of `places`."""
    return _mirror(chain, watcher, 0)[0]


def _mirror(chain: Sequence, watcher: Watcher, number: int) -> tuple[Sequence, int]:
    panes = []
    for layer in chain.layers:
        inner = layer
        if isinstance(layer, Sequence):
            inner, number = _mirror(layer, watcher, number)
        panes.append(_Pane(inner, number, watcher))
        number += 1
    mirror: Sequence = object.__new__(type(chain))
    nodes = Nodes((f"{k} {layer.label}", pane) for k, (layer, pane) in enumerate(zip(chain.layers, panes, strict=True)))
    vars(mirror).update({**vars(chain), "layers": tuple(panes), "fused": nodes})
    return mirror, number
