"""Several steps in one launch: when the loop of a Trainer can hand them over together, and how many.

Why 16: around the launch of a graph the host hands out about eight small tasks, rows, scalars, results, and each costs
it 6 to 12 µs, so up to 0.1 ms: more than the device needs for a step of a small network. Shared by 16 steps that is 6 µs for
each, as much as five more operations in its graph, at 1.3 µs; more steps would gain little and take longer to capture.
This is reckoned from the costs of single calls; no device has timed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..sources.feeds import Feed, ResidentFeed
from .callbacks import Callback

if TYPE_CHECKING:
    from ..engine.step_loss import StepLoss

STEPS = 16
"""Default number of steps per launch."""


def one_by_one(trainer: Any, feed: Feed) -> str:
    """Why the host has to be there between two steps, in words; "" where it has not."""
    if not isinstance(feed, ResidentFeed) or trainer.step.backend.on_host:
        return "the data are not on a device"
    if trainer.step.micro.setting is not None:
        return "the minibatch may be split into micro-batches"
    if trainer.augment.chain:
        return "augmentations draw numbers on the host for each minibatch"
    if trainer.step.state.one_by_one:
        return str(trainer.step.state.one_by_one)
    watching = next((c for c in trainer.callbacks if type(c).on_step_end is not Callback.on_step_end), None)
    if watching is not None:
        return f"{type(watching).__name__} looks at each step"
    return ""


def steps_of_a_launch(minibatches: int, most: int) -> int:
    """At most `most`, so that an epoch takes as few launches as it can, those of single steps that are left over among them."""
    return min(range(1, most + 1), key=lambda count: sum(divmod(minibatches, count)))


class Launches:
    """What takes several steps of a fit at once.

    Args: trainer – whose schedules are asked for each step before the launch; feed; size – rows of a minibatch; most – steps
        of a launch.
    """

    def __init__(self, trainer: Any, feed: Feed, size: int, most: int) -> None:
        self._trainer = trainer
        self._size = size
        self._several: Any = None
        self._reason = one_by_one(trainer, feed)
        count = steps_of_a_launch(feed.rows // size, most)
        if count > 1 and isinstance(feed, ResidentFeed) and not self._reason:
            self._feed = feed
            self._several = trainer.step.executor.several(feed.inputs, feed.targets, size, count)

    @property
    def refusal(self) -> str:
        """Why steps are taken one by one, in words; "" where several are a launch, once the first ones are over."""
        if self._several is None:
            return self._reason or f"backend {self._trainer.step.backend.name!r} captures no steps, or an epoch has only one"
        refused: str = self._several.refusal or self._several.executor.refusal
        return refused

    def take(self, start: int, stop: int) -> list[StepLoss]:
        """The next steps, on the rows from place start of the epoch's order; those after `stop` do not belong to it.

        Returns: their losses; none where a single step has to be taken.
        """
        several, trainer = self._several, self._trainer
        if several is None or start + several.count * self._size > stop:
            return []

        def prepare(ahead: int) -> None:
            trainer.schedule_runner.set(trainer.epochs_done, trainer.steps_done + ahead)

        indices = self._feed.indices(start, start + several.count * self._size)
        losses: list[StepLoss] = trainer.step.run_several(several, indices, prepare)
        if losses:
            trainer.minibatch = several.minibatch
        return losses
