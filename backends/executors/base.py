"""Base class of executors: the interface of the step that they run, and the cache of plans."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from ..bounded_cache import BoundedCache
from ..communicators.communicator import Communicator
from ..communicators.division import Division
from ..profiling import Label, Part, TimedBackend, median_of, merged
from .gradient_sums import Ready, gradient_sum
from .passes import Minibatch, forward_backward

Array = Any


class NotCapturable(Exception):
    """The pass did something that cannot be captured, so the layers have to be called in every step."""


def in_rows(minibatch: Minibatch) -> Minibatch:
    """The arrays of a minibatch, copied to contiguous row-major arrays if necessary, because captured kernels expect these."""
    for array in minibatch:
        if not array.flags.c_contiguous:
            return tuple(a if a.flags.c_contiguous else a.copy(order="C") for a in minibatch)
    return minibatch


def kinds_of(minibatch: Minibatch) -> tuple[Any, ...]:
    """Shapes and types of the arrays of a minibatch, by which its plan is found."""
    inputs, targets = minibatch[:2]
    kinds = (inputs.shape, inputs.dtype, targets.shape, targets.dtype)
    return kinds if len(minibatch) == 2 else (*kinds, *((a.shape, a.dtype) for a in minibatch[2:]))


class MicroBatch(NamedTuple):
    """The position of some rows in a minibatch: index of the first row, and number of rows of the minibatch; adds – whether
    their gradient is added to that of the rows before, or replaces what is there.
    """

    first: int
    batch: int
    adds: bool = True


class Work(Protocol):
    """A step as its executor sees it.

    Attributes: chain_with_loss – the layers and the loss, with forward and backward; gradient – flat array for the gradient;
        state – OptimizerState: `begin`, then `apply` or the call that `update` describes; ranges – (start, stop) of each
        parameter in the gradient; deterministic – whether the bits must not depend on the number of threads; recordable –
        whether layers and loss compute only through their tape and its backend, so that a pass may be captured; communicator –
        of the processes that train together, None for one alone; division – the rows of each of them.
    """

    chain_with_loss: Any
    state: Any
    deterministic: bool
    communicator: Communicator | None
    division: Division

    @property
    def gradient(self) -> Array:
        """Flat array for the gradient."""

    @property
    def ranges(self) -> Mapping[Any, tuple[int, int]]:
        """(start, stop) of each parameter in the gradient."""

    @property
    def recordable(self) -> bool:
        """Whether a pass may be captured and replayed."""

    def new_tape(
        self, gradients: Any, first_row: int = 0, backend: Any = None, allocate: Callable[..., Array] | None = None,
        adds: bool = False,
    ) -> Any:  # fmt: skip
        """A Tape for rows from `first_row` on; adds – whether to add to existing gradients; see framework/engine/tape.py."""


class Executor:
    """Runs the steps of one Work on one backend."""

    launches_sums: ClassVar[bool] = False
    """Whether launches of several steps may have sums over processes in them."""

    def __init__(self, backend: Any, work: Work) -> None:
        self.backend = backend
        self.work = work
        self._plans = BoundedCache()
        self._buffers: dict[int, Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the plans, which contain buffers and addresses of this object."""
        return {**self.__dict__, "_plans": BoundedCache(), "_buffers": {}}

    def run(self, minibatch: Minibatch, number: int) -> tuple[Any, Any]:
        """One step: the gradient, then the update. `state.begin` has already sent its scalars.

        If loss or gradient is not finite, the update changes nothing. Does not wait for the device.

        Args: minibatch – arrays with the same number of rows; number – of the step, for its random numbers.
        Returns: as `gradient`.
        """
        with self.backend.quiet():
            total, squares = self.gradient(minibatch, number)
            self._update(total, squares)
        return total, squares

    def run_own(self, minibatch: Minibatch, rows: int, number: int) -> tuple[Any, Any]:
        """As `run`, in one of several processes, each of which takes its rows at once.

        Args: minibatch – the rows of this process, at least one; rows – of the whole minibatch, of all processes.
        """
        return self.run_micro_batches((minibatch,), rows, number)

    def run_micro_batches(self, micro_batches: Iterable[Minibatch], rows: int, number: int) -> tuple[Any, Any]:
        """As `run`, for a minibatch in micro-batches: their gradients are added, followed by one update.

        Args: micro_batches – arrays of consecutive rows, of this process where several train together; each is used before the
            next one is requested; rows – total number of rows, of all processes.
        """
        first, _ = self.work.division.own(rows)
        summed = gradient_sum(self.backend, self.work, rows, self._buffers)
        for minibatch in micro_batches:
            stop = first + int(minibatch[0].shape[0])
            with self.backend.quiet():
                adds, ready = summed.before(stop)
                summed.add(*self.gradient(minibatch, number, MicroBatch(first, rows, adds), ready), stop)
            first = stop
        with self.backend.quiet():
            total, squares = summed.finished()
            self._update(total, squares)
        return total, squares

    def several(self, data: Minibatch, rows: int, minibatches: int, most: int | None) -> Any:
        """An object that runs several steps in one launch, on rows of these arrays; see several.py of `cuda` and of `numba`.

        Args: data – as a minibatch, but all rows; rows – of a minibatch; minibatches – number of whole minibatches of an epoch;
            most – largest number of steps per launch, None for the default of the backend.
        Returns: None if this executor runs steps one by one.
        """

    def forget(self) -> None:
        """Drops all plans with their buffers; they are created again when needed."""
        self._plans.clear()
        self._buffers.clear()

    def complete_gradient(self) -> None:
        """Puts the gradient of the last step into `work.gradient`; the sum over several processes may be elsewhere."""

    def _update(self, total: Any, squares: Any) -> None:
        # The update checks only `squares`, so NaN or infinity of the loss is added to it.
        self.work.state.apply(self.work.gradient, squares + 0.0 * total)

    def gradient(
        self, minibatch: Minibatch, number: int, micro_batch: MicroBatch | None = None, ready: Ready | None = None
    ) -> tuple[Any, Any]:
        """Forward, loss and backward without the update, writing to `work.gradient`; called within `quiet` of the backend.

        Args: micro_batch – set if the rows are a part of a minibatch: losses and random numbers are those of the whole
            minibatch, and the result may be added to `work.gradient`; ready – may be called while the backward pass goes on,
            with the number of chunks of the gradient that are complete.
        Returns: (sum of the losses of the rows, sum of squares of the gradient), both scalars of the backend; of the steps of
            several processes the second is 0, as only the sum of their gradients counts.
        """
        raise NotImplementedError(f"{type(self).__name__} must define gradient")

    def profile(self, minibatch: Minibatch, number: int, repeats: int) -> list[Part]:
        """The time of each operation of a step, as the median over `repeats` steps; these steps change the parameters."""
        runs = []
        for _ in range(repeats):
            timed = TimedBackend(self.backend)
            tape = timed.tape = self.work.new_tape(self.work.gradient, 0, timed)
            tape.begin(int(minibatch[0].shape[0]))
            tape.set_step(number)
            with self.backend.quiet():
                forward_backward(self.work, tape, minibatch)
                tape.place, tape.stage = "gradient", "sum"
                squares = timed.sum_of_squares(self.work.gradient)
            runs.append([*timed.parts, self._timed_update(squares)])
        return merged(median_of(runs))

    def _timed_update(self, squares: Any) -> Part:
        state, gradient = self.work.state, self.work.gradient
        state.begin()
        self.backend.synchronize()
        start = time.perf_counter()
        with self.backend.quiet():
            self._update(0.0, squares)
        self.backend.synchronize()
        seconds = time.perf_counter() - start
        moved = (2 * len(state.states) + 3) * int(gradient.nbytes)
        return Label(state.formula.name, "parameters", "update", 0, moved).part(seconds)

    def extra_gradients(self, rows: int) -> int:  # noqa: ARG002
        """Number of elements in gradient buffers other than `work.gradient`, for minibatches of that many rows."""
        return 0
