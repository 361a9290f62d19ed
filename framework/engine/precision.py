"""The table of precisions, and the loss scale of float16.

In all precisions, master weights, their gradients and the losses are in float32 (float64 for "float64").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...backends import Array, Backend, having
from ...errors import DtypeError
from ...kernels.formulas.precision import LARGEST, adapt_loss_scale, times

FIRST_SCALE = 65536.0
GOOD_STEPS = 2000
"""Number of steps without overflow after which the loss scale is doubled; both constants as in the paper and in PyTorch."""


@dataclass(frozen=True)
class Precision:
    """The types in which a step is computed.

    Attributes: name; master – type of the parameters; stored – type of activations and of the weights that products read;
        scaled – whether the loss is scaled, so that small gradients do not underflow.
    """

    name: str
    master: str = "float32"
    stored: str = "float32"
    scaled: bool = False

    @property
    def narrow(self) -> bool:
        """Whether activations have another type than the parameters."""
        return self.stored != self.master


PRECISIONS = {
    p.name: p
    for p in (
        Precision("float32"),
        Precision("float64", "float64", "float64"),
        Precision("tf32"),
        Precision("bfloat16", stored="bfloat16"),
        Precision("float16", stored="float16", scaled=True),
    )
}
"""Name, as passed to TrainStep -> precision."""


def precision_of(name: str, backend: Backend) -> Precision:
    """The entry of PRECISIONS; raises DtypeError if the backend does not support it, and lists backends that do."""
    if name in PRECISIONS and name in backend.precisions:
        return PRECISIONS[name]
    if name not in PRECISIONS:
        raise DtypeError(f"expected a precision out of {', '.join(PRECISIONS)}; got {name!r}")
    others = having(name, backend.device)
    raise DtypeError(
        f"expected a precision that backend {backend.name!r} has ({', '.join(backend.precisions)}); got {name!r}, which "
        f'{" and ".join(others)} can do; write backend="{others[0]}", or choose another precision'
    )


class LossScale:
    """Dynamic loss scaling for float16; its values stay on the backend, so that the host does not wait for them.

    The gradient of the loss is multiplied by `scale` before it is rounded to float16, and the update divides by it. If the
    gradient of a step is not finite, the update changes nothing and the scale is halved (to no less than 1); after GOOD_STEPS
    good steps in a row it is doubled (to no more than 2^24).

    Attributes: scale, good – float32 [1]: the scale, and the number of good steps in a row; verdict – float32 [1]: NaN or
        infinity if the last gradient was not finite at the smallest scale, otherwise finite.
    Source: Micikevicius et al. (2018), section 3.2; the constants of torch.amp.GradScaler.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.scale = backend.asarray([FIRST_SCALE], "float32")
        self.good, self.verdict, self._inverse, self._squares = (backend.zeros((1,)) for _ in range(4))

    @property
    def numbers(self) -> tuple[float, float]:
        """(scale, number of good steps in a row), which may be set; reading waits for the device."""
        scale, good = (self._backend.to_numpy(a) for a in (self.scale, self.good))
        return float(scale[0]), float(good[0])

    @numbers.setter
    def numbers(self, values: tuple[float, float]) -> None:
        for array, value in zip((self.scale, self.good), values, strict=True):
            self._backend.fill(array, value)

    def take_verdict(self, most: float) -> Any:
        """A copy of the verdict on the last step, as a scalar of the backend.

        Args: most – the largest sum of squares that is applied; a finite one above it is the verdict itself.
        """
        squares = self._squares[0]
        too_large = (squares > min(most, LARGEST)) & (squares <= LARGEST)
        return self._backend.xp.where(too_large, squares, self.verdict[0])

    def judge(self, squares: Any, scales: Array) -> Array:
        """Prepares the update of one step, and adapts the scale for the next one.

        Args: squares – sum of squares of the scaled gradient; scales – [groups], the factors of the gradient in the update;
            divided by the loss scale in place.
        Returns: the sum of squares of the unscaled gradient, an array [1].
        """
        backend, xp = self._backend, self._backend.xp
        given = xp.reshape(xp.asarray(squares, dtype=xp.float32), (1,))
        outputs = (self._squares, self._inverse, self.verdict, self.scale, self.good)
        backend.map(adapt_loss_scale, outputs, given, self.scale, self.good, float(GOOD_STEPS))
        column = xp.reshape(scales, (-1, 1))
        backend.map(times, column, column, self._inverse)
        return self._squares
