"""The base class of layers: a stateless map with a backward pass and a forward-mode product.

LAYERS lists them by class name; model files and the generic tests use this table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ...errors import HyperparameterError, ShapeError
from ..engine.frozen import Frozen
from ..engine.parameter import Parameter
from ..engine.tape import Tape

Array = Any

Image = tuple[int, int, int]
"""(height, width, channels) of rows that are images with channels last."""

LAYERS: dict[str, type[Layer]] = {}


class Layer(Frozen, frozen=False):
    """A layer: maps x [B, d] to y [B, e].

    A subclass sets its hyperparameters in `__init__`, names them in `setting_names`, and defines forward, backward, jvp.
    """

    setting_names: ClassVar[tuple[str, ...]] = ()
    """The arguments of `__init__` that are attributes of the same name; the default of `settings`."""
    keeps_image = False
    """Whether output rows are images of the same size as input rows, as in elementwise layers."""

    _instead = "make a new layer and a new model of it, and bring the parameters over with load_parameters"

    def __init_subclass__(cls, public: bool = True, frozen: bool | None = None) -> None:
        super().__init_subclass__(frozen)
        if public and not cls.__name__.startswith("_"):
            _register(cls)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that recreate this layer, as plain values."""
        return {name: getattr(self, name) for name in self.setting_names}

    @property
    def coded_columns(self) -> Mapping[int, int]:
        """Input columns that hold codes, and the number of codes of each. Only a first layer may have some: x is then never
        rounded to 16 bits, and has no derivative there.
        """
        return {}

    @property
    def label(self) -> str:
        """Name in profiles."""
        return type(self).__name__

    def declared(self) -> Iterator[tuple[str, Parameter]]:
        """(name, declaration) of each parameter, in a fixed order; several layers may declare a shared one.

        By default the attributes that are Parameters, in the order in which they were set.
        """
        yield from ((name, value) for name, value in vars(self).items() if isinstance(value, Parameter))

    def output_width(self, width: int) -> int:
        """The number of output columns for `width` input columns; raises ShapeError if they do not fit."""
        return width

    def image_after(self, image: Image | None) -> Image | None:
        """The image shape of the output rows for that of the input rows; None for plain columns.

        Models call it for each layer when they are created; a layer that needs its image shape stores it here.
        """
        return image if self.keeps_image else None

    def forward(self, x: Array, tape: Tape) -> Array:
        """y [B, e] for x [B, d]; pushes what backward needs onto the tape."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Returns dx for dy, and writes the gradients of the parameters to the tape; dx may be None if it is not needed."""
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """(y, dy): the output and its directional derivative along (dx, the tape's tangents); dx None means 0.

        Leaves the tape as forward does.
        """
        raise NotImplementedError(f"{type(self).__name__} must define jvp")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


def _register(cls: type[Layer]) -> None:
    """Enters a class in LAYERS. A class can be defined again in the same place, but cannot replace any other one."""
    known = LAYERS.get(cls.__name__, cls)
    if (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__):
        LAYERS[cls.__name__] = cls
    elif not known.__module__.startswith(f"{__package__}."):
        raise HyperparameterError(
            f"expected one layer class with the name {cls.__name__!r}; got {cls.__module__}.{cls.__qualname__} and "
            f"{known.__module__}.{known.__qualname__}; rename one of them, or write class {cls.__name__}(…, public=False) "
            "if it is never saved"
        )


def require_width(layer: Layer, expected: int, width: int) -> None:
    """Raises a ShapeError that names the layer unless the widths agree."""
    if width != expected:
        raise ShapeError(
            f"{layer!r} expected {expected} input columns; got {width}; change the width of this layer or of the one before it"
        )


def zeros(tape: Tape, shape: tuple[int, ...]) -> Array:
    """A buffer of zeros."""
    out = tape.empty(shape)
    tape.backend.fill(out, 0.0)
    return out
