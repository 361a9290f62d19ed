"""Captures several steps on device-resident arrays in one graph, so that they need only one launch.

Before the launch, the scalars of all steps are sent in one copy, and the row indices are copied. The graph gathers the
minibatches, advances the random numbers, and stores the results of each step until they are read.

Why 16 steps: for each launch the host submits about eight small calls (rows, scalars, results) of 6 to 12 µs each, so up to
0.1 ms, which is more than a device needs for a step of a small network. Divided among 16 steps this is 6 µs per step, as much
as five more operations of 1.3 µs in the graph; more steps would gain little and take longer to capture. These figures are
estimated from the costs of single calls, not measured on a device.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from typing import Any

from ..executors.base import Array, in_rows
from ..executors.passes import Minibatch

STEPS = 16
"""Default number of steps of a launch."""
Plan = Any
"""A GraphPlan, whose module imports this one."""


def steps_of_a_launch(minibatches: int, most: int) -> int:
    """Steps per launch, at most `most`, for the fewest launches per epoch, which include single steps that are left over."""
    return min(range(1, most + 1), key=lambda count: sum(divmod(minibatches, count)))


class Results:
    """Loss and sum of squares of the gradient for each of several steps, copied to the host when one of them is read.

    Attributes: done – number of steps.

    Args: backend; values – [steps, 2], which must not be overwritten any more.
    """

    def __init__(self, backend: Any, values: Array) -> None:
        self.done = int(values.shape[0])
        self._backend = backend
        self._values: Array | None = values
        self._host: Any = None

    def losses(self, factor: float) -> list[None]:
        """The sums of the losses, multiplied by a factor: None for each, as they are on the device."""
        del factor
        return [None] * self.done

    def item(self, place: tuple[int, int]) -> float:
        """The number at (step, column); the first call waits for the device and copies all of them."""
        if self._values is not None:
            self._host, self._values = self._backend.to_numpy(self._values), None
        return float(self._host[place])


class SeveralSteps:
    """`count` steps on minibatches of `rows` rows each, which are gathered from arrays of the device.

    It uses the plan of single steps of this shape. So it needs no buffers of its own except for scalars, row indices and
    results, and the bits are those of single steps. It can run only after the warm-up steps of that plan.

    Attributes: count, rows; refusal – why steps are not captured, together or at all, otherwise "".

    Args: executor; data – as a minibatch, but all rows; the graph contains their addresses.
    """

    def __init__(self, executor: Any, data: Minibatch, rows: int, count: int) -> None:
        self.executor = executor
        self.backend = backend = executor.backend
        self.count, self.rows = count, rows
        self._refusal = ""
        self._sources = in_rows(data)
        self._indices = backend.empty((count * rows,), "int64")
        tables = [table for table, _ in executor.work.state.tables]
        self._cuts = list(pairwise(accumulate((prod(table.shape) for table in tables), initial=0)))
        self._scalars = backend.empty((count, self._cuts[-1][1]), backend.dtype_name(tables[0]))
        self._send = backend.sender(self._scalars)
        self._results = backend.zeros((count, 2), backend.dtype_name(executor.work.gradient))
        self._plan: Plan = None
        self._graph: Any = None

    @property
    def refusal(self) -> str:
        """See the class."""
        return str(self._refusal or self.executor.refusal)

    @property
    def minibatch(self) -> Minibatch:
        """That of the last step; overwritten by the next launch."""
        return self._plan.minibatch  # type: ignore[no-any-return]

    def next(self, left: int) -> int:
        """Number of steps of the next launch, where this is ready and `left` whole minibatches remain; 0 for a single step."""
        return self.count if left >= self.count else 0

    def ready(self) -> bool:
        """Whether the next steps can be one launch; captures the graph if necessary.

        If not, the next step must be a single one: during the warm-up of a shape, after the features of the update changed, and
        after capture failed.
        """
        if self.refusal:
            return False
        with self.backend.exclusive():
            plan = self.executor.planned(tuple(source[: self.rows, ...] for source in self._sources))
            if plan is not self._plan:
                self._plan, self._graph = plan, None
            return plan.warm and (self._graph is not None or self._capture())

    def run(self, indices: Array, number: int, scalars: Any) -> Results:
        """Runs the steps; `ready` must have returned True.

        Args: indices – row indices, one minibatch after the other; number – of the first step; scalars – a row for each step,
            the result of OptimizerState.scalars_for_steps, on the host.
        Returns: loss and sum of squares of each step.
        """
        backend, state = self.backend, self.executor.work.state
        with backend.exclusive():
            backend.copy(indices, self._indices)
            self._send(scalars)
            self._plan.tape.set_step(number)
            state.set_step(number)
            self._graph.launch()
            state.t = number + self.count - 1
            return Results(backend, self._results.copy())

    def _capture(self) -> bool:
        """Captures the graph; returns whether that succeeded. After a failure `refusal` contains the reason."""
        state, backend = self.executor.work.state, self.backend
        before = state.t
        try:
            with backend.apart():
                backend.fill(self._indices, 0)
                self._bring(0)  # once outside of capture, to compile its kernels
                self._move_on()
                self._graph = backend.capture(self._steps)
        except backend.capture_errors as error:
            self._refusal = self.executor.say(error, f"takes these steps one by one, because capturing {self.count} of them")
        finally:
            state.t = before
        return self._graph is not None

    def _steps(self) -> None:
        for k in range(self.count):
            self._bring(k)
            self._plan.step(self._results[k, ...])
            self._move_on()

    def _bring(self, k: int) -> None:
        """Copies the minibatch and the scalars of step k to the arrays from which a step reads them."""
        chosen = self._indices[k * self.rows : (k + 1) * self.rows]
        for source, out in zip(self._sources, self.minibatch, strict=True):
            self.backend.take_rows(source, chosen, out)
        for (start, stop), (table, _) in zip(self._cuts, self.executor.work.state.tables, strict=True):
            self.backend.copy(self.backend.xp.reshape(self._scalars[k, start:stop], table.shape), table)

    def _move_on(self) -> None:
        """Advances the random numbers to the next step."""
        self._plan.tape.advance()
        self.executor.work.state.advance()
