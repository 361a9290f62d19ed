"""Divides the rows of a minibatch among cores: each runs forward and backward separately, with one BLAS thread.

GEMMs then need no synchronisation between cores, and everything between them runs on all cores too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import StateError
from ...kernels.targets.gemm_choices import generation
from ..communicators.communicator import OVERLAP
from ..executors.base import Executor, MicroBatch, NotCapturable, in_rows, kinds_of
from ..executors.gradient_sums import Ready
from ..executors.passes import Minibatch, forward_backward
from ..profiling import Part, median_of, merged
from ..threads import num_threads, single_threaded_blas
from .splitting import split_parameters
from .thread_pool import thread_pool

if TYPE_CHECKING:
    from .several import RepeatedSteps
    from .shared_sum import SharedSum

LEAST_ROWS = 8
"""Rows below which a further core is not worth its hand-over."""

PARTS = 16
"""Parts that a deterministic step is cut into, whatever the number of threads."""


class RowExecutor(Executor):
    """Row-parallel forward, loss and backward.

    Where layers and loss are recordable, a pass is captured once for each shape, and then replayed by compiled code
    (framework code does not run again); else each core runs the layers' own code on its rows.
    The order of all sums depends on the number of threads, and on nothing else; in a deterministic step not even on it.

    Attributes: sums_apart – whether the gradient of the last step is where several processes have added theirs.

    Args: captures – whether passes may be captured.
    """

    launches_sums = True

    def __init__(self, backend: Any, work: Any, captures: bool = True) -> None:
        super().__init__(backend, work)
        self._captures = captures
        self._able: dict[Any, bool] = {}
        self._shared: SharedSum | None = None
        self._asked = self.sums_apart = False

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory of these processes, as well."""
        return {**super().__getstate__(), "_able": {}, "_shared": None, "_asked": False, "sums_apart": False}

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

    def run_own(self, minibatch: Minibatch, rows: int, number: int) -> tuple[Any, Any]:
        """See Executor.run_own; between processes of one host, the sum and the update are part of what is replayed."""
        minibatch = in_rows(minibatch)
        first, _ = self.work.division.own(rows)
        joint = self.joint(minibatch, MicroBatch(first, rows, False))
        if joint is None:
            return super().run_own(minibatch, rows, number)
        plan, threads = joint
        total, squares = plan.step(minibatch, number, threads, first)
        self.sums_apart = True
        return total, squares

    def joint(self, minibatch: Minibatch, part: MicroBatch) -> tuple[Any, int] | None:
        """As `planned`, for steps in which the processes of a host add their gradients in memory that they share.

        All processes ask for minibatches of the same kinds in the same order, and agree on each that is new.

        Returns: None in all of them where any cannot.
        """
        shared, state = self._memory_in_common(), self.work.state
        if shared is None:
            return None
        if state.features not in self._able:
            self._able[state.features] = state.update(self.work.gradient) is not None
        if not self._able[state.features]:
            return None
        planned = self.planned(minibatch, part, shared)
        if planned[0].agreed is None:
            key = (part.batch, *((a.shape[1:], a.dtype) for a in minibatch), state.features)
            planned[0].agreed = self._agreed(key, planned[0])
        return planned if planned[0].agreed else None

    def _agreed(self, key: Any, plan: Any) -> bool:
        """Whether all processes have captured their step on minibatches of a kind."""
        if key not in self._able:
            assert self.work.communicator is not None
            self._able[key] = all(self.work.communicator.gather(plan.updates))
        elif self._able[key] and not plan.updates:
            raise StateError(
                f"expected a step that can be captured, as it was before; got one that cannot: {plan.reason}; start the "
                f"training anew with {OVERLAP}=1, which does not share memory"
            )
        return self._able[key]

    def _memory_in_common(self) -> SharedSum | None:
        """Where the processes of a host add their gradients, made when it is first asked for."""
        if not self._asked:
            self._asked = True
            together = self.work.communicator
            if together is not None and self._replays() and not together.overlaps and not self.work.division.fixed:
                from .shared_sum import SharedSum

                room = together.shared_memory(SharedSum.size_for(self.work))
                self._shared = None if room is None else SharedSum(self.backend, self.work, room)
        return self._shared

    def complete_gradient(self) -> None:
        """See Executor.complete_gradient."""
        if self.sums_apart:
            assert self._shared is not None
            self.sums_apart = False
            self._shared.copy_to(self.work.gradient)

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
        own = (shards - 1) * sum(int(p.size) for p in self.work.ranges if p not in split)
        return own if self._shared is None else own + int(self._shared.own.size)

    def several(self, data: Minibatch, rows: int, minibatches: int, most: int | None) -> RepeatedSteps | None:
        """See Executor.several."""
        together = self.work.communicator
        if minibatches < 2 or most == 1 or not self._replays() or self.work.state.one_by_one:
            return None
        if together is not None and (self.work.division.fixed or rows < together.size):
            return None
        from .several import RepeatedSteps

        return RepeatedSteps(self, data, rows, most)

    def _replays(self) -> bool:
        """Whether passes are captured."""
        return self._captures and self.work.recordable

    def _shards(self, rows: int, threads: int) -> int:
        return max(1, min(PARTS if self.work.deterministic else threads, rows // LEAST_ROWS))

    def planned(
        self, minibatch: Minibatch, micro_batch: MicroBatch | None = None, shared: SharedSum | None = None
    ) -> tuple[Any, int]:
        """The plan for minibatches like this one, with the settings that hold now, and the number of threads.

        Args: shared – where the gradients of several processes are added within the step.
        """
        self.sums_apart = False
        batch = None if micro_batch is None else micro_batch[1:]
        work, threads = self.work, num_threads()
        rows = int(minibatch[0].shape[0])
        shards = self._shards(rows, threads)
        kinds = kinds_of(minibatch)
        key = (shards, 0 if work.deterministic else threads, kinds, batch, shared is None, work.state.features, generation())
        return self._plans.made(key, partial(self._plan, minibatch, shards, threads, batch, shared)), threads

    def _plan(
        self, minibatch: Minibatch, shards: int, threads: int, batch: tuple[int, bool] | None, shared: SharedSum | None
    ) -> Any:
        reason = "layers or loss are not recordable"
        if self._replays():
            from .plan import RowsPlan

            try:
                return RowsPlan(self.backend, self.work, minibatch, shards, threads, batch, shared)
            except NotCapturable as error:
                reason = f"a step contains {error}"
        return InterpretedPlan(self.backend, self.work, int(minibatch[0].shape[0]), shards, batch, reason)


class InterpretedPlan:
    """Each core runs the layers' code on its rows; their gradients are added up in one more pass over the cores.

    Attributes: reason – why nothing is captured, in words; agreed – as of RowsPlan.
    """

    updates = False
    agreed: bool | None = None

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
