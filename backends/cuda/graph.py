"""Captures a whole step in a CUDA graph once for each minibatch shape, and replays it with one launch per step.

Before each launch, the scalars and the number of the step are written to the device, and the minibatch is copied to the arrays
that were used during capture.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from ..executors.base import Array, MicroBatch, in_rows, kinds_of
from ..executors.passes import Minibatch, forward_backward
from ..executors.plain import PlainExecutor
from .several import STEPS, SeveralSteps, steps_of_a_launch

WARM_UP = 2
"""Steps that run call by call before capture: they compile kernels, select algorithms and allocate buffers."""


class GraphExecutor(PlainExecutor):
    """A PlainExecutor that captures and replays steps if layers and loss are recordable.

    Attributes: refusal – why steps are not captured after a failure, otherwise "".
    """

    def __init__(self, backend: Any, work: Any) -> None:
        super().__init__(backend, work)
        self.refusal = ""

    @property
    def _captures(self) -> bool:
        return not self.refusal and bool(self.work.recordable and self.backend.captures)

    def run(self, minibatch: Minibatch, number: int) -> tuple[Any, Any]:
        """See Executor.run."""
        if not self._captures:
            return super().run(minibatch, number)
        with self.backend.exclusive():
            minibatch = in_rows(minibatch)
            return self.planned(minibatch).run(minibatch, number)

    def run_own(self, minibatch: Minibatch, rows: int, number: int) -> tuple[Any, Any]:
        """See Executor.run_own; the step is captured with the sum over the processes, if that is work on the stream."""
        together, (low, _) = self.work.communicator, self.work.division.own(rows)
        if together is None or not together.on_stream or not self._captures:
            return super().run_own(minibatch, rows, number)
        together.tell_wishes()
        with self.backend.exclusive():
            minibatch = in_rows(minibatch)
            return self.planned(minibatch, MicroBatch(low, rows)).run(minibatch, number)

    def several(self, data: Minibatch, rows: int, minibatches: int, most: int | None) -> SeveralSteps | None:
        """See Executor.several."""
        count = steps_of_a_launch(minibatches, STEPS if most is None else most)
        if count == 1 or not self._captures or self.work.state.one_by_one:
            return None
        return SeveralSteps(self, data, rows, count)

    def planned(self, minibatch: Minibatch, part: MicroBatch | None = None) -> GraphPlan:
        """The plan for minibatches of these shapes and types, on this lane and with the current features of the update.

        Args: part – which rows of a minibatch these are, if other processes have the others.
        """
        key = (self.backend.lane(), kinds_of(minibatch), self.work.state.features, part)
        plan: GraphPlan = self._plans.made(key, lambda: GraphPlan(self, minibatch, part))
        return plan

    def refuse(self, error: BaseException) -> None:
        """Makes all later steps run call by call, with one warning."""
        self.refusal = self.say(error, "runs this step call by call, because capturing it")

    def say(self, error: BaseException, what: str) -> str:
        """Warns that the backend does `what` failed because of `error`; returns the reason."""
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"backend {self.backend.name!r} {what} failed ({reason})", RuntimeWarning, stacklevel=2)
        return reason


class GraphPlan:
    """The graph for one minibatch shape, with its tape and the arrays from which it reads the minibatch.

    Attributes: minibatch – those arrays; tape; results – [2], see `step`; graph – None until it is captured.
    """

    def __init__(self, executor: GraphExecutor, minibatch: Minibatch, part: MicroBatch | None = None) -> None:
        self.executor = executor
        self._first, self._batch = part[:2] if part is not None else (0, int(minibatch[0].shape[0]))
        self._together = None if part is None else executor.work.communicator
        self.backend = backend = executor.backend
        self.minibatch = tuple(backend.empty(a.shape, backend.dtype_name(a)) for a in minibatch)
        self.tape = executor.work.new_tape(executor.work.gradient)
        self.results = backend.zeros((2,), backend.dtype_name(executor.work.gradient))
        self.graph: Any = None
        self._steps = 0

    @property
    def warm(self) -> bool:
        """Whether the warm-up steps have run, so that a step can be captured."""
        return self._steps >= WARM_UP

    def run(self, minibatch: Minibatch, number: int) -> tuple[Any, Any]:
        """One step; see Executor.run."""
        backend, state = self.backend, self.executor.work.state
        for given, own in zip(minibatch, self.minibatch, strict=True):
            backend.copy(given, own)
        self.tape.set_step(number, self._first)
        if self.graph is None:
            with backend.apart():
                if not self.warm or not self._capture(state):
                    self._steps += 1
                    self.step(self.results)
        if self.graph is not None:
            state.t = number
            self.graph.launch()
        # A copy, because the next step overwrites this array, and a loss may be read later.
        results = self.results.copy()
        return results[0], results[1]

    def _capture(self, state: Any) -> bool:
        """Captures the graph; returns whether that succeeded. After a failure all later steps run call by call."""
        before = state.t
        try:
            self.graph = self.backend.capture(partial(self.step, self.results))
        except self.backend.capture_errors as error:
            self.executor.refuse(error)
        finally:
            state.t = before
        return self.graph is not None

    def step(self, results: Array) -> None:
        """The calls of a step, none of which may wait for the device.

        Args: results – [2], output for the sum of the losses and the sum of squares of the gradient; with loss scaling, the
            second is the verdict of LossScale.
        """
        work, backend, tape = self.executor.work, self.backend, self.tape
        tape.begin(int(self.minibatch[0].shape[0]), self._batch)
        with backend.quiet():
            total = forward_backward(work, tape, self.minibatch)
            if self._together is not None:
                results[0:1] = total
                self._together.sum(results[0:1])
                self._together.sum(work.gradient)
                total = results[0]
            squares = backend.sum_of_squares(work.gradient)
            work.state.apply(work.gradient, squares + 0.0 * total)
            results[0:1] = total
            results[1:2] = work.state.verdict(squares)
