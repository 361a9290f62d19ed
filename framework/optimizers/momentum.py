"""SGD and its momentum variants, in all conventions of the notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ...backends import Array
from ...kernels.formulas.updates import RULES, update_formula
from ..engine.arena import Arena
from ..settings import choice, fraction
from .base import Optimizer, OptimizerState, scalars_of


class SGD(Optimizer):
    """theta -= lr g. Source: all of the notes; Robbins and Monro (1951).

    Args: lr – default 0.01; others as in Optimizer.
    Differs from: torch.optim.SGD, whose `weight_decay` is `l2` here, and whose momentum is a separate class here.
    """

    rule_name = "sgd"

    def __init__(self, lr: float = 0.01, **penalties: Any) -> None:
        super().__init__(lr, **penalties)


class Momentum(Optimizer):
    """SGD with momentum, in one of four conventions.

    form "update" (notes 002): u = gamma u + lr g, theta -= u. form "velocity" (003): M = gamma M - lr g, theta += M.
    form "average" (004): m = gamma m + (1 - gamma) g, theta -= lr m. form "sum" (PyTorch): u = gamma u + g, theta -= lr u.
    With a constant learning rate the first, second and fourth are the same, and the third is the same with
    lr' = lr / (1 - gamma).

    Args: lr – default 0.01; momentum – gamma in [0, 1), default 0.9; form – default "update".
    """

    FORMS: ClassVar[Mapping[str, str]] = {form: f"momentum_{form}" for form in ("update", "velocity", "average", "sum")}
    """Form -> update rule."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9, form: str = "update", **penalties: Any) -> None:
        super().__init__(lr, **penalties)
        self.momentum = fraction(momentum, "momentum")
        self.form = choice(form, "form", self.FORMS)
        self.rule_name = self.FORMS[form]

    def scalars(self, t: int, lr: float) -> dict[str, float]:  # noqa: ARG002
        """lr and the momentum."""
        return {"lr": lr, **self.momentum_scalars(self.momentum)}

    def momentum_scalars(self, momentum: float) -> dict[str, float]:
        """gamma, under the names that the rules use."""
        return {"gamma": momentum, "mu": momentum, "beta": momentum, "rest": 1.0 - momentum}


class Nesterov(Momentum):
    """Nesterov's accelerated gradient.

    form "reformulated" (default): u = gamma u + g, theta -= lr (g + gamma u), where theta is the look-ahead point itself. form
    "look_ahead": u = gamma u + lr g(theta - gamma u), theta -= u, exactly as in the notes; costs one more kernel call. With a
    constant lr and momentum the look-ahead points of the second are the parameters of the first.

    Args: lr – default 0.01; momentum – gamma in [0, 1), default 0.9; form.
    Source: Nesterov (1983); Sutskever et al. (2013); notes 000, 002, 004.
    """

    FORMS: ClassVar[Mapping[str, str]] = {"reformulated": "nesterov", "look_ahead": "nesterov_look_ahead"}

    def __init__(self, lr: float = 0.01, momentum: float = 0.9, form: str = "reformulated", **penalties: Any) -> None:
        super().__init__(lr, momentum, form, **penalties)

    def bind(self, arena: Arena) -> OptimizerState:
        """See Optimizer; for form "look_ahead" a LookAheadState."""
        return LookAheadState(self, arena) if self.form == "look_ahead" else super().bind(arena)


class LookAheadState(OptimizerState):
    """Evaluates the gradient at theta - gamma u: `begin` moves the parameters there by SGD along u, and the rule moves them
    back.

    The rule must have a scalar gamma and a state u.
    """

    one_by_one = "look-ahead Nesterov moves the parameters before each gradient"

    def __init__(self, optimizer: Optimizer, arena: Arena) -> None:
        super().__init__(optimizer, arena)
        self._start = arena.new()
        self._move = update_formula(RULES["sgd"])
        self._gammas = self._new_table(self._move)

    @property
    def nbytes(self) -> int:
        """See OptimizerState; includes the copy of the parameters before the step."""
        return super().nbytes + int(self._start.nbytes)

    @property
    def tables(self) -> tuple[tuple[Array, tuple[str, ...]], ...]:
        """See OptimizerState; includes the table of the move."""
        return (*super().tables, (self._gammas, scalars_of(self._move)))

    def sources(self) -> list[list[list[tuple[str, float]]]]:
        """See OptimizerState; the learning rate of the move is gamma, for all groups."""
        asked, (scale, decay_lr, _) = super().sources()
        return [asked, [scale, decay_lr, [("gamma", 1.0)] * len(self.settings)]]

    def begin(self) -> None:
        """See OptimizerState; also moves the parameters to theta - gamma u."""
        super().begin()
        backend, theta = self.arena.backend, self.arena.values
        backend.copy(theta, self._start)
        backend.update(self._move, (theta, self.states["u"]), self._gammas, self.segments)

    def undo(self) -> None:
        """See OptimizerState."""
        self.arena.backend.copy(self._start, self.arena.values)

    def apply(self, gradient: Array, squares: Any) -> None:
        """See OptimizerState; restores the parameters if the update was skipped, which the host may not know yet."""
        super().apply(gradient, squares)
        backend, theta = self.arena.backend, self.arena.values
        if not backend.on_host or self.loss_scale is not None:
            backend.copy(backend.xp.where(self.table[0][:1] >= 0.0, theta, self._start), theta)
