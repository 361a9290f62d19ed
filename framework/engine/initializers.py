"""Initial values of parameters.

They are generated on the host by the `numpy` backend, so that training starts from the same bits on every backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

from ...backends import Backend, Random
from ...errors import HyperparameterError
from ...kernels.formulas.random import normal, uniform
from ..settings import finite, not_negative
from ..suggestions import suggests_arguments


class Initializer:
    """A distribution of initial values, given the number of inputs and outputs of a unit."""

    def fill(self, host: Backend, shape: tuple[int, int], fan_in: int, fan_out: int, random: Random) -> Any:
        """A float64 matrix of that shape on the host backend."""
        raise NotImplementedError(f"{type(self).__name__} must define fill")

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"


@suggests_arguments
class Constant(Initializer):
    """Every element is `value`; for biases: 0 is usual, and 0.01 keeps ReLU units active at the start.

    Source: notes 002.
    """

    def __init__(self, value: float) -> None:
        self.value = finite(value, "the value of an initializer")

    def fill(self, host: Backend, shape: tuple[int, int], fan_in: int, fan_out: int, random: Random) -> Any:  # noqa: ARG002
        """See Initializer."""
        out = host.zeros(shape, "float64")
        out[...] = self.value
        return out


class Zeros(Constant):
    """Every element is 0. With zero weights the symmetry between units is never broken (notes 000, 002)."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def __repr__(self) -> str:
        return "Zeros()"


class _Scaled(Initializer):
    """Random numbers whose scale is sqrt(numerator / fan), where fan is fan_in, or fan_in + fan_out if `both`."""

    numerator: ClassVar[float]
    both: ClassVar[bool] = False

    def scale(self, fan_in: int, fan_out: int) -> float:
        """The standard deviation of a normal distribution, or the limit of a uniform one."""
        return math.sqrt(self.numerator / (fan_in + fan_out if self.both else fan_in))


class _Gaussian(_Scaled):
    """Normal with mean 0 and standard deviation `scale`."""

    def fill(self, host: Backend, shape: tuple[int, int], fan_in: int, fan_out: int, random: Random) -> Any:
        """See Initializer."""
        out = host.empty(shape, "float64")
        host.map(normal, out, 0.0, self.scale(fan_in, fan_out), random=random)
        return out


@suggests_arguments
class Normal(_Gaussian):
    """N(0, deviation^2), independent of fan-in and fan-out: for experiments with small and large initial weights."""

    def __init__(self, deviation: float) -> None:
        self.standard_deviation = not_negative(deviation, "deviation of Normal", "pass a standard deviation >= 0")

    def scale(self, fan_in: int, fan_out: int) -> float:  # noqa: ARG002
        """The given standard deviation."""
        return self.standard_deviation

    def __repr__(self) -> str:
        return f"Normal({self.standard_deviation!r})"


class LeCunNormal(_Gaussian):
    """N(0, 1 / fan_in): the unit Gaussian divided by sqrt(n) of notes 002. Source: LeCun et al. (1998), section 4.6."""

    numerator = 1.0


class HeNormal(_Gaussian):
    """N(0, 2 / fan_in), which keeps the variance through ReLU layers. Source: He et al. (2015), equation 10."""

    numerator = 2.0


class GlorotNormal(_Gaussian):
    """N(0, 2 / (fan_in + fan_out)), "Xavier". Source: Glorot and Bengio (2010), equation 12."""

    numerator, both = 2.0, True


class _Uniform(_Scaled):
    """Uniform in [-scale, scale)."""

    def fill(self, host: Backend, shape: tuple[int, int], fan_in: int, fan_out: int, random: Random) -> Any:
        """See Initializer."""
        limit = self.scale(fan_in, fan_out)
        out = host.empty(shape, "float64")
        host.map(uniform, out, -limit, limit, random=random)
        return out


class GlorotUniform(_Uniform):
    """Uniform with limit sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio (2010), equation 16."""

    numerator, both = 6.0, True


class HeUniform(_Uniform):
    """Uniform with limit sqrt(6 / fan_in), of the same variance as HeNormal. Source: He et al. (2015)."""

    numerator = 6.0


INITIALIZERS: dict[str, Callable[[], Initializer]] = {
    "zeros": Zeros,
    "lecun_normal": LeCunNormal,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
}


def initializer(given: str | float | Initializer) -> Initializer:
    """An initializer from its name, from a constant, or unchanged."""
    if isinstance(given, Initializer):
        return given
    if isinstance(given, str) and given in INITIALIZERS:
        return INITIALIZERS[given]()
    if isinstance(given, Real) and not isinstance(given, bool):
        return Constant(float(given))
    raise HyperparameterError(
        f"expected one of the initializers {', '.join(INITIALIZERS)}, or a number; got {given!r}; "
        "pass one of those names, a constant, or an Initializer"
    )
