"""Runs many steps of a loop over resident arrays in one launch, which the threads walk without Python in between.

The program is that of a single step, with further calls: each shard first gathers its rows by their indices, the scalars of the
step come from a table that was filled for all steps of the launch, and the sums of each step are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.targets.memory import aligned_empty, unwritten
from ..executors.base import Array, MicroBatch, in_rows
from ..executors.passes import Minibatch
from ..profiling import Label
from ..threads import single_threaded_blas
from .replay import Replay

SECONDS = 0.05
"""Of a launch, where nobody says how many steps it has: an interrupt is heard between two launches."""


class StepSums:
    """The sums of the losses and the squares of the gradient of the steps of a launch, also of one that it stopped at.

    Attributes: done – steps that were taken.

    Args: values – [steps, 2], no longer written to.
    """

    def __init__(self, values: Array, done: int) -> None:
        self._values = values
        self.done = done

    def losses(self, factor: float) -> list[float]:
        """The sums of the losses of the steps that were taken, multiplied by a factor."""
        found: list[float] = (self._values[: self.done, 0] * factor).tolist()
        return found

    def item(self, place: tuple[int, int]) -> float:
        """One of the numbers."""
        return float(self._values[place])


class StepLoop:
    """The program of a plan for launches of any number of steps, which reads data and scalars wherever those of a launch are.

    Attributes: minibatch – of the last step; fitting – steps of a launch that should take SECONDS.

    Args: plan; first – row of a minibatch with which those of the plan begin.
    """

    def __init__(self, plan: Any, first: int) -> None:
        self._plan = plan
        self._first = first
        self.minibatch = tuple(aligned_empty(array.shape, array.dtype) for array in plan.minibatch)
        self.fitting = 1
        self._step = np.zeros(1, np.int64)
        self._reserve(1)
        data = tuple(unwritten(array.shape, array.dtype) for array in plan.minibatch)
        indices = np.empty(plan.rows, np.int64)
        self._program = Replay([*plan.minibatch, *data, indices, self._scalars, self._results])
        self._build(data, indices)

    def _reserve(self, count: int) -> None:
        """Room for that many steps."""
        table = self._plan.work.state.table
        self._scalars = np.empty((count, table.size), table.dtype)
        self._results = np.empty((count, 2))

    def _build(self, data: tuple[Array, ...], indices: Array) -> None:
        plan, program, step, table = self._plan, self._program, self._step, self._plan.work.state.table
        kernels = plan.backend._kernels

        def call(function: Callable[..., Any], dtype: Any, place: str, *arguments: Any) -> None:
            kernel = kernels.kernel(function, np.dtype(dtype))
            moved = sum(int(a.nbytes) for a in kernel.written(arguments))
            label = Label(kernel.name, place, "launch", 0, moved)
            program.kernel(kernel, label, *arguments)

        def gather(shard: int) -> None:
            first, stop = plan.edges[shard], plan.edges[shard + 1]
            batch = plan.rows if plan.batch is None else plan.batch
            for source, out in zip(data, plan.minibatch, strict=True):
                rows = _words(out)[first:stop]
                call(kernels.gather, np.int32, "data", _words(source), indices, step, batch, self._first + first, rows)

        def scalars() -> None:
            given = self._scalars.reshape(-1)
            call(kernels.scalars_of_step, table.dtype, "parameters", given, step, table.reshape(-1))

        def end(sums: Array, scales: Array) -> None:
            call(kernels.end_step, scales.dtype, "parameters", sums, scales, self._results.reshape(-1), step, program.stop)
            for tape in plan.tapes:
                if tape.drawn is not None:
                    call(kernels.next_random, np.uint32, "parameters", tape.drawn)

        plan.add_passes(program, gather)
        plan.add_update(program, scalars, end)
        program.finish()

    def run(
        self, data: Minibatch, indices: Array, number: int, scalars: Array, threads: int, limit: float
    ) -> StepSums:  # fmt: skip
        """Takes as many steps as there are rows of scalars; see RepeatedSteps.run.

        Args: data – all rows; limit – seconds after which it ends early.
        """
        count = len(scalars)
        if count > len(self._scalars):
            self._reserve(count)
        self._scalars[:count] = scalars
        self._step[0] = 0
        for tape in self._plan.tapes:
            tape.set_step(number, self._first)
        start = time.perf_counter()
        shared = self._plan.shared
        if shared is not None:
            shared.tell()
        sources = (*self.minibatch, *data, indices, self._scalars, self._results)
        with single_threaded_blas:
            self._program.run(sources, threads, steps=count, seconds=limit)
        if shared is not None:
            shared.hear()
        done = int(self._step[0])
        self.fitting = max(1, int(SECONDS * max(done, 1) / (time.perf_counter() - start)))
        self._plan.work.state.t = number - 1 + done
        return StepSums(self._results[: done + 1].copy(), done)


class RepeatedSteps:
    """Any number of steps on minibatches of `rows` rows each, which are gathered from arrays.

    It has the calls of the plan of single steps, and gives their bits. It stops before the update of a step whose loss or
    gradient is not finite.

    Attributes: rows; refusal – why steps go one by one, "" where they do not.

    Args: executor; data – as a minibatch, but all rows; most – steps of a launch, None for as many as take SECONDS.
    """

    def __init__(self, executor: Any, data: Minibatch, rows: int, most: int | None) -> None:
        self.rows = rows
        self.refusal = ""
        self._executor = executor
        self._data = in_rows(data)
        self._most = most
        self._loop: StepLoop | None = None
        self._agreed: int | None = None  # steps of the next launch that fit, as rank 0 has measured them

    @property
    def minibatch(self) -> Minibatch:
        """That of the last step, until the next one."""
        assert self._loop is not None
        return self._loop.minibatch

    def next(self, left: int) -> int:
        """Steps of the next launch, where this is ready, and `left` whole minibatches are left; 0 for a single step."""
        assert self._loop is not None
        fitting = self._loop.fitting if self._agreed is None else self._agreed
        return min(left, fitting if self._most is None else self._most)

    def ready(self) -> bool:
        """Whether steps can be launched with the settings that hold now; otherwise `refusal` says why not."""
        executor, division, together = self._executor, self._executor.work.division, self._executor.work.communicator
        first, stop = division.own(self.rows)
        own = tuple(source[first:stop] for source in self._data)
        planned = executor.planned(own) if together is None else executor.joint(own, MicroBatch(first, self.rows, False))
        if planned is None:
            self.refusal = "gradients are summed over processes in each step"
            return False
        plan, self._threads = planned
        if not plan.updates:
            self.refusal = getattr(plan, "reason", "the update of the parameters takes more than one call")
            return False
        if plan.loop is None:
            plan.loop = StepLoop(plan, first)
        self._loop = plan.loop
        if together is not None and self._most is None:
            self._agreed = int(together.sum_numbers([float(plan.loop.fitting) if together.first else 0.0])[0])
        return True

    def run(self, indices: Array, number: int, scalars: Array) -> StepSums:
        """Takes the steps, where this is ready.

        Args: indices – the row indices, minibatch after minibatch; number – of the first step; scalars – a row for each step,
            from `scalars_for_steps` of the state.
        """
        assert self._loop is not None
        executor = self._executor
        limit = 2.0 * SECONDS if self._most is None and executor.work.communicator is None else math.inf
        sums = self._loop.run(self._data, indices, number, scalars, self._threads, limit)
        executor.sums_apart = executor.work.communicator is not None
        return sums


def _words(rows: Array) -> Array:
    """A matrix of 32-bit words with the same rows, whatever they hold."""
    return rows.reshape(len(rows), -1).view(np.int32)
