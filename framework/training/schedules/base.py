"""Base classes of schedules: settings, time, and observation of the history.

The formulas are in the other files of this folder; runner.py applies schedules while a Trainer runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ....errors import HyperparameterError, StateError
from ...settings import positive, whole


class Schedule:
    """A setting of the optimiser as a function of time: schedule(epoch, step).

    Time is counted from 0 in finished epochs and finished steps, so (0, 0) is the first step of training. A Trainer takes a
    copy, so several Trainers can share a schedule.

    Attributes: per_step – whether the value may change within an epoch; monitor – the column of the history that `observe`
        reads, or None; remembered – the attributes that `state` returns.
    """

    per_step = False
    monitor: str | None = None
    remembered: tuple[str, ...] = ()
    steps_per_epoch: int | None = None
    planned_steps: int | None = None

    def __call__(self, epoch: int, step: int) -> float:
        """The value in the step after the given numbers of finished epochs and steps."""
        raise NotImplementedError

    def plan(self, steps: int, steps_per_epoch: int) -> None:
        """Called by the Trainer before training: total steps at its end, counted from the first step, and steps per epoch."""
        self.planned_steps, self.steps_per_epoch = steps, steps_per_epoch

    def know(self, directions: Mapping[str, bool | None]) -> None:
        """Receives, before training, the metrics of the Trainer: name -> whether larger values are better, None if unknown."""

    def observe(self, row: Mapping[str, float]) -> None:
        """Receives the row of the history after each epoch."""

    def state(self) -> dict[str, Any]:
        """The state from `observe`, as plain values; empty for a function of time only."""
        return {name: getattr(self, name) for name in self.remembered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        for name in self.remembered:
            setattr(self, name, state[name])

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that recreate the schedule, without those at their defaults."""
        parameters = inspect.signature(type(self)).parameters.values()
        return {p.name: getattr(self, p.name) for p in parameters if getattr(self, p.name) != p.default}

    def length(self, steps: int | None, epochs: int | None) -> int:
        """A duration in steps, given in steps or epochs; the end of training if both are None."""
        if steps is not None:
            return steps
        known = self.planned_steps if epochs is None else self.steps_per_epoch
        if known is None:
            raise StateError(
                f"expected {type(self).__name__} to know its number of steps; a Trainer sets it; "
                "pass steps=… to call it without a Trainer"
            )
        return known if epochs is None else known * epochs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


class RateSchedule(Schedule):
    """A learning-rate schedule: lr = lr0 multiplier(epoch, step).

    Args: lr – lr0 > 0; None (default): the rate of the step when a Trainer starts.
    """

    remembered: tuple[str, ...] = ("lr",)
    moves_momentum = False
    """Whether the schedule also sets the momentum, if the optimiser has one."""

    def __init__(self, lr: float | None = None) -> None:
        self.lr = None if lr is None else positive(lr, "lr")

    def multiplier(self, epoch: int, step: int) -> float:
        """The factor for lr0."""
        raise NotImplementedError

    def momentum_at(self, epoch: int, step: int) -> float:
        """The momentum for this rate, if `moves_momentum`."""
        raise NotImplementedError

    def __call__(self, epoch: int, step: int) -> float:
        """The learning rate in the step after the given numbers of finished epochs and steps."""
        if self.lr is None:
            raise StateError(
                f"expected {type(self).__name__} to know the initial learning rate; a Trainer sets it from its step; "
                "pass lr=… to call it without a Trainer"
            )
        return self.lr * self.multiplier(epoch, step)


def duration(steps: Any, epochs: Any, needed: str = "") -> tuple[int | None, int | None]:
    """Checks a duration given in steps or in epochs.

    Args: steps, epochs – integers >= 1, at most one of them; needed – what requires one of them, if it is required.
    """
    if steps is not None and epochs is not None:
        raise HyperparameterError(f"expected steps or epochs; got both, steps={steps!r} and epochs={epochs!r}; leave one out")
    if needed and steps is None and epochs is None:
        raise HyperparameterError(f"expected steps or epochs of {needed}; got neither; write steps=100, for instance")
    return (
        None if steps is None else whole(steps, "steps"),
        None if epochs is None else whole(epochs, "epochs"),
    )
