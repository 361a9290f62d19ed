"""The table of precisions, and the loss scale of float16.

In all precisions, master weights, their gradients and the losses are in float32 (float64 for "float64").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...backends import Backend, having
from ...errors import DtypeError
from ...kernels.formulas.precision import adapt_loss_scale, times

Array = Any

FIRST_SCALE = 65536.0
GOOD_STEPS = 2000
"""Steps without overflow after which the loss scale is doubled; both numbers are those of the paper and of PyTorch."""


@dataclass(frozen=True)
class Precision:
    """One way to compute a step.

    Attributes: name; master – type of the parameters; stored – type of activations and of the weights that products read;
        scaled – whether the loss is scaled, so that gradients do not vanish in it.
    """

    name: str
    master: str = "float32"
    stored: str = "float32"
    scaled: bool = False

    @property
    def narrow(self) -> bool:
        """Whether what is stored is not what the parameters are kept in."""
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
"""By the name that TrainStep takes."""


def precision_of(name: str, backend: Backend) -> Precision:
    """The row of PRECISIONS; raises DtypeError where the backend does not have it, and names those that do."""
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
    """Dynamic loss scaling for float16; its values are on the backend and are not read by the host.

    The gradient of the loss is multiplied by `scale` before it is rounded to float16, and the update divides by it. Where
    the gradient of a step is not finite, the update does nothing and the scale is halved (to no less than 1); after
    GOOD_STEPS good ones in a row it is doubled (to no more than 2^24).

    Attributes: scale, good – float32 [1]: the scale, and how many steps in a row were good; verdict – float32 [1]: NaN or
        infinity where the last gradient was not finite although the scale could not get smaller, else finite.
    Source: Micikevicius et al. (2018), section 3.2; the constants of torch.amp.GradScaler.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.scale = backend.asarray([FIRST_SCALE], "float32")
        self.good, self.verdict, self._inverse, self._squares = (backend.zeros((1,)) for _ in range(4))

    @property
    def numbers(self) -> tuple[float, float]:
        """(scale, good steps in a row); waits for the device. May be set."""
        scale, good = (self._backend.to_numpy(a) for a in (self.scale, self.good))
        return float(scale[0]), float(good[0])

    @numbers.setter
    def numbers(self, values: tuple[float, float]) -> None:
        for array, value in zip((self.scale, self.good), values, strict=True):
            self._backend.fill(array, value)

    def take_verdict(self) -> Any:
        """The verdict on the last step, a scalar of the backend that the next step does not change."""
        return self.verdict[0] + 0.0

    def judge(self, squares: Any, scales: Array) -> Array:
        """Prepares the update of one step, and adapts the scale for the next one.

        Args: squares – the sum of the squares of the scaled gradient; scales – what gradients are multiplied by, [groups],
            which is divided by the scale.
        Returns: the sum of the squares of the gradient itself, an array [1].
        """
        backend, xp = self._backend, self._backend.xp
        given = xp.reshape(xp.asarray(squares, dtype=xp.float32), (1,))
        outputs = (self._squares, self._inverse, self.verdict, self.scale, self.good)
        backend.map(adapt_loss_scale, outputs, given, self.scale, self.good, float(GOOD_STEPS))
        column = xp.reshape(scales, (-1, 1))
        backend.map(times, column, column, self._inverse)
        return self._squares
