"""The arena: all parameters of a model in one flat array, so that an optimiser update is one kernel call.

Gradients and optimiser states are arrays of the same layout.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

from ...backends import Array, Backend, Random
from ...backends.defaults.evaluator import Evaluator
from ...errors import StateError
from ...kernels.formulas.updates import masked
from ...kernels.interrupts import uninterrupted
from ..streams import INITIAL
from .parameter import Parameter

Result = TypeVar("Result")

ALIGNMENT = 64
"""Each parameter starts at a multiple of this many elements, so that groups never share a vector register."""


class Training:
    """Decides which thread may use the parameters of a model: one that takes a step, or those that read all of them.

    A thread that waits to read comes before the next step, however quickly steps follow each other. The locks are taken in a
    way that an interrupt cannot leave one of them held.
    """

    def __init__(self) -> None:
        self._training: int | None = None  # the thread that is inside a step
        self.unlock()
        _every.add(self)

    def unlock(self) -> None:
        """New locks, for a child process: the threads that held the old ones do not exist there."""
        self._next, self._values = threading.RLock(), threading.RLock()

    def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """work(*arguments), which changes the parameters; waits for threads that read them.

        Raises: StateError if another thread is inside a step.
        """
        if self._is_inside():
            return work(*arguments)
        with self._values:
            self._training = threading.get_ident()
            try:
                return work(*arguments)
            finally:
                self._training = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """The same as a context, which takes some microseconds longer."""
        if self._is_inside():
            yield
            return
        with self._values:
            self._training = threading.get_ident()
            try:
                yield
            finally:
                self._training = None

    def _is_inside(self) -> bool:
        """Whether this thread is inside a step; if not, waits for threads that wait to read."""
        training = self._training
        if training is None:
            with self._next:
                return False
        if training != threading.get_ident():
            raise StateError(
                "expected one thread at a time to train a model; another one is in the middle of a step on the same parameters "
                "(or was, when this process was forked); use a separate model for each thread, or synchronise the threads"
            )
        return True

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Held while a thread copies or replaces all parameters; waits for the end of the step at hand.

        Raises: StateError, on entry, inside a step of the same thread.
        """
        if self._training == threading.get_ident():
            raise StateError(
                "expected to read or replace all parameters between two steps; got a call from inside a step, by a layer, a "
                "loss or a signal handler; call it after the step, for example in a callback of the Trainer"
            )
        with self._next, self._values:
            if self._training is not None:
                raise StateError(
                    "expected parameters between two steps; this process was forked while another thread was in the middle of "
                    "one; fork between steps, or start processes by the method spawn"
                )
            yield


_every: WeakSet[Training] = WeakSet()


