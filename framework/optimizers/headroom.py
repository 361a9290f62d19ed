"""Whether the next updates can overflow, decided before they begin from numbers that the host has.

The kernels skip the update of a gradient whose sum of squares exceeds `most_squares`; what a smaller one can do follows from
the bounds of the rule (kernels/formulas/reach.py), so the arrays are read only when these have run out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends import Array
from ...kernels.formulas.reach import Ahead, growth

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = Any
"""An OptimizerState, which imports this module."""

HORIZONS = tuple(2**k for k in (20, 17, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
"""Numbers of steps that are tried for a bound, the largest first."""
SHORT = 256
"""Steps below which a bound is tightened by reading the arrays."""


def most_squares(dtype: str) -> float:
    """The largest sum of squares of a gradient whose update is decided by bounds: 2^112 in float32, 2^1008 in float64."""
    return 2.0 ** (np.finfo(dtype).maxexp - 16)


def largest_element(backend: Any, array: Array) -> float:
    """The largest |element| of an array of the backend, NaN if it contains NaN; waits for the device."""
    if not array.shape[0]:
        return 0.0
    wide = backend.wide(array)
    top, bottom = (backend.item(extreme(wide)) for extreme in (backend.xp.max, backend.xp.min))
    return float(top if np.isnan(top) else max(abs(top), abs(bottom)))


def _broken(largest: Mapping[str, float]) -> str:
    return next((name for name, value in largest.items() if not np.isfinite(value)), "")


class Headroom:
    """What is known of the size of parameters and states, and for how many steps that suffices.

    Args: state – whose arrays and settings these are.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        info = np.finfo(state.arena.dtype)
        self._limit = 2.0 ** (info.maxexp - 2)
        self._gradient = min(most_squares(state.arena.dtype) ** 0.5, state.largest, state.optimizer.clip_value or np.inf)
        stored = 2.0**-7 if state.optimizer.state_dtype == "bfloat16" else 4.0 * float(info.eps)
        settings = state.settings or [(1.0, 0.0, 0.0, 0.0)]
        self._rate, self._l2, self._l1, self._decay = (max(column) for column in zip(*settings, strict=True))
        self._rounding, self._tiny = stored, 2.0 ** (info.minexp / 2)
        self._moving: set[int] = set()
        self._place = 0
        self.forget()

    @property
    def at_once(self) -> int:
        """The number of steps that the last bounds covered from the beginning, more than which a launch should not have."""
        return HORIZONS[self._place]

    def forget(self) -> None:
        """The arrays were written to: they are read before the next step."""
        self._bounds: tuple[float, ...] = ()
        self._edition = -1
        self._left = self._taken = self._since = 0
        self._last: tuple[float, ...] = ()
        self._low: tuple[float, ...] = ()
        self._high: tuple[float, ...] = ()

    def covers_step(self, scalars: tuple[float, ...]) -> bool:
        """As `covers`, for one step."""
        known = self._left > 0 and self._edition == self._state.arena.edition
        if known and scalars != self._last:
            for low, value, high in zip(self._low, scalars, self._high, strict=True):
                if not low <= value <= high:
                    known = False
                    break
            self._last = scalars
        return self._spend(1) if known else self._extend(1, list(scalars), list(scalars))

    def covers(self, scalars: NDArray[np.float64]) -> bool:
        """Whether parameters and states stay finite in the next steps; waits for the device if the arrays must be read.

        Args: scalars – a row for each step: 1, the learning rate, and the scalars of the rule.
        """
        columns = np.ascontiguousarray(scalars.T)  # along contiguous numbers, extremes are found ten times as fast
        low, high = columns.min(axis=1), columns.max(axis=1)
        known = len(scalars) <= self._left and self._edition == self._state.arena.edition
        if known and np.all(self._low <= low) and np.all(high <= self._high):
            return self._spend(len(scalars))
        return self._extend(len(scalars), low.tolist(), high.tolist())

    def _spend(self, count: int) -> bool:
        self._left -= count
        self._taken += count
        return True

    def measure(self) -> str:
        """Reads the arrays; returns the name of one that is not finite, otherwise ""."""
        self._taken = self._since = self._left = 0
        found = self._largest()
        self._bounds, self._edition = tuple(found.values()), self._state.arena.edition
        return _broken(found)

    def broken(self) -> str:
        """The same, for a message: nothing is remembered."""
        return _broken(self._largest())

    def _largest(self) -> dict[str, float]:
        """The largest |element| of each array, by name."""
        state = self._state
        arrays = {"the parameters": state.arena.values, **{f"state {name}": array for name, array in state.states.items()}}
        return {name: largest_element(state.arena.backend, array) for name, array in arrays.items()}

    def _extend(self, count: int, low: list[float], high: list[float]) -> bool:
        """Finds bounds for so many steps, with scalars from low to high, and as many more as they can cover."""
        if self._state.reach is None:
            return False
        if self._edition != self._state.arena.edition:
            self.forget()
        elif self._taken:
            self._bounds = self._after(self._taken) or ()
            self._since += self._taken
        self._taken = self._left = 0
        self._set_range(low, high)
        if self._bounds and (not self._since or HORIZONS[self._place] >= SHORT):
            self._left = self._horizon()
        if self._left < max(count, SHORT) and (self._since or not self._bounds):
            self.measure()
            self._left = self._horizon()
        if self._left < count:
            self._left = 0
            return False
        return self._spend(count)

    def _set_range(self, low: list[float], high: list[float]) -> None:
        """The scalars that the next bounds hold for: those that change get room to change further."""
        for k, (a, b) in enumerate(zip(low, high, strict=True)):
            if a != b or (self._low and not self._low[k] <= a <= b <= self._high[k]):
                self._moving.add(k)
            if k in self._moving:
                low[k], high[k] = min(0.5 * a, 2.0 * a), max(0.5 * b, 2.0 * b)
        self._low, self._high, self._last = tuple(low), tuple(high), ()

    def _horizon(self) -> int:
        """The largest number of steps that stay within the range of the type, 0 if that is unknown even for one.

        Up to a factor: the search begins one place above the last result.
        """
        for place in range(max(0, self._place - 1), len(HORIZONS)):
            if self._after(HORIZONS[place]) is not None:
                self._place = place
                return HORIZONS[place]
        self._place = 0
        return 0

    def _after(self, steps: int) -> tuple[float, ...] | None:
        """Bounds after that many steps; None if they may overflow."""
        state, names = self._state, ("", "decay_lr", *self._state.scalar_names)
        assert state.reach is not None
        low, high = dict(zip(names, self._low, strict=True)), dict(zip(names, self._high, strict=True))
        high["lr"] *= self._rate
        decay = growth(max(1.0, high["decay_lr"] * self._rate * self._decay - 1.0), steps)
        rounded = growth(1.0 + self._rounding, steps)
        theta, *states = self._bounds
        largest = 2.0 * theta
        for _ in range(4):  # penalties make the gradient depend on the parameters
            gradient = self._gradient + self._l2 * largest + self._l1
            ahead = Ahead(steps, gradient, low, high, self._rounding, self._tiny, state.arena.size, self._decay)
            after, *others = (rounded * bound for bound in state.reach(ahead, theta, *states))
            after *= decay
            if not all(bound <= self._limit for bound in (after, *others)):
                return None
            if after <= largest or not self._l2:
                return (after, *others[: len(states)])
            largest = 2.0 * after
        return None
