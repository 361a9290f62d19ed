"""Layer normalisation."""

from __future__ import annotations

from typing import Any

from ...kernels.formulas.elementwise import add, scale_columns
from ..engine.initializers import initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import epsilon_above_zero, whole
from .base import Array, Layer, require_width, zeros


class LayerNorm(Layer):
    """y = (x - mean) / sqrt(variance + epsilon) gain + offset, mean and (biased) variance over the columns of a row.

    Args: features – number of columns; epsilon – default 1e-5; groups – of that many columns side by side, each with a mean and
        a variance of its own, and all with the same gain and offset: the members of an ensemble; default 1.
    Parameters: gain [features], starts at 1; offset [features], starts at 0; neither has weight decay.
    Source: Ba, Kiros and Hinton (2016).
    """

    keeps_image = True
    groups = 1  # of pickles of 0.1.0

    def __init__(self, features: int, epsilon: float = 1e-5, groups: int = 1) -> None:
        self.features = whole(features, "features of LayerNorm")
        self.epsilon = epsilon_above_zero(epsilon, "epsilon of LayerNorm")
        self.groups = whole(groups, "groups of LayerNorm")
        self.gain = Parameter("gain", (self.features,), initializer(1.0), 1, 1, decays=False)
        self.offset = Parameter("offset", (self.features,), initializer(0.0), 1, 1, decays=False)

    @property
    def inputs(self) -> int:
        """Number of columns, those of all groups."""
        return self.groups * self.features

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        return {"features": self.features, "epsilon": self.epsilon, **({} if self.groups == 1 else {"groups": self.groups})}

    def output_width(self, width: int) -> int:
        """`features` times `groups`."""
        require_width(self, self.inputs, width)
        return width

    def _rows(self, x: Array, tape: Tape) -> Array:
        """x with a row for each group."""
        return x if self.groups == 1 else tape.backend.xp.reshape(x, (-1, self.features))

    def forward(self, x: Array, tape: Tape) -> Array:
        """The normalised rows; saves x, mean and 1 / deviation."""
        y, rows = tape.empty(x.shape), x.shape[0] * self.groups
        mean, scale = tape.empty((rows,)), tape.empty((rows,))
        gain, offset = tape.parameter(self.gain), tape.parameter(self.offset)
        tape.backend.rows("layer_norm", self._rows(x, tape), gain, offset, self.epsilon, self._rows(y, tape), mean, scale)
        tape.push(x, mean, scale)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """Writes the gradients of gain and offset to the tape; returns dx."""
        x, mean, scale = tape.pop()
        dx = tape.empty(x.shape)
        (dgain, again), (doffset, _) = tape.gradient(self.gain), tape.gradient(self.offset)
        given = self._rows(dy, tape), self._rows(x, tape), tape.parameter(self.gain), mean, scale
        tape.backend.rows("layer_norm_backward", *given, self._rows(dx, tape), dgain, doffset, again)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = dn gain + n d gain + d offset, with dn = scale (dx - mean(dx) - n mean(dx n))."""
        y = self.forward(x, tape)
        backend = tape.backend
        _, mean, scale = tape.top()
        no_offset = zeros(tape, (self.features,))
        dy = zeros(tape, x.shape)
        x, moving = self._rows(x, tape), self._rows(dy, tape)
        if dx is not None:
            # The Jacobian of the normalisation is symmetric, so its product is the backward pass with gain 1.
            one = zeros(tape, (self.features,))
            backend.fill(one, 1.0)
            spare = zeros(tape, (2, self.features))
            given = self._rows(dx, tape), x, one, mean, scale
            backend.rows("layer_norm_backward", *given, moving, spare[0, ...], spare[1, ...])
            backend.map(scale_columns, moving, moving, tape.parameter(self.gain), no_offset)
        dgain, doffset = tape.tangent(self.gain), tape.tangent(self.offset)
        if dgain is not None and doffset is not None:
            moved = tape.empty(x.shape)
            unused = tape.empty((2, x.shape[0]))
            backend.rows("layer_norm", x, dgain, doffset, self.epsilon, moved, unused[0, ...], unused[1, ...])
            backend.map(add, moving, moving, moved)
        return y, dy
