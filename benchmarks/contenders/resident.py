"""fusedstep's steps over data that lie on the device, taken as a Trainer takes them: by its own feed and its own launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...framework.engine.step import TrainStep
from ...framework.engine.step_loss import StepLoss
from ...framework.sources.feeds import ResidentFeed
from ...framework.training.launches import Launches
from ...framework.training.trainer import Trainer
from ..problem import Problem

Array = Any

WARM_UP = 4
"""Steps by themselves before a launch of several has to be there, or a reason why not: the Trainer's own need two."""


class ListedFeed(ResidentFeed):
    """Rows in an order that is given, and may come to each of them again and again.

    Args: step; inputs, targets – as TrainStep.prepare gives them; order – numbers of rows, on the backend.
    """

    def __init__(self, step: TrainStep, inputs: Array, targets: Array, order: Array) -> None:
        super().__init__(step, inputs, targets)
        self._order = order
        self.rows = int(order.shape[0])


class ResidentSteps:
    """A call takes the next launch of a Trainer, or a single step where it takes them one by one.

    Attributes: covers – steps of a call; refusal – why that is 1 although more were wanted, "" otherwise.

    Args: problem – resident; step – with the common start.
    """

    def __init__(self, problem: Problem, step: TrainStep) -> None:
        self.step, self.size = step, problem.network.batch
        x, y = problem.data
        inputs, targets = step.prepare(x, y.astype(np.int32))
        # As long as every minibatch needs to be once in every place of a launch.
        order = np.tile(problem.indices.reshape(-1), problem.launch)
        self.feed = ListedFeed(step, inputs, targets, step.backend.asarray(order))
        self.trainer = Trainer(step, shuffle="never", steps_per_launch=problem.launch)
        self.launches = Launches(self.trainer, self.feed, self.size, problem.launch)
        self.begin()
        self.covers, tries = 1, 0
        while self.covers == 1 and tries < WARM_UP and not self.launches.refusal:
            self.covers, tries = len(self()), tries + 1
        self.refusal = ""
        if self.covers < problem.launch:
            self.refusal = self.launches.refusal or f"no launch came after {tries} steps"
        self.begin()

    def begin(self) -> None:
        """From the first minibatch on."""
        self.start = 0
        self.trainer.steps_done = 0

    def __call__(self) -> list[StepLoss]:
        """The losses of the steps that were taken, still on the device."""
        start, size, trainer = self.start, self.size, self.trainer
        losses: list[StepLoss] = []
        if not self.launches.take(start, self.feed.rows, losses.extend):
            trainer.schedule_runner.set(0, trainer.steps_done)
            losses = [self.step.run(*next(self.feed.micro_batches(start, start + size, size)))]
        trainer.steps_done += len(losses)
        self.start = (start + len(losses) * size) % self.feed.rows
        return losses
