"""Observes the layers of a network: a copy of its chain, with the same layers, that calls a function for each of them.

The network itself, and the step that trains it, are not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ...backends import Array
from ..engine.tape import Tape
from ..layers import Layer
from ..layers.fused import Nodes
from ..layers.sequence import Sequence


class Watcher(Protocol):
    """Is called with the output of every layer and the gradient of the loss with respect to it; must not change them."""

    def forward(self, place: int, y: Array) -> None:
        """Receives the output y [B, e] of layer number `place`."""

    def backward(self, place: int, dy: Array) -> None:
        """Receives the gradient dy [B, e] with respect to that output."""


class _Pane(Layer, public=False):
    """A layer together with a Watcher of its output and of the gradient with respect to it."""

    def __init__(self, layer: Layer, place: int, watcher: Watcher) -> None:
        self.layer = layer
        self.place = place
        self.watcher = watcher

    def forward(self, x: Array, tape: Tape) -> Array:
        """See Layer; calls the Watcher."""
        y = self.layer.forward(x, tape)
        self.watcher.forward(self.place, y)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """See Layer; calls the Watcher."""
        self.watcher.backward(self.place, dy)
        return self.layer.backward(dy, tape, needs_input)


def named_layers(chain: Sequence, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """(name, layer) of every layer, including nested ones, in the order in which their outputs are computed.

    Names are as in parameters: "2.ReLU", and "3.Residual.1.ReLU" for the second layer inside the fourth.
    """
    for index, layer in enumerate(chain.layers):
        name = f"{prefix}{index}.{type(layer).__name__}"
        if isinstance(layer, Sequence):
            yield from named_layers(layer, f"{name}.")
        yield name, layer


def watched(chain: Sequence, watcher: Watcher) -> Sequence:
    """A copy of a chain whose layers call the Watcher, without fusion; layers are numbered as by `named_layers`."""
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
