"""Captures several steps of a loop over device-resident arrays in one graph, so that they are one launch.

The scalars of all steps are sent in one copy before the launch, and so are the row indices. The device gathers the minibatches,
advances the random numbers, and stores the result of each step until it is read.

Why 16 steps: around the launch of a graph the host hands out about eight small tasks, rows, scalars, results, and each costs
it 6 to 12 µs, so up to 0.1 ms: more than the device needs for a step of a small network. Shared by 16 steps that is 6 µs for
each, as much as five more operations in its graph, at 1.3 µs; more steps would gain little and take longer to capture.
This is reckoned from the costs of single calls; no device has timed it.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from typing import Any, Protocol

from ..executors.base import Array, in_rows

STEPS = 16
"""Steps of a launch, where nobody says how many it has."""


def steps_of_a_launch(minibatches: int, most: int) -> int:
    """At most `most`, so that an epoch takes as few launches as it can, those of single steps that are left over among them."""
    return min(range(1, most + 1), key=lambda count: sum(divmod(minibatches, count)))


class StepPlan(Protocol):
    """A captured single step of one shape, whose buffers, tape and calls those of several steps use; see graph.py.

    Attributes: inputs, targets – where a step reads its minibatch; tape; warm – whether enough steps were taken call by call.
    """

    inputs: Array
    targets: Array
    tape: Any

    @property
    def warm(self) -> bool:
        """See the class."""

    def step(self, results: Array) -> None:
        """The calls of a step; results – [2], for its numbers."""


class Results:
    """Loss and squares of the gradient of each of several steps, on the device until one of them is asked for.

    Attributes: done – steps that were taken.

    Args: backend; values – [steps, 2], no longer written to.
    """

    def __init__(self, backend: Any, values: Array) -> None:
        self.done = int(values.shape[0])
        self._backend = backend
        self._values: Array | None = values
        self._host: Any = None

    def item(self, place: tuple[int, int]) -> float:
        """One of the numbers; the first question waits for the device and brings all of them."""
        if self._values is not None:
            self._host, self._values = self._backend.to_numpy(self._values), None
        return float(self._host[place])


class SeveralSteps:
    """`count` steps on minibatches of `rows` rows each, which are gathered from arrays of the device.

    It works with the plan that single steps of this shape have as well, so that it costs no buffers of its own but for what
    the host says, and gives their bits. It takes no step before that plan is warm.

    Attributes: count, rows; refusal – why steps are not captured, together or at all, "" where they are.

    Args: executor; inputs, targets – whole arrays; they may not be moved as long as this lives.
    """

    def __init__(self, executor: Any, inputs: Array, targets: Array, rows: int, count: int) -> None:
        self.executor = executor
        self.backend = backend = executor.backend
        self.count, self.rows = count, rows
        self._refusal = ""
        self._sources = in_rows(inputs, targets)
        self._indices = backend.empty((count * rows,), "int64")
        tables = [table for table, _ in executor.work.state.tables]
        self._cuts = list(pairwise(accumulate((prod(table.shape) for table in tables), initial=0)))
        self._scalars = backend.empty((count, self._cuts[-1][1]), backend.dtype_name(tables[0]))
        self._send = backend.sender(self._scalars)
        self._results = backend.zeros((count, 2), backend.dtype_name(executor.work.gradient))
        self._plan: StepPlan | None = None
        self._graph: Any = None

    @property
    def refusal(self) -> str:
        """See the class."""
        refused: str = self._refusal or self.executor.refusal
        return refused

    @property
    def minibatch(self) -> tuple[Array, Array]:
        """Inputs and targets of the last step, until the next one."""
        assert self._plan is not None
        return self._plan.inputs, self._plan.targets

    def next(self, left: int) -> int:
        """Steps of the next launch, where `left` whole minibatches are left in the epoch; 0 for a single step."""
        return self.count if left >= self.count and not self.refusal else 0

    def ready(self) -> bool:
        """Whether the next steps can go in one launch; otherwise a step has to be taken by itself.

        That is so for the first steps of a shape, after a setting of the network was changed, and where capture was refused.
        """
        if self.refusal:
            return False
        with self.backend.exclusive():
            plan = self.executor.planned(*(source[: self.rows, ...] for source in self._sources))
            if plan is not self._plan:
                self._plan, self._graph = plan, None
            return plan.warm and (self._graph is not None or self._capture(plan))

    def run(self, indices: Array, number: int, scalars: Any) -> Results:
        """Takes the steps, where this is ready.

        Args: indices – the row indices, minibatch after minibatch; number – of the first step; scalars – a row for each step,
            from `scalars_for_steps` of the state, on the host.
        """
        assert self._plan is not None
        backend, state = self.backend, self.executor.work.state
        with backend.exclusive():
            backend.copy(indices, self._indices)
            self._send(scalars)
            self._plan.tape.set_step(number)
            state.set_step(number)
            self._graph.launch()
            state.t = number + self.count - 1
            return Results(backend, self._results.copy())

    def _capture(self, plan: StepPlan) -> bool:
        """Makes the graph, or remembers why it cannot be made."""
        state, backend = self.executor.work.state, self.backend
        before = state.t
        try:
            with backend.apart():
                backend.fill(self._indices, 0)
                self._bring(0, plan)  # once by itself, so that its kernels are there
                self._move_on(plan)
                self._graph = backend.capture(self._steps)
        except backend.capture_errors as error:
            self._refusal = self.executor.say(error, f"takes these steps one by one, because capturing {self.count} of them")
        finally:
            state.t = before
        return self._graph is not None

    def _steps(self) -> None:
        plan = self._plan
        assert plan is not None
        for k in range(self.count):
            self._bring(k, plan)
            plan.step(self._results[k, ...])
            self._move_on(plan)

    def _bring(self, k: int, plan: StepPlan) -> None:
        """The minibatch of step k, and its scalars, to where the step reads them."""
        chosen = self._indices[k * self.rows : (k + 1) * self.rows]
        for source, out in zip(self._sources, (plan.inputs, plan.targets), strict=True):
            self.backend.take_rows(source, chosen, out)
        for (start, stop), (table, _) in zip(self._cuts, self.executor.work.state.tables, strict=True):
            self.backend.copy(self.backend.xp.reshape(self._scalars[k, start:stop], table.shape), table)

    def _move_on(self, plan: StepPlan) -> None:
        """Random numbers to those of the next step."""
        plan.tape.advance()
        self.executor.work.state.advance()
