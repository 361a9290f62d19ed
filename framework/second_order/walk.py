"""The state of a minimisation: the accepted point with value and gradient, and trial points around it.

Rounding may hide the effect of a step on f. To keep f from creeping upwards over many such steps, f is compared with its lowest
value so far instead of the last one, so it stays within 2 `rounding` of that. To make a run end, steps without effect are
counted: those that neither reduce the gradient norm to a new minimum nor f by more than its usual error. The run ends after
VAIN of them in a row, if they also took two thirds of all evaluations since f last decreased visibly, so that slow methods may
continue for longer.
"""

from __future__ import annotations

import math

from ...backends import Array
from .line_search import LineSearch, Probe, change, measured
from .objective import Objective

VAIN = 15
"""Consecutive steps without effect that are always allowed; Levenberg-Marquardt damping lets gradients oscillate that long."""
USUAL = 0.25
"""The usual error of f as a fraction of `rounding`, which is an upper bound."""


class Walk:
    """The accepted point of an Objective. The model has the parameters of the latest trial, or after `restore` of this point.

    Attributes: theta, gradient – flat, of the accepted point; before – the gradient at the previous accepted point; value, norm
        – f and ||gradient|| at the accepted point; rounding – error bound of that value; hidden – whether rounding hides the
        effect of the last step on f; broken – number of trial points at which f was not finite.
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
        """Sets the parameters of the model to the accepted point."""
        self._known = None
        self.objective.backend.copy(self.theta, self.objective.parameters)

    def derivative(self, direction: Array) -> float:
        """<gradient, direction>."""
        return self.vectors.dot(self.gradient, direction)

    def probe(self, direction: Array, step: float, derivative: bool = False) -> Probe:
        """f at theta + step direction, to which the model is set; derivative – whether to compute phi' as well."""
        objective = self.objective
        self.vectors.combine(objective.parameters, 1.0, self.theta, step, direction)
        objective.arena.hold()  # pruned weights stay exactly 0 in spite of rounding errors in the direction
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
        """Searches along a direction and accepts the result; returns the step, or 0 if none was accepted."""
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
        """f(theta + direction) - f(theta), from the gradients if rounding hides it; infinite if f is not finite."""
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
        """Updates `hidden` and the count of steps without effect, for a step to a point with this value and norm."""
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
