"""The memory that a step needs, from a formula, and the time of its operations, measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

from ...backends import Array
from ...backends.profiling import Part
from .snapshot import Snapshot

Step = Any
"""A TrainStep, which imports this module."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a step needs for one minibatch size.

    parameters = (s + c) P; gradient = s P; state = s k P; shards = s (T - 1) P'; buffers = a + b B. Here s is the size of a
    number in bytes, c its size in the 16-bit copy of the parameters (0 without one), P the number of elements in the arena, k
    the number of optimiser states, T the number of shards, P' the number of gradient elements that each shard sums separately,
    and B the number of rows, those of this process; a and b depend on the network. Where processes share memory, shards also
    includes the gradient of this process that lies there. The minibatch itself, which a Trainer gathers in one
    buffer of its size, and the memory of the array library are not included.
    """

    parameters: int
    gradient: int
    state: int
    shards: int
    buffers: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(getattr(self, f.name) for f in fields(self))

    def __str__(self) -> str:
        parts = ", ".join(f"{f.name} {getattr(self, f.name) / 1e6:.1f}" for f in fields(self))
        return f"{self.total / 1e6:.1f} MB: {parts}"


def memory_of(step: Step, rows: int) -> Memory:
    """See TrainStep.memory."""
    arena = step.model.arena
    first, stop = step.division.own(rows)
    rows = max(1, stop - first)
    size = int(arena.values.nbytes)
    small, large = (_buffers(step, count) for count in (1, 2))
    derivative = large - small
    shards = step.executor.extra_gradients(rows) * (size // max(arena.size, 1))
    copied = 0 if step.weights is None else int(step.weights.nbytes)
    return Memory(size + copied, size, step.state.nbytes, shards, small + derivative * (rows - 1))


def _buffers(step: Step, rows: int) -> int:
    """Bytes of the buffers that a tape allocates in a forward and backward pass over that many rows."""
    backend, model = step.backend, step.model
    given: list[Array] = []

    def allocate(_: int, shape: tuple[int, ...], dtype: str) -> Array:
        given.append(backend.empty(shape, dtype))
        return given[-1]

    tape = step.new_tape(model.arena.new(), allocate=allocate)
    tape.begin(rows)
    with backend.quiet():
        inputs = backend.zeros((rows, int(model.inputs or 1)), step.inputs_in)
        width = step.chain.output_width(int(inputs.shape[1]))
        targets = step.training_loss.example(rows, width, backend, model.dtype)
        tape.class_weights = tape.class_weights or (1.0,) * width
        step.chain_with_loss.forward(inputs, targets, tape)
        step.chain_with_loss.backward(tape)
    return sum(int(a.nbytes) for a in given)


def profile_of(step: Step, inputs: Array, targets: Array, repeats: int) -> list[Part]:
    """See TrainStep.profile."""
    backend, state = step.backend, step.state
    saved = Snapshot(step)
    total = []
    try:
        for _ in range(repeats + 2):
            start = time.perf_counter()
            step.run(inputs, targets)
            backend.synchronize()
            total.append(time.perf_counter() - start)
        parts = step.executor.profile((inputs, targets), state.t, repeats)
    finally:
        saved.put_back()
    from statistics import median

    rest = median(total[2:]) - sum(p.seconds for p in parts)
    return [*parts, Part("step", "other", "interpreter and waiting", max(rest, 0.0), 0, 0)]
