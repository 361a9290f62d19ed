"""LAMB: Adam with a step length proportional to the norm of each layer's weights."""

from __future__ import annotations

from typing import Any

from ...backends import Array
from ...kernels.formula import Formula
from ...kernels.formulas.reach import Reach, lamb
from ...kernels.formulas.updates import AVERAGE, RULES, Rule, lamb_direction, trust_ratio, update_formula
from ..engine.arena import Arena
from ..engine.parameter import Parameter
from ..settings import epsilon_above_zero, fraction
from .base import Optimizer, OptimizerState, scalars_of


class LAMB(Optimizer):
    """r = m^ / (sqrt(v^) + epsilon) + weight_decay theta; theta -= lr (||theta|| / ||r||) r for each parameter array.

    The ratio is 1 if either norm is 0. For large minibatches. A step consists of two kernel calls over the arena, with two
    reductions per parameter between them for the norms.

    Args: lr – default 1e-3; beta1, beta2 – default 0.9 and 0.999; epsilon – default 1e-6; weight_decay – default 0.
    Source: You et al. (2020), algorithm 2, without the function phi. Equal to optax.lamb.
    """

    def __init__(
        self, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6, **penalties: Any
    ) -> None:
        super().__init__(lr, **penalties)
        self.beta1, self.beta2 = fraction(beta1, "beta1"), fraction(beta2, "beta2")
        self.epsilon = epsilon_above_zero(epsilon)

    @property
    def rule(self) -> Rule:
        """The states of Adam; the second kernel is plain SGD along r."""
        return RULES["adam_outside"]

    def bind(self, arena: Arena) -> OptimizerState:
        """A state with one group per parameter array."""
        return _LambState(self, arena)

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """The scalars of Adam, with 1 / (1 - b1^t) as a separate scalar."""
        return {
            "lr": lr,
            "correction": 1.0 / (1.0 - self.beta1**t),
            "rest1": 1.0 - self.beta1,
            "rest2": 1.0 - self.beta2,
            "root": (1.0 - self.beta2**t) ** -0.5,
            "eps": self.epsilon,
        }


class _LambState(OptimizerState):
    """The state of LAMB: every parameter array is a separate group, with its own trust ratio.

    Attributes: direction – flat, of the last step, without the trust ratio.
    """

    def __init__(self, optimizer: Optimizer, arena: Arena) -> None:
        super().__init__(optimizer, arena)
        self.direction = arena.new()
        groups = (len(self.settings),)
        self._theta_squares, self._direction_squares, self._ratio = (arena.backend.empty(groups, arena.dtype) for _ in range(3))

    @property
    def _reach(self) -> Reach:
        return lamb

    def make_formulas(self) -> None:
        """See OptimizerState; the second kernel takes the step along the direction, and averages the parameters."""
        super().make_formulas()
        self._step = update_formula(RULES["sgd"], tuple(f for f in self.features if f in ("l1_proximal", AVERAGE)))
        self._second = self._new_table(self._step)

    def _formula(self) -> Formula:
        return lamb_direction(tuple(f for f in self.features if f not in ("l1_proximal", AVERAGE)))

    def _groups(self) -> tuple[dict[Parameter, int], list[tuple[float, ...]]]:
        group_of, settings = super()._groups()
        own = [settings[group_of[parameter]] for parameter in self.arena.parameters]
        return {parameter: k for k, parameter in enumerate(self.arena.parameters)}, own

    @property
    def nbytes(self) -> int:
        """See OptimizerState; includes the direction."""
        return super().nbytes + int(self.direction.nbytes)

    @property
    def tables(self) -> tuple[tuple[Array, tuple[str, ...]], ...]:
        """See OptimizerState; includes the table of the second kernel."""
        return (*super().tables, (self._second, scalars_of(self._step)))

    def update(self, gradient: Array) -> None:
        """None, because a step consists of more than one call."""

    def apply(self, gradient: Array, squares: Any) -> None:
        """The direction, the norms, then the step along it."""
        self.t += 1
        arena, backend, table = self.arena, self.arena.backend, self.table
        self._judge(self._squares(gradient, squares))
        moments = (self.states["m"], self.states["v"])
        averages = () if self.average is None else (self.states[AVERAGE],)
        arrays = (arena.values, gradient, *self.masks, self.direction, *moments)
        backend.update(self.formula, arrays, table, self.segments, self._rounding)
        for position, parameter in enumerate(arena.parameters):
            start, stop = arena.ranges[parameter]
            self._theta_squares[position] = backend.sum_of_squares(arena.values[start:stop])
            self._direction_squares[position] = backend.sum_of_squares(self.direction[start:stop])
        backend.map(trust_ratio, self._ratio, self._theta_squares, self._direction_squares)
        # The ratio is the gradient scale of the second kernel, whose gradient is the direction. Adding x - x carries over the
        # NaN by which the first kernel was skipped.
        self._second[0, ...] = self._ratio + (table[0, ...] - table[0, ...])
        backend.update(self._step, (arena.values, self.direction, *averages), self._second, self.segments)
