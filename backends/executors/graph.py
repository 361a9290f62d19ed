"""Captures a whole step in a graph of the device once for each shape of minibatch, and replays it: one launch a step.

What the host has to say to a step, its scalars and its number, is written to the device before the launch; the minibatch is
copied to where it lay when the step was captured.
"""

from __future__ import annotations

import warnings
from typing import Any

from .base import Array, in_rows
from .passes import forward_backward
from .plain import PlainExecutor

WARM_UP = 2
"""Steps that run call by call before one is captured: kernels are compiled, products chosen, buffers made."""


class GraphExecutor(PlainExecutor):
    """As PlainExecutor; where layers and loss are recordable, a step is captured and then replayed.

    Attributes: refusal – why steps are not captured, "" where they are.
    """

    def __init__(self, backend: Any, work: Any) -> None:
        super().__init__(backend, work)
        self.refusal = ""

    def run(self, inputs: Array, targets: Array, number: int) -> tuple[Any, Any]:
        """See Executor.run."""
        if self.refusal or not self.work.recordable or not self.backend.captures:
            return super().run(inputs, targets, number)
        inputs, targets = in_rows(inputs, targets)
        kinds = (inputs.shape, inputs.dtype, targets.shape, targets.dtype)
        key = (*kinds, self.work.revision, self.work.state.largest)
        plan: GraphPlan = self._plans.made(key, lambda: GraphPlan(self, inputs, targets))
        return plan.run(inputs, targets, number)

    def refuse(self, reason: BaseException) -> None:
        """From now on steps run call by call; said once."""
        self.refusal = f"{type(reason).__name__}: {reason}"
        warnings.warn(
            f"backend {self.backend.name!r} runs this step call by call, because capturing it failed ({self.refusal})",
            RuntimeWarning,
            stacklevel=2,
        )


class GraphPlan:
    """The graph of one shape of minibatch, its tape, and the arrays that it reads the minibatch from.

    Attributes: graph – None until it is captured; memory – of everything that a step allocates: nobody else may get it.
    """

    def __init__(self, executor: GraphExecutor, inputs: Array, targets: Array) -> None:
        self.executor = executor
        self.backend = backend = executor.backend
        self.memory = backend.graph_memory()
        self.inputs, self.targets = (backend.empty(a.shape, backend.dtype_name(a)) for a in (inputs, targets))
        self.tape = executor.work.new_tape(executor.work.gradient)
        self.results = backend.zeros((2,), backend.dtype_name(executor.work.gradient))
        self.graph: Any = None
        self._steps = 0

    def run(self, inputs: Array, targets: Array, number: int) -> tuple[Any, Any]:
        """One step; see Executor.run."""
        backend, state = self.backend, self.executor.work.state
        backend.copy(inputs, self.inputs)
        backend.copy(targets, self.targets)
        self.tape.set_step(number)
        if self.graph is None:
            with backend.apart(), self.memory():
                if self._steps < WARM_UP or not self._capture(state):
                    self._steps += 1
                    self._step()
        if self.graph is not None:
            state.t = number
            self.graph.launch()
        # A copy, because the next step writes to the same place, and a loss may be asked for later.
        results = self.results.copy()
        return results[0], results[1]

    def _capture(self, state: Any) -> bool:
        """Makes the graph, or remembers why it cannot be made."""
        before = state.t
        try:
            self.graph = self.backend.capture(self._step)
        except self.backend.capture_errors as error:
            self.executor.refuse(error)
        finally:
            state.t = before
        return self.graph is not None

    def _step(self) -> None:
        """The calls of a step, none of which may ask the device for anything."""
        work, backend, tape = self.executor.work, self.backend, self.tape
        tape.begin(int(self.inputs.shape[0]))
        with backend.quiet():
            total = forward_backward(work, tape, self.inputs, self.targets)
            squares = backend.sum_of_squares(work.gradient)
            work.state.apply(work.gradient, squares + 0.0 * total)
            self.results[0:1] = total
            self.results[1:2] = squares
