"""The arena: all parameters of a model in one flat array, so that an optimiser update is one kernel call.

Gradients and optimiser states are arrays of the same layout.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from ...backends import Array, Backend, Random
from ...backends.defaults.evaluator import Evaluator
from ...errors import StateError
from ...kernels.formulas.updates import masked
from ..streams import INITIAL
from .parameter import Parameter

ALIGNMENT = 64
"""Each parameter starts at a multiple of this many elements, so that groups never share a vector register."""


class Training:
    """The lock `with arena.training:`, held while a thread changes the parameters.

    Raises: StateError, on entry, if another thread holds it.
    """

    def __init__(self) -> None:
        # Reentrant, so that the same thread can continue if an interrupt has left the lock held.
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise StateError(
                "expected one thread at a time to train a model; another one is in the middle of a step on the same parameters "
                "(or was, when this process was forked); use a separate model for each thread, or synchronise the threads"
            )

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


class Arena:
    """The layout of a model's parameters, and their values on one backend.

    Parameters with decay come first, followed by those without, each in the order of the model, so that the two default groups
    are two contiguous ranges. Gaps between parameters always contain zeros.

    Attributes: values – flat array with all parameters; views – parameter -> its part of `values`; ranges – parameter ->
        (start, stop); names – parameter -> name; mask – flat, 0 where an element was pruned and 1 elsewhere, None if nothing
        was pruned; set by `prune`. Every optimiser keeps pruned elements at exactly 0; evaluators – of the model, by what
        follows its layers; edition – changes when anything but an update may have overwritten `values`.

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
        self.edition = 0
        self.training = Training()
        self.evaluators: dict[Any, Evaluator] = {}

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

    def prune(self, masks: Mapping[Parameter, Array]) -> None:
        """Sets elements to 0 permanently where the array of their parameter in `masks` is 0."""
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
