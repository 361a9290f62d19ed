"""Learning rates that decay as a function of time only: in steps, exponentially, as 1/t, along a cosine."""

from __future__ import annotations

import math

from ...settings import choice, fraction, positive, real, whole
from ...suggestions import suggests_arguments
from .base import RateSchedule, duration


@suggests_arguments
class StepDecay(RateSchedule):
    """Multiplied by a factor every few epochs: lr = lr0 factor^floor(epoch / every). Per epoch.

    Args: factor – in (0, 1), default 0.5; every – epochs, default 5: "halve the learning rate after every 5 epochs";
        lr – as in RateSchedule.
    Same as: torch.optim.lr_scheduler.StepLR, and optax.exponential_decay with staircase=True.
    Source: notes 002, "Tips for annealing learning rate"; 004, section 2.1.

    >>> halved = StepDecay(lr=0.8)
    >>> [halved(epoch, 0) for epoch in (0, 4, 5, 10)]
    [0.8, 0.8, 0.4, 0.2]
    """

    def __init__(self, factor: float = 0.5, every: int = 5, lr: float | None = None) -> None:
        super().__init__(lr)
        self.factor = drop(factor)
        self.every = whole(every, "every")

    def multiplier(self, epoch: int, step: int) -> float:
        """factor^floor(epoch / every)."""
        del step
        return self.factor ** (epoch // self.every)


class _Smooth(RateSchedule):
    """A decay with one constant k, over steps or over epochs."""

    def __init__(self, k: float, per: str = "step", lr: float | None = None) -> None:
        super().__init__(lr)
        self.k = positive(k, "k", "a decay has k > 0, such as 0.001 per step")
        self.per = choice(per, "per", ("step", "epoch"))
        self.per_step = per == "step"


@suggests_arguments
class ExponentialDecay(_Smooth):
    """lr = lr0 e^(-k t), with t the number of finished steps, or of finished epochs.

    Args: k – > 0; per – "step" (default, as in the notes) or "epoch"; lr – as in RateSchedule.
    Same as: torch.optim.lr_scheduler.ExponentialLR with gamma = e^-k.
    Source: notes 002 (in which the e is missing); 003, section 3.3.3.
    """

    def multiplier(self, epoch: int, step: int) -> float:
        """e^(-k t)."""
        return math.exp(-self.k * (step if self.per_step else epoch))


@suggests_arguments
class InverseTimeDecay(_Smooth):
    """lr = lr0 / (1 + k t), with t the number of finished steps, or of finished epochs.

    Args: k – > 0; per – "step" (default, as in the notes) or "epoch"; lr – as in RateSchedule.
    Source: notes 002, "1/t decay".
    """

    def multiplier(self, epoch: int, step: int) -> float:
        """1 / (1 + k t)."""
        return 1.0 / (1.0 + self.k * (step if self.per_step else epoch))


@suggests_arguments
class CosineDecay(RateSchedule):
    """Half a cosine from lr0 to final lr0, after an optional linear warm-up. Per step.

    lr = lr0 t / w for t < w; then lr0 (final + (1 - final) (1 + cos(pi s)) / 2), s = min(1, (t - w) / (T - w)); t counts
    finished steps.

    Args: steps or epochs – T, warm-up included; default: to the end of training; warmup_steps – w < T, default 0; final – final
        rate as a fraction of lr0, in [0, 1), default 0; lr – as in RateSchedule.
    Same as: torch.optim.lr_scheduler.CosineAnnealingLR; with warm-up, optax.warmup_cosine_decay_schedule.
    Differs from: the paper, which restarts after T; here the rate stays at final lr0.
    Source: Loshchilov and Hutter (2017), equation 5.
    """

    per_step = True

    def __init__(
        self, steps: int | None = None, epochs: int | None = None, warmup_steps: int = 0, final: float = 0.0,
        lr: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(lr)
        self.steps, self.epochs = duration(steps, epochs)
        self.warmup_steps = whole(warmup_steps, "warmup_steps", 0, None if steps is None else self.steps - 1)  # type: ignore[operator]
        self.final = fraction(final, "final")

    def multiplier(self, epoch: int, step: int) -> float:
        """The formula above."""
        del epoch
        if step < self.warmup_steps:
            return step / self.warmup_steps
        fall = self.length(self.steps, self.epochs) - self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / fall) if fall > 0 else 1.0
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


def drop(factor: float) -> float:
    """A factor by which a rate decreases: a number in (0, 1)."""
    return real(factor, "factor", 0.0, 1.0, "()", "0.5 halves the rate, 0.1 divides it by ten")
