"""Rows, columns and sums of the cuda backend, by the hand-written kernels of kernels/rows/cuda.

A mixin: arrays, launches and buffers are those of the class that it is mixed into. What takes a buffer until its last launch
has the device to itself meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..base import Array, Backend, Scalar


class CudaRows(Backend):
    """Operations on whole rows and columns; stands before the backend that it is mixed with."""

    def _take_row_kernels(self) -> None:
        """Imports the kernels, and with them Numba: only once a backend is made."""
        from ...kernels.rows.cuda import columns, hinge, launches, normalization, softmax, sums

        self._columns, self._hinge, self._launches, self._normalization = columns, hinge, launches, normalization
        self._softmax, self._sums = softmax, sums

    def _one(self, like: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define _one")

    def _launch(self, kernel: Any, geometry: Any, arguments: Sequence[Any]) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _launch")

    def _scratch(self, like: Array) -> Callable[[int], Array]:
        raise NotImplementedError(f"{type(self).__name__} must define _scratch")

    def _counters(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define _counters")

    # Rows and columns

    def _run(self, function: Callable[..., Any], shape: tuple[int, ...], *arguments: Any) -> None:
        self._launches.run(function, shape[0], shape[1], arguments, self._launch)

    def softmax(self, x: Array, out: Array) -> None:
        """See Backend.softmax."""
        self.require(x, out)
        self._run(self._softmax.softmax, x.shape, x, out)

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
        losses: Array, gradient: Array, sums: Array | None = None, accumulate: bool = False, scale: Array | None = None,
    ) -> bool:  # fmt: skip
        """See Backend.softmax_cross_entropy; with the column sums in the same pass, before the gradient is rounded."""
        self.require(logits, labels, losses, gradient)
        one = self._one(losses)
        given = (logits, labels, one if weights is None else weights, on, off, factor, one if scale is None else scale)
        return self._cross_entropy(self._softmax.softmax_cross_entropy, (*given, losses, gradient), sums, accumulate)

    def softmax_cross_entropy_soft(
        self, logits: Array, targets: Array, factor: float, losses: Array, gradient: Array, sums: Array | None = None,
        accumulate: bool = False, scale: Array | None = None,
    ) -> bool:  # fmt: skip
        """See Backend.softmax_cross_entropy_soft; with the column sums in the same pass, before the gradient is rounded."""
        self.require(logits, targets, losses, gradient)
        given = (logits, targets, factor, self._one(losses) if scale is None else scale)
        return self._cross_entropy(self._softmax.softmax_cross_entropy_soft, (*given, losses, gradient), sums, accumulate)

    def _cross_entropy(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], sums: Array | None, accumulate: bool
    ) -> bool:
        if sums is not None:
            self.require(sums)
        losses = arguments[-2]
        with self.exclusive():
            return self._launches.run_cross_entropy(
                function, arguments, sums, accumulate, self._one(losses), self._scratch(losses), self._counters(), self._launch
            )

    def multi_class_hinge(self, scores: Array, labels: Array, factor: float, losses: Array, gradient: Array) -> None:
        """See Backend.multi_class_hinge."""
        self.require(scores, labels, losses, gradient)
        self._run(self._hinge.multi_class_hinge, scores.shape, scores, labels, factor, losses, gradient)

    def layer_norm(
        self, x: Array, gain: Array, offset: Array, epsilon: float, out: Array, mean: Array, scale: Array
    ) -> None:
        """See Backend.layer_norm."""
        self.require(x, gain, offset, out, mean, scale)
        self._run(self._normalization.layer_norm, x.shape, x, gain, offset, epsilon, out, mean, scale)

    def layer_norm_backward(
        self, dy: Array, x: Array, gain: Array, mean: Array, scale: Array, dx: Array, dgain: Array, doffset: Array,
        accumulate: bool = True,
    ) -> None:  # fmt: skip
        """See Backend.layer_norm_backward; two launches."""
        self.require(dy, x, gain, mean, scale, dx, dgain, doffset)
        if x.size:
            with self.exclusive():
                room = self._scratch(dgain), self._counters(), self._launch
                self._launches.run_layer_norm_backward(dy, x, gain, mean, scale, dx, dgain, doffset, accumulate, *room)
        else:
            super().layer_norm_backward(dy, x, gain, mean, scale, dx, dgain, doffset, accumulate)

    def column_sum(self, x: Array, out: Array, accumulate: bool = True) -> None:
        """See Backend.column_sum; one launch."""
        self.require(x, out)
        if x.size:
            with self.exclusive():
                self._launches.run_column_sum(x, out, accumulate, self._scratch(out), self._counters(), self._launch)
        else:
            super().column_sum(x, out, accumulate)

    def maxout(self, z: Array, out: Array, winner: Array) -> None:
        """See Backend.maxout."""
        self.require(z, out, winner)
        self._run(self._columns.maxout, out.shape, z, out, winner)

    def maxout_spread(self, dy: Array, winner: Array, dz: Array) -> None:
        """See Backend.maxout_spread."""
        self.require(dy, winner, dz)
        self._run(self._columns.maxout_spread, dy.shape, dy, winner, dz)

    def maxout_pick(self, z: Array, winner: Array, out: Array) -> None:
        """See Backend.maxout_pick."""
        self.require(z, winner, out)
        self._run(self._columns.maxout_pick, out.shape, z, winner, out)

    def take_columns(self, x: Array, table: Array, out: Array) -> None:
        """See Backend.take_columns."""
        self.require(x, table, out)
        self._run(self._columns.take_columns, out.shape, x, table, out)

    def sum_columns(self, x: Array, table: Array, out: Array) -> None:
        """See Backend.sum_columns."""
        self.require(x, table, out)
        self._run(self._columns.sum_columns, out.shape, x, table, out)

    def largest_columns(self, x: Array, table: Array, out: Array, winner: Array) -> None:
        """See Backend.largest_columns."""
        self.require(x, table, out, winner)
        self._run(self._columns.largest_columns, out.shape, x, table, out, winner)

    def largest_columns_spread(self, dy: Array, winner: Array, table: Array, dx: Array) -> None:
        """See Backend.largest_columns_spread."""
        self.require(dy, winner, table, dx)
        self._run(self._columns.largest_columns_spread, dx.shape, dy, winner, table, dx)

    def largest_columns_pick(self, x: Array, table: Array, winner: Array, out: Array) -> None:
        """See Backend.largest_columns_pick."""
        self.require(x, table, winner, out)
        self._run(self._columns.largest_columns_pick, out.shape, x, table, winner, out)

    # Reductions

    def _sum(self, function: Callable[..., Any], x: Array) -> Scalar:
        out = self.empty((1,), "float64" if x.dtype.name == "float64" else "float32")
        with self.exclusive():
            self._launches.run_sum(function, x.reshape(-1), out, self._scratch(out), self._counters(), self._launch)
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
        self._launches.run_limit_norm(scales, given, largest, self._launch)
