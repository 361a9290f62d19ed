"""The loss that a step returns: a number; only reading it waits for the device."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from ...errors import NonFiniteLossError

BROKEN_GRADIENT = "a gradient with NaN or infinity"


def _of_floats(function: Callable[[float, float], Any], swapped: bool = False) -> Callable[[Any, Any], Any]:
    """A binary operator of StepLoss, applied to floats; swapped – the StepLoss is its right operand."""

    def method(self: Any, other: Any) -> Any:
        a, b = float(self), float(other)
        return function(b, a) if swapped else function(a, b)

    return method


class StepLoss:
    """The loss of one step: a scalar that stays on the device until it is read, for example by `float(loss)`.

    It supports comparison, arithmetic and printing like a number; each of these waits for the device. `item()` equals
    `float(loss)`. Arithmetic returns a float, and a pickle contains only the number.

    Raises: NonFiniteLossError when it is read, if the loss or the gradient was NaN or infinite (on a GPU, where such a step
        changes nothing; on a CPU the step itself raises).
    """

    __slots__ = ("_error", "_factor", "_item", "_squares", "_total", "_value")

    def __init__(
        self, total: Any, squares: Any, factor: float, item: Callable[[Any], float],
        error: Callable[[str], NonFiniteLossError], value: float | None = None,
    ) -> None:  # fmt: skip
        self._total = total
        self._squares = squares
        self._factor = factor
        self._item = item
        self._error = error
        self._value = value  # None while it is on the device

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _known, (float(self),)
        except NonFiniteLossError:
            return _known, (math.nan,)  # reading the copy raises the error again

    def __float__(self) -> float:
        if self._value is None:
            value = self._item(self._total) * self._factor
            if not math.isfinite(value):
                raise self._error(f"a loss of {value}")
            if not math.isfinite(self._item(self._squares)):
                raise self._error(BROKEN_GRADIENT)
            self._value = value
        return self._value

    def __eq__(self, other: object) -> bool:
        return float(self) == float(other) if isinstance(other, StepLoss | Real) else NotImplemented

    def __hash__(self) -> int:
        return hash(float(self))

    __lt__, __le__ = _of_floats(operator.lt), _of_floats(operator.le)
    __gt__, __ge__ = _of_floats(operator.gt), _of_floats(operator.ge)
    __add__ = __radd__ = _of_floats(operator.add)
    __mul__ = __rmul__ = _of_floats(operator.mul)
    __sub__, __rsub__ = _of_floats(operator.sub), _of_floats(operator.sub, swapped=True)
    __truediv__ = _of_floats(operator.truediv)

    def __round__(self, digits: int | None = None) -> float:
        return round(float(self), digits)

    def item(self) -> float:
        """The loss as a float."""
        return float(self)

    def __repr__(self) -> str:
        return f"{float(self):.6g}"

    def __format__(self, specification: str) -> str:
        return format(float(self), specification)


def _known(value: float) -> StepLoss:
    """A StepLoss with a known value, for pickles."""
    return StepLoss(value, 0.0, 1.0, float, lambda what: NonFiniteLossError(f"expected a finite loss; got {what}, in a copy"))