def _after_fork() -> None:
    for training in _every:
        training.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Arena:
    """The layout of a model's parameters, and their values on one backend.

    Parameters with decay come first, followed by those without, each in the order of the model, so that the two default groups
    are two contiguous ranges. Gaps between parameters always contain zeros.

    Attributes: values – flat array with all parameters; views – parameter -> its part of `values`; ranges – parameter ->
    (start, stop); names – parameter -> name; mask – flat, 0 where an element was pruned and 1 elsewhere, None if nothing was
    pruned; set by `prune`. Every optimiser keeps pruned elements at exactly 0; users – the threads that use it; evaluators – of
    the model, by what follows its layers; behind – the array that has the trained parameters while `values` shows others, such
    as their average; None if `values` has them; edition – changes when anything but an update may have overwritten `values`;
    loads – number of times that parameters were loaded.

    Args: parameters – (name, declaration) of each, in the order of the model; backend; dtype – "float32" or "float64".
    """

    def __init__(self, parameters: Iterable[tuple[str, Parameter]], backend: Backend, dtype: str) -> None:
        self.backend = backend
        self.dtype = dtype
        self.names = {parameter: name for name, parameter in parameters}
        self.parameters = list(self.names)
        self.ranges: dict[Parameter, tuple[int, int]] = {}
        position = 0
        for parameter in sorted(self.parameters, key=lambda p: not p.decays):
            self.ranges[parameter] = (position, position + parameter.size)
            position += -(-parameter.size // ALIGNMENT) * ALIGNMENT
        self.size = position
        self.values = backend.zeros((self.size,), dtype)
        self.views = self.views_of(self.values)
        self.mask: Array | None = None
        self.behind: Array | None = None
        self.edition = self.loads = 0
        self.users = Training()
        self.evaluators: dict[Any, Evaluator] = {}

    @property
    def training(self) -> AbstractContextManager[None]:
        """A context in which a thread changes the parameters; see Training.step."""
        return self.users.step()

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """A context in which no step changes the parameters; see Training.between_steps. Earlier steps are finished."""
        with self.users.between_steps():
            self.backend.synchronize()  # steps on a device may still be running, on another stream
            yield

    @property
    def count(self) -> int:
        """Number of parameters."""
        return sum(p.size for p in self.parameters)

    def new(self) -> Array:
        """A flat array of zeros with this layout."""
        return self.backend.zeros((self.size,), self.dtype)

    def views_of(self, flat: Array) -> dict[Parameter, Array]:
        """Each parameter's part of a flat array, in its own shape; writing to it writes to the flat array."""
        xp = self.backend.xp
        return {p: xp.reshape(flat[start:stop], p.shape) for p, (start, stop) in self.ranges.items()}

    # Showing other parameters

    def show(self, others: Array) -> None:
        """Exchanges `values` with an array of this layout, for whoever evaluates or saves the model, until `show_trained`."""
        self.show_trained()
        with uninterrupted():
            self._exchange(others)
            self.behind = others

    def show_trained(self) -> None:
        """Undoes `show`, to the bit, so that `values` has the parameters that are trained."""
        if self.behind is not None:
            with uninterrupted():
                self._exchange(self.behind)
                self.behind = None

    def _exchange(self, others: Array) -> None:
        copy, held = self.backend.copy, self.backend.empty((self.size,), self.dtype)
        copy(self.values, held)
        copy(others, self.values)
        copy(held, others)

    @contextmanager
    def trained(self) -> Iterator[None]:
        """A context in which `values` has the trained parameters; afterwards it shows what it showed before."""
        shown = self.behind
        self.show_trained()
        try:
            yield
        finally:
            if shown is not None:
                self.show(shown)

    def prune(self, masks: Mapping[Parameter, Array]) -> None:
        """Sets elements to 0 permanently where the array of their parameter in `masks` is 0."""
        with self.between_steps():
            self.show_trained()
            if self.mask is None:
                self.mask = self.new()
                self.backend.fill(self.mask, 1.0)
            views = self.views_of(self.mask)
            for parameter, mask in masks.items():
                self.backend.copy(self.backend.asarray(mask, self.dtype), views[parameter])
            self.hold()

    def hold(self, flat: Array | None = None) -> None:
        """Sets the pruned elements of a flat array to 0, by default of `values`, after it was overwritten."""
        if flat is None:
            self.edition += 1
        if self.mask is not None:
            flat = self.values if flat is None else flat
            self.backend.map(masked, flat, flat, self.mask)

    def initialize(self, seed: int) -> None:
        """Draws all initial values on the host and copies them to the backend."""
        from ...backends import backend as find

        host = find("numpy")
        state = host.random_state(seed)
        for position, parameter in enumerate(self.parameters):
            shape = parameter.shape if len(parameter.shape) == 2 else (1, parameter.size)
            random = Random(state, INITIAL + position)
            drawn = parameter.initializer.fill(host, shape, parameter.fan_in, parameter.fan_out, random)
            self.backend.copy(
                self.backend.asarray(host.xp.reshape(drawn, parameter.shape), self.dtype), self.views[parameter]
            )

    def merged_ranges(self, group_of: Mapping[Parameter, int]) -> list[tuple[int, int, int]]:
        """(start, stop, group) of the longest ranges whose parameters belong to one group, including gaps."""
        runs: list[tuple[int, int, int]] = []
        for parameter, (start, stop) in sorted(self.ranges.items(), key=lambda item: item[1]):
            group = group_of[parameter]
            if runs and runs[-1][2] == group:
                runs[-1] = (runs[-1][0], stop, group)
            else:
                runs.append((start, stop, group))
        return runs
