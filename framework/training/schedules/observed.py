"""Learning rates that decrease depending on a metric of the history: after a worse epoch, on a plateau.

They act after the epoch that they observed, and keep their observations in `state`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...metrics.direction import NOTHING_KNOWN, Directions, larger_is_better, require_mode, score
from ...settings import fraction, not_negative, whole
from ...suggestions import suggests_arguments
from .base import RateSchedule
from .decay import drop


class _Observed(RateSchedule):
    """lr = max(lr0 scale, smallest_lr), where `observe` multiplies scale by `factor`. Per epoch."""

    mode: str | None = None
    directions: Directions = NOTHING_KNOWN

    def __init__(self, factor: float, monitor: str, smallest_lr: float, lr: float | None, mode: str | None) -> None:
        super().__init__(lr)
        self.mode = require_mode(mode)
        self.factor = drop(factor)
        self.monitor = monitor
        self.smallest_lr = not_negative(smallest_lr, "smallest_lr")
        self.scale = 1.0

    def know(self, directions: Directions) -> None:
        """See Schedule.know; raises HyperparameterError before training for an unknown direction."""
        self.directions = directions
        larger_is_better(str(self.monitor), self.mode, directions)

    def score(self, row: Mapping[str, float]) -> float:
        """The metric that is monitored, as a number that decreases as the model improves."""
        return score(row, str(self.monitor), self.mode, self.directions)

    def multiplier(self, epoch: int, step: int) -> float:
        """The product of all reductions so far."""
        del epoch, step
        return self.scale

    def __call__(self, epoch: int, step: int) -> float:
        """The learning rate after the epochs that were observed."""
        rate = super().__call__(epoch, step)
        return max(rate, min(self.smallest_lr, float(self.lr or 0.0)))


@suggests_arguments
class HalveOnWorse(_Observed):
    """Halves the rate after an epoch whose validation error is larger than that of the epoch before. Per epoch.

    Args: factor – in (0, 1), default 0.5; monitor – column of the history, default "val_loss" (for "val_accuracy", "val_r2" and
        scorers, smaller is worse); NaN counts as worse; smallest_lr – lower bound of the rate, default 0; lr – as in
        RateSchedule; mode – "min" or "max" for a metric whose direction is not known.
    Source: notes 002, "Tips for annealing learning rate".
    """

    remembered = ("lr", "scale", "previous")

    def __init__(
        self, factor: float = 0.5, monitor: str = "val_loss", smallest_lr: float = 0.0, lr: float | None = None,
        mode: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(factor, monitor, smallest_lr, lr, mode)
        self.previous: float | None = None

    def observe(self, row: Mapping[str, float]) -> None:
        """Compares an epoch with the one before."""
        value = self.score(row)
        if self.previous is not None and (value > self.previous or math.isinf(value)):
            self.scale *= self.factor
        self.previous = value


@suggests_arguments
class ReduceOnPlateau(_Observed):
    """Divides the rate by ten when a metric has not improved for `patience` epochs. Per epoch.

    An epoch is an improvement if metric < best - threshold |best| (for accuracy, R² and scorers: metric > best + …).

    Args: factor – in (0, 1), default 0.1; patience – epochs without improvement, >= 1, default 5; threshold – relative, in [0,
        1), default 1e-4; cooldown – epochs after a reduction that are not counted, default 0; monitor, smallest_lr, mode – as
        in HalveOnWorse; lr – as in RateSchedule.
    Differs from: torch.optim.lr_scheduler.ReduceLROnPlateau, which waits one epoch more than its patience; in this, equal to
        optax.contrib.reduce_on_plateau and Keras.
    Source: notes 003, section 3.3.3 ("every time the accuracy plateaus, alpha is divided by 10"); 001.
    """

    remembered = ("lr", "scale", "best", "waited", "cooling")

    def __init__(
        self, factor: float = 0.1, patience: int = 5, threshold: float = 1e-4, cooldown: int = 0,
        monitor: str = "val_loss", smallest_lr: float = 0.0, lr: float | None = None, mode: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(factor, monitor, smallest_lr, lr, mode)
        self.patience = whole(patience, "patience")
        self.threshold = fraction(threshold, "threshold")
        self.cooldown = whole(cooldown, "cooldown", 0)
        self.best: float | None = None
        self.waited = 0
        self.cooling = 0

    def observe(self, row: Mapping[str, float]) -> None:
        """Counts epochs without improvement, and reduces the rate after `patience` of them."""
        value = self.score(row)
        if self.best is None or value < self.best - self.threshold * abs(self.best):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.cooling:
            self.cooling -= 1
            self.waited = 0
        if self.waited >= self.patience:
            self.scale *= self.factor
            self.waited, self.cooling = 0, self.cooldown
