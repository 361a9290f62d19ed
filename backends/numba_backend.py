"""The CPU backend: NumPy's GEMMs, everything between them compiled by Numba.

The kernels run on one thread each and release the GIL; spreading rows over cores is up to an executor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..kernels.formula import Formula
from .base import Array, Random, Scalar, Unavailable
from .numpy_backend import NumpyBackend


class NumbaBackend(NumpyBackend):
    """NumPy arrays with kernels compiled for this CPU."""

    name: ClassVar[str] = "numba"

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """Numba may be missing or too old for the installed NumPy."""
        try:
            import numba  # noqa: F401
        except ImportError as error:
            return Unavailable(f"Numba cannot be imported ({error})", 'pip install "numba>=0.61"', error)
        return None

    def __init__(self) -> None:
        super().__init__()
        from ..kernels.rows import cpu as rows
        from ..kernels.targets import cpu as target

        self._rows = rows
        self._target = target
        self._no_weights = {np.dtype(d): np.empty(0, d) for d in (np.float32, np.float64)}

    def _run(self, function: Callable[..., Any], like: Array, *arguments: Any) -> None:
        self._rows.kernel(function, like.dtype)(*arguments)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        self._target.run_map(formula, outputs, arguments, random)

    def _update(self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any) -> None:
        if not np.isnan(scalars[0, 0]):
            self._target.run_update(formula, arrays, scalars, segments)

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """See Backend.random_bits."""
        out = np.empty((rows, width), np.uint32)
        self._target.random_bits(out, random.state, random.stream)
        return out

    def softmax(self, x: Array, out: Array) -> None:
        """See Backend.softmax."""
        self.require(x, out)
        self._run(self._rows.softmax, x, x, out)

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
        losses: Array, gradient: Array,
    ) -> None:  # fmt: skip
        """See Backend.softmax_cross_entropy."""
        self.require(logits, labels, losses, gradient)
        given = self._no_weights[logits.dtype] if weights is None else weights
        self._run(
            self._rows.softmax_cross_entropy, logits, logits, labels, given, on, off, factor, losses, gradient
        )

    def softmax_cross_entropy_soft(
        self, logits: Array, targets: Array, factor: float, losses: Array, gradient: Array
    ) -> None:
        """See Backend.softmax_cross_entropy_soft."""
        self.require(logits, targets, losses, gradient)
        self._run(self._rows.softmax_cross_entropy_soft, logits, logits, targets, factor, losses, gradient)

    def multi_class_hinge(self, scores: Array, labels: Array, factor: float, losses: Array, gradient: Array) -> None:
        """See Backend.multi_class_hinge."""
        self.require(scores, labels, losses, gradient)
        self._run(self._rows.multi_class_hinge, scores, scores, labels, factor, losses, gradient)

    def layer_norm(
        self, x: Array, gain: Array, offset: Array, epsilon: float, out: Array, mean: Array, scale: Array
    ) -> None:
        """See Backend.layer_norm."""
        self.require(x, gain, offset, out, mean, scale)
        self._run(self._rows.layer_norm, x, x, gain, offset, epsilon, out, mean, scale)

    def layer_norm_backward(
        self, dy: Array, x: Array, gain: Array, mean: Array, scale: Array, dx: Array, dgain: Array, doffset: Array
    ) -> None:
        """See Backend.layer_norm_backward."""
        self.require(dy, x, gain, mean, scale, dx, dgain, doffset)
        self._run(self._rows.layer_norm_backward, x, dy, x, gain, mean, scale, dx, dgain, doffset)

    def column_sum(self, x: Array, out: Array) -> None:
        """See Backend.column_sum."""
        self.require(x, out)
        self._run(self._rows.column_sum, x, x, out)

    def maxout(self, z: Array, out: Array, winner: Array) -> None:
        """See Backend.maxout."""
        self.require(z, out, winner)
        self._run(self._rows.maxout, z, z, out, winner)

    def maxout_spread(self, dy: Array, winner: Array, dz: Array) -> None:
        """See Backend.maxout_spread."""
        self.require(dy, winner, dz)
        self._run(self._rows.maxout_spread, dy, dy, winner, dz)

    def maxout_pick(self, z: Array, winner: Array, out: Array) -> None:
        """See Backend.maxout_pick."""
        self.require(z, winner, out)
        self._run(self._rows.maxout_pick, z, z, winner, out)

    def total(self, x: Array) -> Scalar:
        """See Backend.total."""
        self.require(x)
        out = np.empty(1)
        self._run(self._rows.total, x, x, out)
        return out[0]

    def sum_of_squares(self, x: Array) -> Scalar:
        """See Backend.sum_of_squares."""
        self.require(x)
        out = np.empty(1)
        self._run(self._rows.sum_of_squares, x, x, out)
        return out[0]
