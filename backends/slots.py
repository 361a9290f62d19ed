"""Slots: buffers for a minibatch that a loader fills on the host while the backend processes another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any
Kind = tuple[tuple[int, ...], str]
"""Shape of an array and name of its dtype."""


class Slot:
    """Arrays of one minibatch, on the host and on the backend; on CPU backends both are the same arrays.

    The loader's thread calls `begin`, fills `host` and calls `send`; then the thread that runs the step calls `receive`, and
    `release` after it has submitted the step.

    Args: backend; kinds – (shape, dtype) of each array, for the largest minibatch.
    """

    def __init__(self, backend: Any, kinds: Sequence[Kind]) -> None:
        self._backend = backend
        self.host: tuple[np.ndarray[Any, Any], ...] = tuple(np.empty(shape, dtype) for shape, dtype in kinds)
        self._own: tuple[Array, ...] = tuple(
            host if backend.is_array(host) else backend.empty(*kind) for host, kind in zip(self.host, kinds, strict=True)
        )

    def begin(self) -> None:
        """Waits until `host` may be overwritten."""

    def send(self, rows: int) -> None:
        """Starts copying the first rows of `host` to the backend."""
        for host, own in zip(self.host, self._own, strict=True):
            if own is not host:
                self._backend.copy(host[:rows], own[:rows, ...])

    def receive(self, rows: int) -> tuple[Array, ...]:
        """The arrays on the backend, for work that is submitted after this call."""
        return tuple(own[:rows, ...] for own in self._own)

    def release(self) -> None:
        """Marks that no later work reads these arrays until the next `receive`."""

    def close(self) -> None:
        """Waits until all copies are finished."""
