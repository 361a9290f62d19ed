"""Schedule-Free AdamW: an average of the iterates in place of a schedule for the learning rate."""

from __future__ import annotations

from typing import Any

from ...backends import Array
from ...errors import HyperparameterError
from ...kernels.formulas.updates import schedule_free_average
from ..engine.arena import Arena
from ..engine.averaging import EMA
from ..settings import epsilon_above_zero, fraction, real, whole
from .base import Optimizer, OptimizerState


class ScheduleFreeAdamW(Optimizer):
    """z -= lr_t (g / (sqrt(v^) + epsilon) + weight_decay y); x = (1 - c) x + c z; g is the gradient at y = (1 - b1) z + b1 x.

    lr_t = lr min(1, t / warmup_steps), c = lr_t^2 / (sum of lr_t^2 until now), v^ as in Adam. The parameters in training are y.
    A Trainer, `step.evaluate` and saved models have x, which needs no decay of the learning rate; see TrainStep.show_average.

    Args: lr – default 2.5e-3, usually 1 to 10 times that of AdamW; beta1 – weight of the average in y, in
        [0.01, 1), default 0.9; beta2, epsilon – default 0.999 and 1e-8; weight_decay – decoupled, default 0; warmup_steps –
        steps in which lr_t rises to lr, default 0; others as in Optimizer, without l1_form="proximal".
    Differs from: optax.contrib.schedule_free_adamw, whose steps of z lag behind by one step of the warm-up, equal without one;
        both it and the authors' code weight x by the largest lr_t until now, which is the same for a constant `step.lr`.
    Source: Defazio et al. (2024), "The Road Less Scheduled", algorithm 1 and section 4.
    """

    def __init__(
        self, lr: float = 2.5e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.0,
        warmup_steps: int = 0, **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(lr, weight_decay=weight_decay, **rest)
        self.beta1, self.beta2 = real(beta1, "beta1", 0.01, 1.0, "[)"), fraction(beta2, "beta2")
        self.epsilon = epsilon_above_zero(epsilon)
        self.warmup_steps = whole(warmup_steps, "warmup_steps", 0)
        self.rule_name = "schedule_free_adamw"
        if self.l1_form == "proximal" and self.l1:
            raise HyperparameterError(
                'expected l1_form="subgradient" with ScheduleFreeAdamW, whose average has no exact zeros; got "proximal"; use '
                'fs.prune, or fs.AdamW with l1_form="proximal"'
            )

    def bind(self, arena: Arena) -> OptimizerState:
        """See Optimizer; a state whose model shows x."""
        return _ScheduleFreeState(self, arena)

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """lr_t, 1 - b2, 1 / sqrt(1 - b2^t), epsilon, the weight c of z in x, and 1 - b1 (1 - c)."""
        warm = max(1, self.warmup_steps)
        rise, rising = min(1.0, t / warm), min(t, warm)
        weights = rising * (rising + 1) * (2 * rising + 1) / (6.0 * warm * warm) + (t - rising)  # sum of rise^2
        mix = rise * rise / weights
        return {
            "lr": lr * rise, "rest2": 1.0 - self.beta2, "root": (1.0 - self.beta2**t) ** -0.5, "eps": self.epsilon,
            "mix": mix, "pull": 1.0 - self.beta1 * (1.0 - mix),
        }  # fmt: skip


class _ScheduleFreeState(OptimizerState):
    """The state of ScheduleFreeAdamW; z begins at the parameters, and always has their type.

    Attributes: x – the array for what `show_average` shows, allocated when it is first shown.
    """

    optimizer: ScheduleFreeAdamW

    def __init__(self, optimizer: ScheduleFreeAdamW, arena: Arena) -> None:
        super().__init__(optimizer, arena)
        self.shown_from = ("z",)
        self._begin_averages()
        self.x: Array | None = None

    def keep_average(self, average: EMA) -> None:
        """Refused."""
        raise HyperparameterError(
            f"expected no average with {self.optimizer!r}, which averages its parameters itself; got {average!r}; leave it out"
        )

    def show_average(self) -> None:
        """See OptimizerState; what is shown is x, computed from the parameters and z."""
        arena, beta1 = self.arena, self.optimizer.beta1
        if self.t and (arena.behind is None or arena.behind is not self.x):
            arena.show_trained()
            self.x = arena.new() if self.x is None else self.x
            arena.backend.map(schedule_free_average, self.x, arena.values, self.states["z"], (1.0 - beta1) / beta1)
            arena.show(self.x)
