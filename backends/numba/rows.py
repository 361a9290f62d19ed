"""Divides the rows of a minibatch among cores: each runs forward and backward separately, with one BLAS thread.

GEMMs then need no synchronisation between cores, and everything between them runs on all cores too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ...kernels.targets.gemm_choices import generation
from ..executors.base import Executor, MicroBatch, NotCapturable, in_rows, kinds_of
from ..executors.gradient_sums import Ready
from ..executors.passes import Minibatch, forward_backward
from ..profiling import Part, median_of, merged
from ..threads import num_threads, single_threaded_blas
from .splitting import split_parameters
from .thread_pool import thread_pool

if TYPE_CHECKING:
    from .several import RepeatedSteps

LEAST_ROWS = 8
"""Rows below which a further core is not worth its hand-over."""

PARTS = 16
"""Parts that a deterministic step is cut into, whatever the number of threads."""


class RowExecutor(Executor):
    """Row-parallel forward, loss and backward.

    Where layers and loss are recordable, a pass is captured once for each shape, and then replayed by compiled code
    (framework code does not run again); else each core runs the layers' own code on its rows.
    The order of all sums depends on the number of threads, and on nothing else; in a deterministic step not even on it.

    Args: captures – whether passes may be captured.
    """

    def __init__(self, backend: Any, work: Any, captures: bool = True) -> None:
        super().__init__(backend, work)
        self._captures = captures

    def run(self, minibatch: Minibatch, number: int) -> tuple[Any, Any]:
        """See Executor.run; where a pass is replayed, the update is part of what is replayed."""
        minibatch = in_rows(minibatch)
        plan, threads = self.planned(minibatch)
        if plan.updates:
            total, squares = plan.step(minibatch, number, threads)
        else:
            total, squares = plan.gradient(minibatch, number, threads)
            with self.backend.quiet():
                self._update(total, squares)
        return total, squares

    def gradient(
        self, minibatch: Minibatch, number: int, micro_batch: MicroBatch | None = None, ready: Ready | None = None
    ) -> tuple[Any, Any]:
        """See Executor.gradient."""
        minibatch = in_rows(minibatch)
        plan, threads = self.planned(minibatch, micro_batch)
        total, squares = plan.gradient(minibatch, number, threads, micro_batch.first if micro_batch else 0, ready)
        return total, squares

    def profile(self, minibatch: Minibatch, number: int, repeats: int) -> list[Part]:
        """See Executor.profile; where a pass is replayed, as it runs, on all cores."""
        plan, threads = self.planned(minibatch)
        if isinstance(plan, InterpretedPlan):
            return super().profile(minibatch, number, repeats)
        runs = []
        for _ in range(repeats):
            self.work.state.begin()
            runs.append(plan.timed(minibatch, number, threads))
            if not plan.updates:
                runs[-1].append(self._timed_update(float(plan.squares.sum())))
        return merged(median_of(runs))

    def extra_gradients(self, rows: int) -> int:
        """See Executor.extra_gradients."""
        shards = self._shards(rows, num_threads())
        split = split_parameters(self.work, rows, shards) if self._replays() else ()
        return (shards - 1) * sum(int(p.size) for p in self.work.ranges if p not in split)

    def several(self, data: Minibatch, rows: int, minibatches: int, most: int | None) -> RepeatedSteps | None:
        """See Executor.several."""
        if minibatches < 2 or most == 1 or not self._replays() or self.work.state.one_by_one:
            return None
        from .several import RepeatedSteps

        return RepeatedSteps(self, data, rows, most)

    def _replays(self) -> bool:
        """Whether passes are captured."""
        return self._captures and self.work.recordable

    def _shards(self, rows: int, threads: int) -> int:
        return max(1, min(PARTS if self.work.deterministic else threads, rows // LEAST_ROWS))

    def planned(self, minibatch: Minibatch, micro_batch: MicroBatch | None = None) -> tuple[Any, int]:
        """The plan for minibatches like this one, with the settings that hold now, and the number of threads."""
        batch = None if micro_batch is None else micro_batch[1:]
        work, threads = self.work, num_threads()
        rows = int(minibatch[0].shape[0])
        shards = self._shards(rows, threads)
        kinds = kinds_of(minibatch)
        key = (shards, 0 if work.deterministic else threads, kinds, batch, work.state.features, generation())
        return self._plans.made(key, partial(self._plan, minibatch, shards, threads, batch)), threads

    def _plan(self, minibatch: Minibatch, shards: int, threads: int, batch: tuple[int, bool] | None) -> Any:
        reason = "layers or loss are not recordable"
        if self._replays():
            from .plan import RowsPlan

            try:
                return RowsPlan(self.backend, self.work, minibatch, shards, threads, batch)
            except NotCapturable as error:
                reason = f"a step contains {error}"
        return InterpretedPlan(self.backend, self.work, int(minibatch[0].shape[0]), shards, batch, reason)


class InterpretedPlan:
    """Each core runs the layers' code on its rows; their gradients are added up in one more pass over the cores.

    Attributes: reason – why nothing is captured, in words.
    """

    updates = False

    def __init__(
        self, backend: Any, work: Any, rows: int, shards: int, batch: tuple[int, bool] | None, reason: str
    ) -> None:  # fmt: skip
        self.backend = backend
        self.reason = reason
        self.work = work
        self.batch, adds = batch or (rows, False)
        edges = [rows * k // shards for k in range(shards + 1)]
        self.gradients = [work.gradient]
        self.gradients += [backend.zeros(work.gradient.shape, str(work.gradient.dtype)) for _ in edges[2:]]
        self.shards = [
            (work.new_tape(gradient, start, adds=adds and not start), start, stop)
            for gradient, start, stop in zip(self.gradients, edges[:-1], edges[1:], strict=True)
        ]

    def _shard(self, minibatch: Minibatch, number: int, first: int, tape: Any, start: int, stop: int) -> Any:
        tape.begin(stop - start, self.batch)
        tape.set_step(number, first)
        with self.backend.quiet():
            return forward_backward(self.work, tape, tuple(array[start:stop] for array in minibatch))

    def gradient(
        self, minibatch: Minibatch, number: int, threads: int, first: int = 0, ready: Ready | None = None
    ) -> tuple[Any, Any]:
        """(sum of the losses, sum of the squares of the gradient); `first` – as in MicroBatch."""
        del ready  # nothing is told before the end
        shards = [partial(self._shard, minibatch, number, first, *shard) for shard in self.shards]
        with single_threaded_blas:
            totals = thread_pool().map(shards, threads)
        return sum(totals[1:], start=totals[0]), self.backend.fold(self.gradients)
