"""Rows, columns and sums of the cuda backend, by the hand-written kernels of kernels/rows/cuda.

A mixin: arrays, launches and buffers are those of the class that it is mixed into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..base import Array, Backend, Scalar


class CudaRows(Backend):
    """Operations on whole rows and columns; stands before the backend that it is mixed with."""

    def _take_row_kernels(self) -> None:
        """Imports the kernels, and with them Numba: only once a backend is made."""
        from ...kernels.rows.cuda import launches, sums

        self._launches, self._sums = launches, sums
        self.row_table = launches.ROWS

    @property
    def _row_target(self) -> Any:
        return self._launches.Device(self._launch, self.exclusive, self._scratch, self._counters, self._one)

    def _one(self, like: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define _one")

    def _launch(self, kernel: Any, geometry: Any, arguments: Sequence[Any]) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _launch")

    def _scratch(self, like: Array) -> Callable[[int], Array]:
        raise NotImplementedError(f"{type(self).__name__} must define _scratch")

    def _counters(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define _counters")

    # Reductions

    def _sum(self, function: Callable[..., Any], x: Array) -> Scalar:
        out = self.empty((1,), "float64" if x.dtype.name == "float64" else "float32")
        self._launches.run_sum(self._row_target, function, x.reshape(-1), out)
        return out.reshape(())

    def total(self, x: Array) -> Scalar:
        """In the precision of x, at least float32, compensated, as an array of no dimensions on the device; one launch."""
        self.require(x)
        return self._sum(self._sums.total, x) if x.size else super().total(x)

    def sum_of_squares(self, x: Array) -> Scalar:
        """In the precision of x, at least float32, compensated, as an array of no dimensions; one launch."""
        self.require(x)
        return self._sum(self._sums.sum_of_squares, x) if x.size else super().total(x)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float) -> None:
        """See Backend.limit_norm; nothing leaves the device."""
        self.require(scales)
        given = self.xp.asarray(squares, dtype=scales.dtype).reshape(1)
        self._launches.run_limit_norm(self._row_target, scales, given, largest)
