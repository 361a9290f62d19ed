"""Where a minimisation stands: the accepted parameters with value and gradient, and the trials around them.

If rounding hides the effect of a step, no run increases f or continues without end. f is compared with the lowest value so far,
not with the last one, so it stays within 2 `rounding` of it, however many such steps follow each other. A step is in vain if
neither the gradient's norm is lower than ever before nor f by more than its usual error. The run ends after VAIN of them in a
row, if they also cost two thirds of all evaluations since f last fell visibly: slow methods go on for longer.
"""

from __future__ import annotations

import math
from typing import Any

from .line_search import LineSearch, Probe, change, measured
from .objective import Objective

Array = Any

VAIN = 15
"""Steps in vain in a row that a run bears in any case: with Levenberg-Marquardt damping gradients rise and fall that long."""
USUAL = 0.25
"""The share of `rounding`, which is a bound, that the error of f hardly ever exceeds."""


class Walk:
    """The accepted point of an Objective; the model stands on the latest trial, and on this point after `restore`.

    Attributes: theta, gradient – flat, of the accepted point; before – the gradient of the point before it; value, norm –
        f and ||gradient|| at the accepted point; rounding – by how much that value may be off; hidden – whether the last
        step left f where it was before, to rounding; broken – at how many points that were tried f was not finite.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.vectors = objective.vectors
        self.theta = self.vectors.copy(objective.parameters)
        self.value, self.gradient = objective.gradient()
        self.before, self._trial = self.vectors.new(), self.vectors.new()
        self.norm = self.vectors.norm(self.gradient)
        objective.require_finite(self.value, self.norm)
        self.rounding, self.hidden = objective.rounding, False
        self._lowest, self._mark, self._smallest = self.value, self.value, self.norm
        self._vain = 0
        self._began = self._gained = self._evaluations
        self.broken = 0
        self._known: Probe | None = None

    @property
    def _evaluations(self) -> int:
        return self.objective.passes + self.objective.products

    def restore(self) -> None:
        """Puts the model back on the accepted point."""
        self._known = None
        self.objective.backend.copy(self.theta, self.objective.parameters)

    def derivative(self, direction: Array) -> float:
        """<gradient, direction>."""
        return self.vectors.dot(self.gradient, direction)

    def probe(self, direction: Array, step: float, derivative: bool = False) -> Probe:
        """f at theta + step direction, where the model then stands; with its slope where that is wanted."""
        objective = self.objective
        self.vectors.combine(objective.parameters, 1.0, self.theta, step, direction)
        objective.arena.hold()  # what was pruned stays 0 to the bit, whatever rounding left in the direction
        self._known = None
        value = objective.gradient(self._trial)[0] if derivative else objective.value()
        if not math.isfinite(value):
            self.broken += 1
            return Probe(step, math.inf)
        if not derivative:
            return Probe(step, value)
        self._known = Probe(step, value, self.vectors.dot(self._trial, direction))
        return self._known

    def advance(self, search: LineSearch, direction: Array, first: float = 1.0) -> float:
        """Searches along a direction and accepts what is found; the step, or 0 where nothing is and theta stays."""
        self.hidden = False
        derivative = self.derivative(direction)
        vain, hidden = (self._evaluations - since for since in (self._gained, self._began))
        spent = self._vain >= VAIN and 3 * vain >= 2 * hidden
        if spent or not math.isfinite(derivative) or (search.needs_descent and derivative >= 0.0):
            return 0.0
        start = Probe(0.0, self._lowest, derivative, self.rounding)
        found = search.search(lambda step, wanted: self.probe(direction, step, wanted), start, first)
        if found is not None and self._accept(direction, found.step):
            return found.step
        self.restore()
        return 0.0

    def change(self, direction: Array) -> float:
        """f(theta + direction) - f(theta), from the gradients where rounding hides it; infinite where f is not finite."""
        start = Probe(0.0, self.value, self.derivative(direction), self.rounding)
        end = measured(lambda step, wanted: self.probe(direction, step, wanted), start, 1.0)
        return change(start, end, self.rounding)

    def _accept(self, direction: Array, step: float) -> bool:
        """Makes theta + step direction the accepted point, unless f or its gradient is not finite there."""
        known = self._known
        if known is None or known.step != step:
            known = self.probe(direction, step, derivative=True)
        norm = self.vectors.norm(self._trial)
        if not (math.isfinite(known.value) and math.isfinite(norm)):
            return False
        self.objective.backend.copy(self.objective.parameters, self.theta)
        self.before, self.gradient, self._trial = self.gradient, self._trial, self.before
        self._count(known.value, norm)
        self.value, self.norm, self.rounding = known.value, norm, self.objective.rounding
        self._known = None
        return True

    def _count(self, value: float, norm: float) -> None:
        """Notes what a step to a point with this value and norm has gained."""
        self.hidden = abs(value - self._lowest) < 2.0 * self.rounding
        if not self.hidden:
            self._lowest, self._mark, self._smallest = value, value, norm
            self._vain = 0
            self._began = self._gained = self._evaluations
            return
        lower = value < self._mark - USUAL * self.rounding
        self._vain += 1
        if lower or norm < self._smallest:
            self._vain, self._gained = 0, self._evaluations
        self._mark = value if lower else self._mark
        self._lowest, self._smallest = min(self._lowest, value), min(self._smallest, norm)
