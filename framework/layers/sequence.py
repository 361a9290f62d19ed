"""A sequence of layers; the base class of models and Residual.

Which adjacent layers are fused is decided in fused.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import HyperparameterError, ShapeError
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from .base import Array, Image, Layer
from .fused import fuse


class Sequence(Layer, public=False):
    """Layers applied in sequence.

    Args: layers – at least one.
    Attributes: layers – a tuple that cannot be changed, because parameters and captured steps belong to these layers; fused –
        the Nodes that are run.
    """

    _instead = "make a new one of other layers, and bring the parameters over with load_parameters"

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                name = type(self).__name__
                hint = f"write {name}(*layers)" if isinstance(layer, list | tuple) else "did you forget ()?"
                raise HyperparameterError(f"{name}: expected layers, one argument each; got {layer!r}; {hint}")
        if not layers:
            raise HyperparameterError(f"{type(self).__name__}: expected at least one layer; got none")
        self.layers = tuple(layers)
        self.image_after(None)
        self.fused = fuse(self.layers)

    def __getstate__(self) -> dict[str, Any]:
        """Without `fused`, which is created again."""
        return {name: value for name, value in vars(self).items() if name != "fused"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "fused": fuse(state["layers"])})

    def declared(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters of all layers, named "<index>.<Layer>.<name>"; a shared one only at its first occurrence."""
        seen: set[Parameter] = set()
        for index, layer in enumerate(self.layers):
            for name, parameter in layer.declared():
                if parameter not in seen:
                    seen.add(parameter)
                    yield f"{index}.{type(layer).__name__}.{name}", parameter

    @property
    def coded_columns(self) -> Mapping[int, int]:
        """Those of the first layer."""
        return self.layers[0].coded_columns

    def walk(self) -> Iterator[Layer]:
        """This sequence, its layers, and the layers inside them."""
        yield self
        for layer in self.layers:
            yield from layer.walk() if isinstance(layer, Sequence) else (layer,)

    def image_after(self, image: Image | None) -> Image | None:
        """The image shape after all layers; see Layer."""
        for index, layer in enumerate(self.layers):
            try:
                image = layer.image_after(image)
            except ShapeError as error:
                raise ShapeError(f"layer {index}: {error}") from None
        return image

    def output_width(self, width: int) -> int:
        """The width after all layers; see Layer."""
        for layer in self.layers:
            width = layer.output_width(width)
        return width

    def forward(self, x: Array, tape: Tape) -> Array:
        """The output of the last layer; adjacent layers are fused."""
        return self.fused.forward(x, tape)

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """See Layer."""
        return self.fused.backward(dy, tape, needs_input)

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """See Layer; layers are not fused, so the backward pass on this tape is `backward_unfused`."""
        direction: Any = dx
        for layer in self.layers:
            x, direction = layer.jvp(x, direction, tape)
        return x, direction

    def backward_unfused(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """As `backward`, on a tape as `jvp` leaves it."""
        gradient: Any = dy
        for position in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[position]
            back = layer.backward_unfused if isinstance(layer, Sequence) else layer.backward
            gradient = back(gradient, tape, needs_input or position > 0)
        return gradient

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"
