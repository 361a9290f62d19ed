"""Runs a step as a list of NumPy calls that was written down once: no layer code, no look-ups, nothing allocated by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...kernels.targets.memory import unwritten
from ..executors.base import Array, NotRecordable, Piece, in_rows
from ..executors.passes import forward_backward
from ..executors.plain import PlainExecutor
from ..profiling import Label, Part, median_of, merged
from ..threads import single_threaded_blas
from .capture import CallCapture

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class ReplayExecutor(PlainExecutor):
    """As PlainExecutor; where layers and loss are recordable, a pass is captured once for each shape and run from then on."""

    def run(self, inputs: Array, targets: Array, number: int) -> tuple[Any, Any]:
        """See Executor.run."""
        plan = None if self.work.deterministic else self._plan(*(given := in_rows(inputs, targets)))
        if plan is None:
            return super().run(inputs, targets, number)
        with self.backend.quiet():
            total, squares = plan.run(*given, number), self.backend.sum_of_squares(self.work.gradient)
            self.work.state.apply(self.work.gradient, squares + 0.0 * total)
        return total, squares

    def gradient(self, inputs: Array, targets: Array, number: int, piece: Piece | None = None) -> tuple[Any, Any]:
        """See Executor.gradient."""
        if self.work.deterministic:
            with single_threaded_blas:
                return self._gradient(inputs, targets, number, piece)
        return self._gradient(inputs, targets, number, piece)

    def profile(self, inputs: Array, targets: Array, number: int, repeats: int) -> list[Part]:
        """See Executor.profile."""
        plan = self._plan(inputs, targets)
        if plan is None:
            return super().profile(inputs, targets, number, repeats)
        runs = []
        for _ in range(repeats):
            with self.backend.quiet():
                parts = plan.timed(inputs, targets, number)
                start = time.perf_counter()
                squares = self.backend.sum_of_squares(self.work.gradient)
                label = Label("squares", "gradient", "sum", 0, int(self.work.gradient.nbytes))
                runs.append([*parts, label.part(time.perf_counter() - start), self._timed_update(squares)])
        return merged(median_of(runs))

    def _plan(self, inputs: Array, targets: Array, batch: int | None = None) -> CallPlan | None:
        """The plan for a minibatch of that shape; None where layers or loss have to be asked each time.

        Args: batch – rows of the minibatch, where these are a piece of one.
        """
        key = (inputs.shape, inputs.dtype, targets.shape, targets.dtype, batch)
        plan: CallPlan | None = self._plans.get(key)
        return plan or self._plans.made(key, partial(self._capture, inputs, targets, batch))

    def _capture(self, inputs: Array, targets: Array, batch: int | None) -> CallPlan | None:
        if not self.work.recordable:
            return None
        try:
            return CallPlan(self.work, inputs, targets, batch)
        except NotRecordable:
            return None

    def _gradient(self, inputs: Array, targets: Array, number: int, piece: Piece | None) -> tuple[Any, Any]:
        inputs, targets = in_rows(inputs, targets)
        batch = None if piece is None else piece.batch
        plan = self._plan(inputs, targets, batch)
        if plan is None:
            return super().gradient(inputs, targets, number, piece)
        with self.backend.quiet():
            total = plan.run(inputs, targets, number, 0 if piece is None else piece.first)
            return total, self.backend.sum_of_squares(self.work.gradient)


class CallPlan:
    """The calls of one shape of minibatch, and their buffers."""

    def __init__(self, work: Any, inputs: Array, targets: Array, batch: int | None) -> None:
        # Recorded with arrays of their own, for those of a step may overlap; nothing is computed meanwhile.
        inputs, targets = unwritten(inputs.shape, inputs.dtype), unwritten(targets.shape, targets.dtype)
        capture = CallCapture()
        self.tape = capture.tape = tape = work.new_tape(work.gradient, 0, capture, adds=batch is not None)
        tape.begin(int(inputs.shape[0]), batch)
        self.total = forward_backward(work, tape, inputs, targets, capture.sum_up)
        capture.settle()
        self.calls: list[Call] = capture.calls
        self._labels = capture.labels
        self._sources: tuple[Array, ...] = (inputs, targets)
        self._moving = [(k, found) for k, call in enumerate(self.calls) if (found := self._find(call[1]))]

    def _find(self, arguments: Sequence[Any]) -> list[tuple[int, int, int]]:
        """(position, source, offset in bytes) of each argument that is a part of the minibatch."""
        found = []
        for position, argument in enumerate(arguments):
            if not isinstance(argument, np.ndarray):
                continue
            for number, source in enumerate(self._sources):
                offset = _place(argument) - _place(source)
                if 0 <= offset < max(source.nbytes, 1):
                    found.append((position, number, offset))
        return found

    def _move(self, sources: tuple[Array, ...]) -> None:
        """Makes the calls read another minibatch."""
        for k, found in self._moving:
            function, arguments = self.calls[k]
            moved = list(arguments)
            for position, number, offset in found:
                old, source = moved[position], sources[number]
                same = (old.shape, old.strides, old.dtype) == (source.shape, source.strides, source.dtype)
                moved[position] = source if same else np.ndarray(old.shape, old.dtype, source, offset, old.strides)
            self.calls[k] = (function, tuple(moved))
        self._sources = sources

    def run(self, inputs: Array, targets: Array, number: int, first: int = 0) -> float:
        """The sum of the losses; the gradient is in its place."""
        if inputs is not self._sources[0] or targets is not self._sources[1]:
            self._move((inputs, targets))
        self.tape.set_step(number, first)
        for function, arguments in self.calls:
            function(*arguments)
        return float(self.total)

    def timed(self, inputs: Array, targets: Array, number: int) -> list[Part]:
        """One run, call by call."""
        self._move((inputs, targets))
        self.tape.set_step(number)
        parts = []
        for label, (function, arguments) in zip(self._labels, self.calls, strict=True):
            start = time.perf_counter()
            function(*arguments)
            parts.append(label.part(time.perf_counter() - start))
        return parts


def _place(array: Array) -> int:
    place: int = array.__array_interface__["data"][0]
    return place
