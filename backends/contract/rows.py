"""Operations of a backend that need whole rows: softmax, the losses on it, layer normalisation, the largest column.

They are computed by kernels/rows/reference.py.
"""

from __future__ import annotations

from typing import Any

from ...kernels.rows import reference
from .arrays import Arrays

Array = Any


class Rows(Arrays):
    """Operations row by row."""

    def softmax(self, x: Array, out: Array) -> None:
        """Softmax of each row."""
        self.require(x, out)
        reference.softmax(self.xp, self.wide(x), out)

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, on: float, off: float, factor: float,
        losses: Array, gradient: Array, sums: Array | None = None, accumulate: bool = False, scale: Array | None = None,
    ) -> bool:  # fmt: skip
        """Losses by row and factor times their gradient, for labels; see kernels/rows/reference.py.

        Args: sums – where the sum of the rows of the gradient may go; accumulate – whether it is then added to what is there;
            scale – [1], a further factor of the gradient, in the type of the losses; None for 1.
        Returns: whether it went there.
        """
        del sums, accumulate
        self.require(logits, labels, losses, gradient)
        whole = self.scaled(factor, scale)
        reference.softmax_cross_entropy(self.xp, self.wide(logits), labels, weights, on, off, whole, losses, gradient)
        return False

    def softmax_cross_entropy_soft(
        self, logits: Array, targets: Array, factor: float, losses: Array, gradient: Array, sums: Array | None = None,
        accumulate: bool = False, scale: Array | None = None,
    ) -> bool:  # fmt: skip
        """As `softmax_cross_entropy`, for target distributions."""
        del sums, accumulate
        self.require(logits, targets, losses, gradient)
        whole = self.scaled(factor, scale)
        reference.softmax_cross_entropy_soft(self.xp, self.wide(logits), targets, whole, losses, gradient)
        return False

    @staticmethod
    def scaled(factor: float, scale: Array | None) -> Any:
        """A factor times a number of the backend, where there is one."""
        return factor if scale is None else factor * scale[0]

    def multi_class_hinge(self, scores: Array, labels: Array, factor: float, losses: Array, gradient: Array) -> None:
        """Crammer and Singer's hinge loss by row and factor times its subgradient."""
        self.require(scores, labels, losses, gradient)
        reference.multi_class_hinge(self.xp, self.wide(scores), labels, factor, losses, gradient)

    def layer_norm(
        self, x: Array, gain: Array, offset: Array, epsilon: float, out: Array, mean: Array, scale: Array
    ) -> None:
        """Normalises each row; also gives mean and 1 / standard deviation by row."""
        self.require(x, gain, offset, out, mean, scale)
        reference.layer_norm(self.xp, self.wide(x), self.wide(gain), self.wide(offset), epsilon, out, mean, scale)

    def layer_norm_backward(
        self, dy: Array, x: Array, gain: Array, mean: Array, scale: Array, dx: Array, dgain: Array, doffset: Array,
        accumulate: bool = True,
    ) -> None:  # fmt: skip
        """The gradient of `layer_norm`; adds to dgain and doffset, or without `accumulate` takes the place of what is there."""
        self.require(dy, x, gain, mean, scale, dx, dgain, doffset)
        if not accumulate:
            self.fill(dgain, 0.0)
            self.fill(doffset, 0.0)
        reference.layer_norm_backward(self.xp, self.wide(dy), self.wide(x), self.wide(gain), mean, scale, dx, dgain, doffset)

    def argmax(self, x: Array) -> Array:
        """The column of the largest value of each row, the first among equals."""
        self.require(x)
        return self.xp.argmax(self.wide(x), axis=1)
