"""Elementwise activation layers; the formulas themselves are in kernels/formulas/activations.py.

A layer saves its output, or its input if the derivative is not a function of the output.
"""

from __future__ import annotations

from typing import Any

from ...kernels.formulas.activations import ACTIVATIONS, Activation, prelu, prelu_backward, prelu_tangent
from ..engine.initializers import initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import choice, finite, positive, real, whole
from .base import Array, Layer, require_width, zeros

ACTIVATION_LAYERS: dict[str, type[HiddenActivation]] = {}
"""Activations for hidden layers, by their name in `mlp`, searches and commands."""


class HiddenActivation(Layer, public=False):
    """An activation for hidden layers; a class with a `short_name` is registered in ACTIVATION_LAYERS."""

    short_name = ""
    """Name in `mlp` and commands."""
    weight_init = "he_normal"
    """Initialisation, in `mlp`, of the weights before this activation."""
    keeps_image = True

    def __init_subclass__(cls, public: bool = True, frozen: bool | None = None) -> None:
        super().__init_subclass__(public, frozen)
        if "short_name" in vars(cls):
            ACTIVATION_LAYERS[cls.short_name] = cls

    @classmethod
    def of_width(cls, width: int) -> Layer:  # noqa: ARG003
        """A layer with default settings, for that many columns."""
        return cls()


class _Elementwise(HiddenActivation):
    """y = value(x, *scalars), with the formulas of an entry of ACTIVATIONS."""

    @property
    def activation(self) -> Activation:
        """The entry of ACTIVATIONS."""
        return ACTIVATIONS[self.short_name]

    @property
    def scalars(self) -> tuple[float, ...]:
        """The arguments of the formula after x: the attributes that the entry of ACTIVATIONS names."""
        return tuple(getattr(self, name) for name in self.activation.settings)

    def forward(self, x: Array, tape: Tape) -> Array:
        """y, in a new buffer."""
        y = tape.empty(x.shape)
        tape.backend.map(self.activation.forward, y, x, *self.scalars)
        tape.push(y if self.activation.keeps == "output" else x)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dx = dy times the derivative."""
        (saved,) = tape.pop()
        dx = tape.empty(dy.shape)
        tape.backend.map(self.activation.backward, dx, dy, saved, *self.scalars)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = dx times the derivative."""
        y = self.forward(x, tape)
        if dx is None:
            return y, zeros(tape, y.shape)
        (saved,) = tape.top()
        dy = tape.empty(y.shape)
        tape.backend.map(self.activation.backward, dy, dx, saved, *self.scalars)
        return y, dy


class Identity(_Elementwise):
    """y = x."""

    short_name = "identity"


class ReLU(_Elementwise):
    """y = max(0, x); the subgradient at 0 is 0. Source: Nair and Hinton (2010); notes 000, 002."""

    short_name = "relu"


class Sigmoid(_Elementwise):
    """y = 1 / (1 + e^-x). Source: notes 000, 002, 003."""

    short_name = "sigmoid"
    weight_init = "glorot_uniform"


class Tanh(_Elementwise):
    """y = tanh x. Source: notes 002."""

    short_name = "tanh"
    weight_init = "glorot_uniform"


class SiLU(_Elementwise):
    """y = x sigmoid(x), also called swish. Source: Elfwing, Uchibe and Doya (2018)."""

    short_name = "silu"


class Mish(_Elementwise):
    """y = x tanh(softplus(x)), softplus(x) = log(1 + e^x). Source: Misra (2019)."""

    short_name = "mish"


class LeakyReLU(_Elementwise):
    """y = x where x > 0, else slope x.

    Args: slope – 0 < slope < 1, default 0.01 as in the notes.
    Source: Maas, Hannun and Ng (2013); notes 002, which writes max(0.01 x, x).
    """

    short_name = "leaky_relu"
    setting_names = ("slope",)

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = real(slope, "slope of LeakyReLU", 0.0, 1.0, "()", "pass a slope such as 0.01; for slope 0 use ReLU")


class ELU(_Elementwise):
    """y = x where x > 0, else a (e^x - 1).

    Args: a – > 0, default 1.
    Differs from: notes 002, whose slide prints a e^x - 1 (not continuous at 0 unless a = 1).
    Source: Clevert, Unterthiner and Hochreiter (2016).
    """

    short_name = "elu"
    setting_names = ("a",)

    def __init__(self, a: float = 1.0) -> None:
        self.a = positive(a, "a of ELU", "pass a > 0, such as 1.0; for a = 0 use ReLU")


class GELU(_Elementwise):
    """y = x Phi(x), Phi the normal distribution function.

    Args: approximate – "none" (default) for the exact form, "tanh" for the tanh approximation of the paper.
    Source: Hendrycks and Gimpel (2016).
    """

    short_name = "gelu"
    setting_names = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = choice(approximate, "approximate of GELU", ("none", "tanh"))

    @property
    def activation(self) -> Activation:
        """The exact form or the approximation."""
        return ACTIVATIONS["gelu" if self.approximate == "none" else "gelu_tanh"]


class PReLU(HiddenActivation):
    """y = x where x > 0, else alpha x, with one learned alpha per column.

    Args: features – number of columns; alpha – initial value, default 0.25.
    Parameters: alpha [features].
    Differs from: torch.nn.PReLU, whose default is one alpha for all columns.
    Source: He et al. (2015); notes 002.
    """

    short_name = "prelu"

    def __init__(self, features: int, alpha: float = 0.25) -> None:
        self.features = whole(features, "features of PReLU")
        self.start = finite(alpha, "alpha of PReLU")
        self.alpha = Parameter("alpha", (self.features,), initializer(self.start), 1, 1, decays=False)

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        return {"features": self.features, "alpha": self.start}

    @classmethod
    def of_width(cls, width: int) -> Layer:
        """One alpha for each of that many columns."""
        return cls(width)

    def output_width(self, width: int) -> int:
        """`features`."""
        require_width(self, self.features, width)
        return width

    def forward(self, x: Array, tape: Tape) -> Array:
        """y, in a new buffer."""
        y = tape.empty(x.shape)
        tape.backend.map(prelu, y, x, tape.parameter(self.alpha))
        tape.push(x)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dx = dy where x > 0, else alpha dy; d alpha = sum over rows of dy min(x, 0)."""
        (x,) = tape.pop()
        dx, summed = tape.empty(x.shape), tape.empty(x.shape)
        tape.backend.map(prelu_backward, (dx, summed), dy, x, tape.parameter(self.alpha))
        tape.sum_rows(summed, self.alpha)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = dx (1 or alpha) + min(x, 0) d alpha."""
        y = self.forward(x, tape)
        direction = tape.tangent(self.alpha)
        dx = zeros(tape, x.shape) if dx is None else dx
        direction = zeros(tape, (self.features,)) if direction is None else direction
        dy = tape.empty(y.shape)
        tape.backend.map(prelu_tangent, dy, dx, x, tape.parameter(self.alpha), direction)
        return y, dy
