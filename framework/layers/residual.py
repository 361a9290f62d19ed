"""Skip connections."""

from __future__ import annotations

from ...errors import ShapeError
from ...kernels.formulas.elementwise import add
from ..engine.tape import Tape
from .base import Array
from .sequence import Sequence


class Residual(Sequence):
    """y = x + f(x), where f applies the inner layers in sequence; their output must be as wide as x.

    Source: He et al. (2016); notes 002.
    """

    def output_width(self, width: int) -> int:
        """The width of x."""
        inner = super().output_width(width)
        if inner != width:
            raise ShapeError(
                f"{self!r} expected its inner layers to have {width} output columns, as many as input columns; got {inner}; "
                "change the width of the last inner layer"
            )
        return width

    def _plus(self, a: Array, b: Array, tape: Tape) -> Array:
        out = tape.empty(a.shape)
        tape.backend.map(add, out, a, b)
        return out

    def forward(self, x: Array, tape: Tape) -> Array:
        """x + f(x)."""
        return self._plus(x, super().forward(x, tape), tape)

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """dx = dy + the gradient through f."""
        inner = super().backward(dy, tape, needs_input)
        return self._plus(dy, inner, tape) if needs_input else None

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = dx + the directional derivative of f."""
        y, dy = super().jvp(x, dx, tape)
        return self._plus(x, y, tape), dy if dx is None else self._plus(dx, dy, tape)

    def backward_unfused(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """As `backward`, on a tape as `jvp` leaves it."""
        inner = super().backward_unfused(dy, tape, needs_input)
        return self._plus(dy, inner, tape) if needs_input else None
