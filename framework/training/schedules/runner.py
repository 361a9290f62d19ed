"""Runs the schedules of a Trainer: copies them, checks them before training, and sets the values of the step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ....errors import HyperparameterError
from ...metrics.direction import Directions
from ...settings import fraction, not_negative
from ..history import require_column
from .base import RateSchedule, Schedule
from .named import parse_schedule

if TYPE_CHECKING:
    from ...engine.step import TrainStep

UserSchedule = Callable[[int, int], float]
"""(epoch, step) -> value, with the numbers of finished epochs and steps."""


class ScheduleRunner:
    """The schedules of one Trainer and their progress.

    Args: step – its values are set; schedule – for the learning rate: a RateSchedule, its text, or a UserSchedule; momentum –
        the same for the momentum (no text); None leaves the value unchanged.
    Raises: HyperparameterError for anything else, and for a momentum that the optimiser does not have.
    """

    def __init__(self, step: TrainStep, schedule: Any = None, momentum: Any = None) -> None:
        if isinstance(schedule, str):
            schedule = parse_schedule(schedule)
        if isinstance(schedule, type) or not (schedule is None or isinstance(schedule, RateSchedule) or _is_function(schedule)):
            raise HyperparameterError(
                f"expected a schedule of the learning rate, its name, or a function (epoch, step) -> lr; got {schedule!r}; "
                "write schedule=fs.StepDecay(), for instance"
            )
        wrong = isinstance(momentum, RateSchedule | type) or not (
            momentum is None or isinstance(momentum, Schedule) or _is_function(momentum)
        )
        if wrong:
            raise HyperparameterError(
                f"expected a schedule of the momentum, or a function (epoch, step) -> momentum; got {momentum!r}; "
                "write momentum=fs.MomentumRamp(0.5, 0.9), for instance"
            )
        if momentum is not None and step.momentum is None:
            raise HyperparameterError(
                f"expected an optimiser with a momentum for the schedule; got {step.optimizer!r}; use fs.Momentum or "
                "fs.Nesterov"
            )
        self.step = step
        self.schedule = copy.deepcopy(schedule) if isinstance(schedule, Schedule) else schedule
        self.momentum = copy.deepcopy(momentum) if isinstance(momentum, Schedule) else momentum
        self.moves_momentum = momentum is not None or (
            isinstance(schedule, RateSchedule) and schedule.moves_momentum and step.momentum is not None
        )

    def begin(
        self, epoch: int, step: int, steps: int, steps_per_epoch: int, columns: Sequence[str], directions: Directions
    ) -> None:
        """Checks the schedules before training, and sets the first values.

        Args: epoch, step – finished so far; steps – finished at the end; columns – of the history; directions – of its metrics.
        """
        for name, schedule in (("schedule", self.schedule), ("momentum", self.momentum)):
            if not isinstance(schedule, Schedule):
                continue
            if schedule.monitor is not None:
                require_column(f"{name} {type(schedule).__name__}", schedule.monitor, columns)
                schedule.know(directions)
            schedule.plan(steps, steps_per_epoch)
        if isinstance(self.schedule, RateSchedule) and self.schedule.lr is None:
            self.schedule.lr = self.step.lr
        self.set(epoch, step)

    def set(self, epoch: int, step: int) -> None:
        """Sets the values for the step after the given numbers of finished epochs and steps."""
        self.apply(self.values(epoch, step))

    def values(self, epoch: int, step: int) -> tuple[float | None, float | None]:
        """Learning rate and momentum for that step; None for what no schedule sets."""
        rate = momentum = None
        if self.schedule is not None:
            rate = not_negative(self.schedule(epoch, step), f"the learning rate of schedule(epoch={epoch}, step={step})")
        if self.moves_momentum:
            schedule: Any = self.momentum
            if schedule is None:
                schedule = self.schedule.momentum_at  # type: ignore[union-attr]
            momentum = fraction(schedule(epoch, step), f"the momentum of its schedule(epoch={epoch}, step={step})")
        return rate, momentum

    def apply(self, values: tuple[float | None, float | None]) -> None:
        """Sets what `values` returned."""
        rate, momentum = values
        if rate is not None:
            self.step.state.lr = rate
        if momentum is not None:
            self.step.momentum = momentum

    def observe(self, row: Mapping[str, float]) -> None:
        """Passes the row of an epoch to the schedules that monitor the history."""
        for schedule in (self.schedule, self.momentum):
            if isinstance(schedule, Schedule):
                schedule.observe(row)

    def state(self) -> dict[str, Any]:
        """The state of the schedules, as plain values."""
        both = {"schedule": self.schedule, "momentum": self.momentum}
        return {name: schedule.state() if isinstance(schedule, Schedule) else {} for name, schedule in both.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        for name, schedule in (("schedule", self.schedule), ("momentum", self.momentum)):
            if isinstance(schedule, Schedule):
                schedule.restore(state[name])


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, Schedule)
