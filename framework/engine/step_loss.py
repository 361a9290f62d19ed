"""The loss that a step returns: a number; only reading it waits for the device."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

from ...errors import NonFiniteLossError
from ..suggestions import SuggestsAttributes

BROKEN_GRADIENT = "a gradient with NaN or infinity"
OVERFLOW = "an update that"
"""How the text about an update begins that is not finite, or not known to be, although loss and gradient are."""


def broken(loss: float, squares: float, most: float) -> str:
    """What is not finite in a step, "" if nothing.

    Args: loss; squares – sum of squares of the gradient; most – the largest one that is applied.
    """
    if not math.isfinite(loss):
        return f"a loss of {loss}"
    if not math.isfinite(squares):
        return BROKEN_GRADIENT
    return "" if squares <= most else f"{OVERFLOW} can overflow, with a gradient of norm {math.sqrt(squares):.3g}"


def _of_floats(function: Callable[[float, float], Any], swapped: bool = False) -> Callable[[Any, Any], Any]:
    """A binary operator of StepLoss, applied to floats; swapped – the StepLoss is its right operand."""

    def method(self: Any, other: Any) -> Any:
        a, b = float(self), float(other)
        return function(b, a) if swapped else function(a, b)

    return method


class StepLoss(SuggestsAttributes):
    """The loss of one step: a scalar that stays on the device until it is read, for example by `float(loss)`.

    It supports comparison, arithmetic and printing like a number; each of these waits for the device. `item()` equals
    `float(loss)`. Arithmetic returns a float, and a pickle contains only the number.

    Args: total – sum of the losses; squares – of the gradient; factor – of the sum; item – reads them; error – the error for a
        step that changed nothing, None if such a step is left out without an error; most – see `broken`.
    Raises: NonFiniteLossError when it is read, if the loss or the gradient was NaN or infinite (on a GPU, where such a step
        changes nothing; on a CPU the step itself raises).
    """

    __slots__ = ("_error", "_factor", "_item", "_most", "_squares", "_total", "_value")

    def __init__(
        self, total: Any, squares: Any, factor: float, item: Callable[[Any], float],
        error: Callable[[str], NonFiniteLossError] | None, value: float | None = None, most: float = sys.float_info.max,
    ) -> None:  # fmt: skip
        self._total = total
        self._squares = squares
        self._factor = factor
        self._item = item
        self._error = error
        self._value = value  # None while it is on the device
        self._most = most

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _known, (float(self), self._error is None)
        except NonFiniteLossError:
            return _known, (math.nan,)  # reading the copy raises the error again

    def __float__(self) -> float:
        if self._value is None:
            value = self._item(self._total) * self._factor
            squares = self._item(self._squares)
            if not (math.isfinite(value) and squares <= self._most) and self._error is not None:
                raise self._error(broken(value, squares, self._most))
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


def _known(value: float, skips: bool = False) -> StepLoss:
    """A StepLoss with a known value, for pickles."""

    def error(what: str) -> NonFiniteLossError:
        return NonFiniteLossError(f"expected a finite loss; got {what}, in a copy", what=what)

    return StepLoss(value, 0.0, 1.0, float, None if skips else error)
