"""A sequence of layers; the base class of models and Residual.

Adjacent layers that a single kernel can compute are fused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import HyperparameterError, ShapeError
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from .base import Array, Image, Layer
from .fused import fuse


class Sequence(Layer, public=False):
    """Layers applied in sequence.

    Args: layers – at least one.
    Attributes: layers – a tuple, for good: parameters, fused neighbours and recorded steps belong to these very layers.
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
        """The settings; what is fused is made again."""
        return {name: value for name, value in vars(self).items() if name != "fused"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "fused": fuse(state["layers"])})

    def declared(self) -> Iterator[tuple[str, Parameter]]:
        """Those of all layers, named "<index>.<Layer>.<name>"; a shared one only where it comes first."""
        seen: set[Parameter] = set()
        for index, layer in enumerate(self.layers):
            for name, parameter in layer.declared():
                if parameter not in seen:
                    seen.add(parameter)
                    yield f"{index}.{type(layer).__name__}.{name}", parameter

    def walk(self) -> Iterator[Layer]:
        """This chain, its layers, and those inside them."""
        yield self
        for layer in self.layers:
            yield from layer.walk() if isinstance(layer, Sequence) else (layer,)

    def image_after(self, image: Image | None) -> Image | None:
        """Through all layers."""
        for index, layer in enumerate(self.layers):
            try:
                image = layer.image_after(image)
            except ShapeError as error:
                raise ShapeError(f"layer {index}: {error}") from None
        return image

    def output_width(self, width: int) -> int:
        """Through all layers."""
        for layer in self.layers:
            width = layer.output_width(width)
        return width

    def forward(self, x: Array, tape: Tape) -> Array:
        """Through all layers, neighbours fused."""
        return self.fused.forward(x, tape)

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Back through all layers; stops before the input's gradient where it is not needed."""
        return self.fused.backward(dy, tape, needs_input)

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """Through all layers, one by one; `backward_unfused` goes back on the tape that this leaves."""
        direction: Any = dx
        for layer in self.layers:
            x, direction = layer.jvp(x, direction, tape)
        return x, direction

    def backward_unfused(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """As `backward`, for a tape that `jvp` left."""
        gradient: Any = dy
        for position in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[position]
            back = layer.backward_unfused if isinstance(layer, Sequence) else layer.backward
            gradient = back(gradient, tape, needs_input or position > 0)
        return gradient

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"
