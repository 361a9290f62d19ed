"""A captured step: the calls of each core, and the division of weight gradients among threads.

Phases: (1) every shard of rows runs forward, loss and backward; (2) weight gradients that are split by rows of the weight are
computed; (3) all other gradients of the shards are added, and the squared norm of the gradient is computed; (4) the gradient is
checked for NaN and its norm clipped; (5) the parameters are updated. Where several processes of a host train together, they add
their gradients between (3) and (4), see shared_sum.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...kernels.targets.gemm_choices import planning
from ...kernels.targets.memory import aligned_empty, aligned_zeros, unwritten
from ...kernels.targets.native import address_of
from ..executors.gradient_sums import Ready, chunks
from ..executors.passes import Minibatch, forward_backward
from ..profiling import Label, Part
from ..threads import single_threaded_blas
from . import splitting
from .capture import Call, Capture
from .operations import LEAST_ELEMENTS as CHUNK
from .replay import Replay
from .splitting import LEAST_PART, split_parameters

if TYPE_CHECKING:
    from .shared_sum import SharedSum

Array = Any


class RowsPlan:
    """The program of one shape of minibatch, its tapes and buffers.

    Attributes: gradients – flat, where passes put the gradient; updates – whether the update of the parameters is part of it;
        minibatch – arrays that stand in for those of a step while it is captured, and are never written; loop – its program for
        launches of many steps, made when it is needed (see several.py); shared; agreed – whether other processes have such a
        plan as well, None until they were asked.

    Args: backend, work – see Executor; minibatch – one of that shape; shards – of its rows; threads; batch –
        rows of the minibatch, where these are a part of it, and whether the gradient is then added to what is there; shared –
        where the gradients of several processes are added within the step.
    Raises: NotCapturable.
    """

    agreed: bool | None = None

    def __init__(
        self, backend: Any, work: Any, minibatch: Minibatch, shards: int, threads: int,
        batch: tuple[int, bool] | None = None, shared: SharedSum | None = None,
    ) -> None:  # fmt: skip
        self.backend = backend
        self.work = work
        # Captured with separate arrays, because those of a step may overlap; nothing is computed during capture.
        self.minibatch = tuple(unwritten(array.shape, array.dtype) for array in minibatch)
        self.rows = int(minibatch[0].shape[0])
        self.batch: int | None = None if batch is None else batch[0]
        self._adds = batch is not None and batch[1]
        self.shared = shared
        self.gradients = work.gradient if shared is None else shared.own
        self.edges = [self.rows * k // shards for k in range(shards + 1)]
        self.totals = np.zeros(shards)
        self.squares = np.zeros(max(1, -(-self.gradients.size // CHUNK)))
        self._sums = np.zeros(2)
        self.parts_of_updates = shards if work.deterministic else threads
        split = split_parameters(work, self.rows, shards)
        while not self._divide(split):
            pass
        program = Replay(self.minibatch)
        self._stages: list[int] = []
        if work.communicator is not None and shared is None:
            self._add_stages(program)
            self.updates = False
        else:
            self.add_passes(program)
            self._without_update = program.phases
            self.updates = self.add_update(program)
        self.program = program.finish()
        self.loop: Any = None

    def _divide(self, split: set[Any]) -> bool:
        """Captures the shards, and finds the products of `split`; returns False after removing what cannot be split."""
        self._captures, self._split = [], {}  # of an attempt before: its buffers are free again
        self._captures = self._capture(split)
        self._split = {p: self._products(p, self._captures) for p in split}
        refused = {p for p, found in self._split.items() if found is None or not self._worth(p, found, len(self._captures))}
        split -= refused
        return not refused

    # Recording

    def _capture(self, split: set[Any]) -> list[Capture]:
        work, captures = self.work, []
        main = {p: self.gradients[a:b].reshape(p.shape) for p, (a, b) in work.ranges.items()}
        self.summed = [p for p in work.ranges if p not in split]
        self.parts: list[Mapping[Any, Array]] = []
        self.tapes = []
        shared: dict[int, Array] = {}
        for k, (start, stop) in enumerate(pairwise(self.edges)):
            gradients = main
            if k:
                own = {p: aligned_zeros(p.shape, self.gradients.dtype) for p in self.summed}
                self.parts.append(own)
                gradients = {**main, **own}
            capture = Capture()
            # In a micro-batch the first shard adds to the sum of all of them; the sums of the other shards are added later.
            adds = self._adds and k == 0
            tape = work.new_tape(gradients, start, capture, self._allocator(shared, start, stop), adds)
            capture.tape = tape
            tape.begin(stop - start, self.rows if self.batch is None else self.batch)
            summed = partial(capture.sum_up, out=self.totals[k : k + 1])
            forward_backward(work, tape, tuple(array[start:stop] for array in self.minibatch), summed)
            self.tapes.append(tape)
            captures.append(capture)
        return captures

    def _allocator(self, shared: dict[int, Array], start: int, stop: int) -> Any:
        """Buffers of a shard are rows of buffers of the whole minibatch, so that a product can span all of them."""

        def allocate(position: int, shape: tuple[int, ...], dtype: str) -> Array:
            if not shape or shape[0] != stop - start:
                return aligned_empty(shape, dtype)
            whole = shared.get(position)
            if whole is None or whole.shape[1:] != shape[1:] or whole.dtype != dtype:
                whole = shared[position] = aligned_empty((self.rows, *shape[1:]), dtype)
            return whole[start:stop]

        return allocate

    def _worth(self, parameter: Any, products: Sequence[Sequence[Call]], shards: int) -> bool:
        """Whether splitting is still worth it where products have more rows than samples, as those of a convolution."""
        rows = max(map(splitting.rows_of, products))
        return rows == self.rows or parameter.gathered or self.work.deterministic or splitting.splits_weights(
            parameter.shape[0], parameter.shape[1], rows, shards
        )

    def _products(self, parameter: Any, captures: Sequence[Capture]) -> list[list[Call]] | None:
        """The calls that make up the gradient of a parameter, one list for each with its calls by shard.

        None unless all of them can compute parts of it, and the operands of each span the whole minibatch in memory.
        """
        low, high = self.work.ranges[parameter]
        target = self.gradients[low:high]
        start, end = address_of(target), address_of(target) + target.nbytes
        by_shard: list[list[Call]] = []
        for capture in captures:
            mine: list[Call] = []
            for call in capture.calls:
                if not any(start <= address_of(a) < end for a in call.arrays if a.size):
                    if any(_overlap(w, x) for c in mine for x in c.arrays for w in call.written):
                        return None
                    continue
                if splitting.operands(call) is None or address_of(splitting.result(call)) != start:
                    return None
                mine.append(call)
            by_shard.append(mine)
        if len({len(calls) for calls in by_shard}) != 1 or not by_shard[0]:
            return None
        products = [list(group) for group in zip(*by_shard, strict=True)]
        for group in products:
            for operands in zip(*map(splitting.operands, group), strict=True):
                for one, following in pairwise(operands):
                    if address_of(one) + one.nbytes != address_of(following):
                        return None
        return products

    # Building

    def add_passes(self, program: Replay, before: Callable[[int], object] | None = None) -> None:
        """All phases before the update.

        Args: before – adds what comes first in the task of a shard; called with the number of the shard.
        """
        taken = {id(call) for found in self._split.values() for group in found or () for call in group}
        if self.shared is not None:
            self.shared.begin(program)
        with single_threaded_blas, planning(self.work.deterministic):
            for shard, capture in enumerate(self._captures):
                if before is not None:
                    before(shard)
                for call in capture.calls:
                    if id(call) not in taken:
                        program.call(call.entry, call.words, _label(call), call)
                program.end_task()
            program.end_phase()
            for found in self._split.values():
                self._add_parts(program, found or [])
            program.end_phase()
        if self.shared is None:
            self._add_sums(program)
        else:
            self._add_shards(program, 0, self.gradients.size)
            self.shared.add_to(program, self.totals)
        program.end_phase()

    def _add_stages(self, program: Replay) -> None:
        """All phases of a step of one of several processes, in stages: after each, a further chunk of the gradient is there."""
        taken = {id(call) for found in self._split.values() for group in found or () for call in group}
        calls = [capture.calls for capture in self._captures]
        last = {p: _last_call(calls[0], self.gradients[slice(*place)]) for p, place in self.work.ranges.items()}
        done, found = 0, chunks(self.work)
        with single_threaded_blas, planning(self.work.deterministic):
            for number, (low, high) in enumerate(found, 1):
                here = [p for p, (start, _) in self.work.ranges.items() if low <= start < high]
                stop = len(calls[0]) if number == len(found) else max([done, *(last[p] + 1 for p in here)])
                for of_shard in calls:
                    for call in of_shard[done:stop]:
                        if id(call) not in taken:
                            program.call(call.entry, call.words, _label(call), call)
                    program.end_task()
                program.end_phase()
                for parameter in here:
                    self._add_parts(program, self._split.get(parameter) or [])
                program.end_phase()
                self._add_shards(program, low, high)
                self._stages.append(program.phases)
                done = stop

    def _add_parts(self, program: Replay, products: Sequence[Sequence[Call]]) -> None:
        """A weight gradient, cut by its rows: each part is a task that takes all calls in turn."""
        if not products:
            return
        out = splitting.result(products[0][0])
        count = max(1, min(self.parts_of_updates, out.shape[0] // LEAST_PART))
        edges = [out.shape[0] * k // count for k in range(count + 1)]
        for low, high in pairwise(edges):
            for group in products:
                program.call(*splitting.part(group, low, high))
            program.end_task()

    def _add_sums(self, program: Replay) -> None:
        """Chunk by chunk: the shards' own gradients are added to the first one's, then the squares are summed."""
        kernels, gradient = self.backend._kernels, self.gradients
        square = kernels.kernel(kernels.sum_of_squares, gradient.dtype)
        for chunk in range(self.squares.size):
            low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, gradient.size)
            self._add_sum_of_shards(program, low, high)
            here = gradient[low:high]
            label = Label("squares", "gradient", "sum", 0, here.nbytes)
            program.kernel(square, label, here, self.squares[chunk : chunk + 1])
            program.end_task()

    def _add_shards(self, program: Replay, low: int, high: int) -> None:
        """A phase that adds the shards from `low` to `high` of the gradient, chunk by chunk."""
        for first in range(low, high, CHUNK):
            self._add_sum_of_shards(program, first, min(first + CHUNK, high))
            program.end_task()
        program.end_phase()

    def _add_sum_of_shards(self, program: Replay, low: int, high: int) -> None:
        """From `low` to `high` of the gradient: what the other shards have is added to that of the first one."""
        kernels, gradient = self.backend._kernels, self.gradients
        add = kernels.kernel(kernels.add_to, gradient.dtype)
        for parameter in self.summed if self.parts else ():
            start, stop = self.work.ranges[parameter]
            first, last = max(low, start), min(high, stop)
            if first >= last:
                continue
            here = gradient[first:last]
            for part in self.parts:
                other = part[parameter].reshape(-1)[first - start : last - start]
                label = Label("add shards", "gradient", "sum", 0, 3 * here.nbytes)
                program.kernel(add, label, here, other)

    def add_update(
        self, program: Replay, before: Callable[[], object] | None = None, after: Callable[[Array, Array], object] | None = None
    ) -> bool:
        """What `OptimizerState.apply` does, as far as it is one call of a formula; otherwise returns False.

        Args: before, after – add calls that one thread runs around `settle`; after – called with the sums that it writes, and
            with the row of scalars that it scales.
        """
        sums = self.shared or self
        update = self.work.state.update(self.gradients)
        if update is None:
            return False
        settle = self.backend._kernels.kernel(self.backend._kernels.settle, self.gradients.dtype)
        arguments = (sums.totals, sums.squares, update.largest, update.most, update.table[0], self._sums)
        if before is not None:
            before()
        program.kernel(settle, Label("settle", "gradient", "sum", 0, sums.squares.nbytes), *arguments)
        if after is not None:
            after(self._sums, update.table[0])
        program.end_task()
        program.end_phase()
        for part in (update,) if self.shared is None else self.shared.updates():
            for call in self.backend.update_calls(*part[:4], self.parts_of_updates):
                program.call(*call)
                program.end_task()
        program.end_phase()
        return True

    # Running

    def _replay(self, minibatch: Minibatch, number: int, threads: int, first: int = 0, **options: Any) -> None:
        for tape in self.tapes:
            tape.set_step(number, first)
        with single_threaded_blas:
            self.program.run(minibatch, threads, **options)

    def gradient(
        self, minibatch: Minibatch, number: int, threads: int, first: int = 0, ready: Ready | None = None
    ) -> tuple[Any, Any]:
        """(sum of the losses, sum of the squares of the gradient, see Executor.gradient); `first` – as in MicroBatch."""
        if not self._stages:
            self._replay(minibatch, number, threads, first, phases=(0, self._without_update))
            return self.totals.sum(), self.squares.sum()
        if ready is None:
            self._replay(minibatch, number, threads, first)
            return self.totals.sum(), 0.0
        done = 0
        for count, phases in enumerate(self._stages, 1):
            self._replay(minibatch, number, threads, first, phases=(done, phases))
            done = phases
            if count < len(self._stages):
                ready(count)
        return self.totals.sum(), 0.0

    def step(self, minibatch: Minibatch, number: int, threads: int, first: int = 0) -> tuple[Any, Any]:
        """As `gradient`, for the whole minibatch also where several processes have parts; the parameters are then updated."""
        # Counted before, for no interrupt can come between the parts of what is replayed.
        self.work.state.t += 1
        shared = self.shared
        if shared is not None:
            shared.tell()
        self._replay(minibatch, number, threads, first)
        if shared is not None:
            shared.hear()
        return self._sums[0], self._sums[1]

    def timed(self, minibatch: Minibatch, number: int, threads: int) -> list[Part]:
        """One run, call by call; what the threads do at the same time counts once."""
        times = np.zeros(len(self.program.labels), np.int64)
        self._replay(minibatch, number, threads, times=times)
        together = min(threads, self.program.width)
        return [label.part(ns * 1e-9 / together) for label, ns in zip(self.program.labels, times.tolist(), strict=True)]


def _last_call(calls: Sequence[Call], gradient: Array) -> int:
    """The place of the last call that has to do with a part of the gradient; -1 without one."""
    return max((k for k, call in enumerate(calls) if any(_overlap(a, gradient) for a in call.arrays if a.size)), default=-1)


def _label(call: Call) -> Label:
    return Label(call.name, call.place, call.stage, call.flop, call.bytes)


def _overlap(a: Array, b: Array) -> bool:
    """Whether two contiguous arrays share memory."""
    return bool(address_of(a) < address_of(b) + b.nbytes and address_of(b) < address_of(a) + a.nbytes)
