"""Schedules with increasing values: linear warm-up before another schedule, one cycle, several cycles that grow longer, and
momentum from 0.5 to 0.9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....errors import HyperparameterError
from ...settings import fraction, real, whole
from ...suggestions import suggests_arguments
from .base import RateSchedule, Schedule, duration


@suggests_arguments
class LinearWarmup(RateSchedule):
    """Rises linearly to lr0 in the first steps, multiplied by another schedule. Per step.

    lr = (start + (1 - start) min(1, t / n)) then(epoch, t), with t the number of finished steps.

    Args: steps or epochs – n; start – fraction of the rate in the first step, in [0, 1], default 0.1; then – another schedule,
        default None: constant; its time is counted from the start of training, not from the end of the warm-up; lr – as in
        RateSchedule.
    Same as: torch.optim.lr_scheduler.LinearLR with start_factor = start.
    Source: Goyal et al. (2017), section 2.2.
    """

    per_step = True

    def __init__(
        self, steps: int | None = None, epochs: int | None = None, start: float = 0.1,
        then: RateSchedule | None = None, lr: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(lr)
        self.steps, self.epochs = duration(steps, epochs, "LinearWarmup")
        self.start = real(start, "start", 0.0, 1.0)
        if then is not None and (not isinstance(then, RateSchedule) or then.moves_momentum):
            raise HyperparameterError(
                f"expected another schedule of the learning rate after the warm-up; got {then!r}; write then=StepDecay(), for "
                "instance (OneCycle already contains a warm-up)"
            )
        if then is not None and then.lr is not None:
            raise HyperparameterError(
                f"expected the first rate to be given to LinearWarmup; got {then!r}; write LinearWarmup(…, lr={then.lr:g})"
            )
        self.then = then
        self.monitor = None if then is None else then.monitor

    def plan(self, steps: int, steps_per_epoch: int) -> None:
        """Passed on to both schedules."""
        super().plan(steps, steps_per_epoch)
        if self.then is not None:
            self.then.plan(steps, steps_per_epoch)

    def multiplier(self, epoch: int, step: int) -> float:
        """Warm-up times the other schedule's."""
        warm = self.start + (1.0 - self.start) * min(1.0, step / self.length(self.steps, self.epochs))
        return warm if self.then is None else warm * self.then.multiplier(epoch, step)

    def observe(self, row: Mapping[str, float]) -> None:
        """Passes the row on."""
        if self.then is not None:
            self.then.observe(row)

    def state(self) -> dict[str, Any]:
        """lr0, and the state of the other schedule."""
        return {**super().state(), "then": None if self.then is None else self.then.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        super().restore(state)
        if self.then is not None:
            self.then.restore(state["then"])


@suggests_arguments
class OneCycle(RateSchedule):
    """Rises along a cosine from lr0 / divisor to lr0, then falls to lr0 / (divisor final_divisor). Per step.

    The rise takes the first `rise` T of the T steps. The momentum of Momentum and Nesterov, if the step uses one of them,
    changes in the opposite direction: from its larger value to the smaller one, and back.

    Args: steps or epochs – T; default: to the end of training; rise – in (0, 1), default 0.3; divisor – > 1, default 25;
        final_divisor – >= 1, default 1e4; low_momentum, high_momentum – default 0.85 and 0.95; lr – the peak lr0, as in
        RateSchedule.
    Same as: torch.optim.lr_scheduler.OneCycleLR, except that betas of Adam are not changed here.
    Source: Smith and Topin (2019).
    """

    per_step = True
    moves_momentum = True

    def __init__(
        self, steps: int | None = None, epochs: int | None = None, rise: float = 0.3, divisor: float = 25.0,
        final_divisor: float = 1e4, low_momentum: float = 0.85, high_momentum: float = 0.95, lr: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(lr)
        self.steps, self.epochs = duration(steps, epochs)
        self.rise = real(rise, "rise", 0.0, 1.0, "()")
        self.divisor = real(divisor, "divisor", 1.0, ends="(]", advice="the cycle starts below its peak; 25 is usual")
        self.final_divisor = real(final_divisor, "final_divisor", 1.0)
        self.high_momentum = fraction(high_momentum, "high_momentum")
        self.low_momentum = real(low_momentum, "low_momentum", 0.0, self.high_momentum)

    def _between(self, step: int, start: float, peak: float, end: float) -> float:
        """Cosine from start to peak to end."""
        last = self.length(self.steps, self.epochs) - 1
        top = max(self.rise * (last + 1) - 1.0, 0.0)
        if step < top:
            first, second, done = start, peak, step / top
        else:
            first, second, done = peak, end, min(1.0, (step - top) / (last - top)) if last > top else 1.0
        return second + (first - second) * 0.5 * (1.0 + math.cos(math.pi * done))

    def multiplier(self, epoch: int, step: int) -> float:
        """Of the peak."""
        del epoch
        return self._between(step, 1.0 / self.divisor, 1.0, 1.0 / (self.divisor * self.final_divisor))

    def momentum_at(self, epoch: int, step: int) -> float:
        """High, low at the peak of the rate, and high again."""
        del epoch
        return self._between(step, self.high_momentum, self.low_momentum, self.high_momentum)


@suggests_arguments
class CosLog(RateSchedule):
    """Rises from 0 to lr0 and falls to 0 along a cosine, in several cycles, each twice as long as the one before. Per step.

    lr = lr0 (1 - cos(2 pi log2(1 + (2^cycles - 1) s))) / 2, s = min(1, (t + 1/2) / T), with t the number of finished steps.

    The best epochs are those at the end of a cycle: keep the parameters of the best one with EarlyStopping(patience=epochs).

    Args: cycles – 1 to 30, default 4, of T / 15, 2 T / 15, 4 T / 15 and 8 T / 15 steps; steps or epochs – T; default: to the
        end of training; lr – lr0, as in RateSchedule.
    Differs from: the paper, where s = t / T, so that the first step changes nothing.
    Source: Holzmüller, Grinsztajn and Steinwart (2024), "Better by Default", section 3, "coslog4".

    >>> [round(CosLog(steps=15, lr=1.0)(0, step), 3) for step in (0, 1, 4, 10)]
    [0.93, 0.718, 0.984, 0.995]
    """

    per_step = True

    def __init__(
        self, cycles: int = 4, steps: int | None = None, epochs: int | None = None, lr: float | None = None
    ) -> None:
        super().__init__(lr)
        self.cycles = whole(cycles, "cycles", 1, 30)
        self.steps, self.epochs = duration(steps, epochs)

    def multiplier(self, epoch: int, step: int) -> float:
        """The formula above."""
        del epoch
        done = min(1.0, (step + 0.5) / self.length(self.steps, self.epochs))
        return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + (2**self.cycles - 1) * done)))


@suggests_arguments
class MomentumRamp(Schedule):
    """The momentum gamma: `start` until training has stabilised, then `end`. Per epoch.

    gamma = start for epoch < after; then start + (end - start) min(1, (epoch - after + 1) / (over + 1)).

    Args: start – in [0, 1), default 0.5; end – in [0, 1), default 0.9; after – epochs at `start`, default 5; over – epochs of
        linear transition, default 0.
    Source: notes 002, "gamma is set to 0.5 until initial learning stabilizes and then increased to 0.9 or higher".

    >>> [MomentumRamp(after=2)(epoch, 0) for epoch in range(4)]
    [0.5, 0.5, 0.9, 0.9]
    """

    def __init__(self, start: float = 0.5, end: float = 0.9, after: int = 5, over: int = 0) -> None:
        self.start = fraction(start, "start")
        self.end = fraction(end, "end")
        self.after = whole(after, "after", 0)
        self.over = whole(over, "over", 0)

    def __call__(self, epoch: int, step: int) -> float:
        """The momentum after that number of finished epochs."""
        del step
        done = min(1.0, max(0, epoch - self.after + 1) / (self.over + 1))
        return self.end if done == 1.0 else self.start + (self.end - self.start) * done
