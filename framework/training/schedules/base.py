"""What every schedule shares: settings, time, and the figures that it may look at after an epoch.

The formulas are in the files beside this one; runner.py applies them while a Trainer runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ....errors import HyperparameterError, StateError
from ...settings import positive, whole


class Schedule:
    """A setting of the optimiser as a function of time: schedule(epoch, step).

    Time is counted from 0 in finished epochs and finished steps, so that (0, 0) is the first step of training. A Trainer
    takes a copy, so one schedule can serve several.

    Attributes: per_step – whether the value may change within an epoch; monitor – the column of the history that
        `observe` looks at, or None; remembered – the attributes that `state` keeps.
    """

    per_step = False
    monitor: str | None = None
    remembered: tuple[str, ...] = ()
    steps_per_epoch: int | None = None
    planned_steps: int | None = None

    def __call__(self, epoch: int, step: int) -> float:
        """The value in the step that follows after so many finished epochs and steps."""
        raise NotImplementedError

    def plan(self, steps: int, steps_per_epoch: int) -> None:
        """What the Trainer knows before it begins: steps until its end, from the first ever taken, and steps of an epoch."""
        self.planned_steps, self.steps_per_epoch = steps, steps_per_epoch

    def observe(self, row: Mapping[str, float]) -> None:
        """Takes notice of an epoch's row of the history."""

    def state(self) -> dict[str, Any]:
        """What it has learned from its Trainer, as plain values; empty for a function of time alone."""
        return {name: getattr(self, name) for name in self.remembered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        for name in self.remembered:
            setattr(self, name, state[name])

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make the same schedule, those with their default value left out."""
        parameters = inspect.signature(type(self)).parameters.values()
        return {p.name: getattr(self, p.name) for p in parameters if getattr(self, p.name) != p.default}

    def length(self, steps: int | None, epochs: int | None) -> int:
        """A time in steps, from one given in steps or in epochs, or else the end of training."""
        if steps is not None:
            return steps
        known = self.planned_steps if epochs is None else self.steps_per_epoch
        if known is None:
            raise StateError(
                f"expected {type(self).__name__} to know how many steps it has; it learns that from a Trainer; "
                "give steps=… to ask it by itself"
            )
        return known if epochs is None else known * epochs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


class RateSchedule(Schedule):
    """A schedule of the learning rate: lr0 multiplier(epoch, step).

    Args: lr – lr0 > 0; None (default): the rate that the step has when a Trainer begins.
    """

    remembered: tuple[str, ...] = ("lr",)
    moves_momentum = False
    """Whether the momentum follows as well, where the optimiser has one."""

    def __init__(self, lr: float | None = None) -> None:
        self.lr = None if lr is None else positive(lr, "lr")

    def multiplier(self, epoch: int, step: int) -> float:
        """What lr0 is multiplied by."""
        raise NotImplementedError

    def momentum_at(self, epoch: int, step: int) -> float:
        """The momentum that belongs to the rate, where `moves_momentum`."""
        raise NotImplementedError

    def __call__(self, epoch: int, step: int) -> float:
        """The learning rate in the step that follows after so many finished epochs and steps."""
        if self.lr is None:
            raise StateError(
                f"expected {type(self).__name__} to know the first learning rate; it takes it from the step of its Trainer; "
                "give lr=… to ask it by itself"
            )
        return self.lr * self.multiplier(epoch, step)


def duration(steps: Any, epochs: Any, needed: str = "") -> tuple[int | None, int | None]:
    """Checks a time that is given in steps or in epochs.

    Args: steps, epochs – whole numbers >= 1, one at most; needed – what needs one of them, where it cannot be left out.
    """
    if steps is not None and epochs is not None:
        raise HyperparameterError(f"expected steps or epochs; got both, steps={steps!r} and epochs={epochs!r}; leave one out")
    if needed and steps is None and epochs is None:
        raise HyperparameterError(f"expected steps or epochs of {needed}; got neither; write steps=100, for instance")
    return (
        None if steps is None else whole(steps, "steps"),
        None if epochs is None else whole(epochs, "epochs"),
    )
