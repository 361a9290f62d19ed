"""Several steps in one launch: when the loop of a Trainer can hand them over together, and which ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..engine.step import TrainStep
from ..sources.feeds import Feed, ResidentFeed
from .callbacks import Callback

if TYPE_CHECKING:
    from ..engine.step_loss import StepLoss


def one_by_one(trainer: Any, feed: Feed) -> str:
    """Why the host has to be there between two steps, in words; "" where it has not."""
    if not isinstance(feed, ResidentFeed):
        return "the data are streamed"
    if getattr(trainer.step.run, "__func__", None) is not TrainStep.run:
        return "the step has a `run` of its own"
    if trainer.step.communicator is not None and not trainer.step.executor.launches_sums:
        return "gradients are summed over processes in each step"
    if trainer.step.micro.setting is not None:
        return "the minibatch may be split into micro-batches"
    if not trainer.step.recordable:
        return "a layer or the loss cannot be captured"
    if trainer.augment.chain:
        return "augmentations draw numbers on the host for each minibatch"
    if trainer.step.state.one_by_one:
        return str(trainer.step.state.one_by_one)
    watching = next((c for c in trainer.callbacks if type(c).on_step_end is not Callback.on_step_end), None)
    if watching is not None:
        return f"{type(watching).__name__} looks at each step"
    return ""


class Launches:
    """What takes several steps of a fit at once.

    Args: trainer – whose schedules are asked for each step before the launch; feed; size – rows of a minibatch; most – steps
        of a launch, None for as many as suit the backend.
    """

    def __init__(self, trainer: Any, feed: Feed, size: int, most: int | None) -> None:
        self._trainer = trainer
        self._size = size
        self._several: Any = None
        self._values: dict[int, tuple[float | None, float | None]] = {}
        """Those of schedules by number of the step, where a launch ended before it."""
        self._reason = one_by_one(trainer, feed)
        together = trainer.step.communicator
        if together is not None:  # some callbacks belong to one process only
            self._reason = next(filter(None, together.gather(self._reason)), "")
        if isinstance(feed, ResidentFeed) and not self._reason:
            self._feed = feed
            self._several = trainer.step.executor.several(feed.data, size, feed.rows // size, most)

    @property
    def refusal(self) -> str:
        """Why steps are taken one by one, in words; "" where several are a launch, once the first ones are over."""
        if self._several is None:
            return self._reason or f"backend {self._trainer.step.backend.name!r} captures no steps, or a launch has only one"
        refused: str = self._several.refusal
        return refused

    def take(self, start: int, stop: int, taken: Callable[[list[StepLoss]], object]) -> bool:
        """The next steps, on the rows from place start of the epoch's order; those after `stop` do not belong to it.

        Args: taken – called with their losses before an interrupt can come between.
        Returns: whether steps were taken; if not, a single step has to be.
        """
        several, trainer = self._several, self._trainer
        whole = (stop - start) // self._size * self._size
        if several is None or several.refusal or not whole:
            return False
        runner, epoch, number, values = trainer.schedule_runner, trainer.epochs_done, trainer.steps_done, self._values

        def prepare(ahead: int) -> None:
            if number + ahead not in values:
                values[number + ahead] = runner.values(epoch, number + ahead)
            runner.apply(values[number + ahead])

        scheduled = runner.schedule is not None or runner.moves_momentum
        indices = self._feed.indices(start, start + whole)
        if not trainer.step.run_several(several, indices, prepare if scheduled else None, taken):
            return False
        for done in range(number, trainer.steps_done) if scheduled else ():
            del values[done]
        trainer.minibatch = several.minibatch[:2]
        return True
