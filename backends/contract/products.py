"""Products of a backend, and dense layers: a product and what follows it, which a subclass may do in one call.

Here that is a product and one pass of a formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...errors import ShapeError
from ...kernels.formulas.activations import Activation, dense_backward, dense_forward
from ...kernels.formulas.elementwise import add_bias
from .formulas import Formulas

Array = Any
_NOTHING = nullcontext()


class Products(Formulas):
    """Matrix products by the array library."""

    def matmul(
        self, a: Array, b: Array, out: Array, transpose_a: bool = False, transpose_b: bool = False,
        accumulate: bool = False,
    ) -> None:  # fmt: skip
        """out = op(a) op(b), op being the transpose where asked for; with `accumulate` it is added to `out`."""
        self.require(a, b, out)
        a, b = a.T if transpose_a else a, b.T if transpose_b else b
        if a.shape[1] != b.shape[0] or (a.shape[0], b.shape[1]) != tuple(out.shape):
            raise ShapeError(
                f"expected a product [m, k] [k, n] into [m, n]; got {tuple(a.shape)} {tuple(b.shape)} into "
                f"{tuple(out.shape)}; check the widths"
            )
        self._matmul(a, b, out, accumulate)

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        product = self.xp.matmul(self.wide(a), self.wide(b))
        out[...] = self._cast(out + product if accumulate else product, out)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """Within it products of float32 matrices are computed as that precision wants them: only "tf32" differs.

        Args: deterministic – the same bits in every run, whatever is faster now; a backend that times nothing does so anyway.
        """
        del precision, deterministic
        return _NOTHING

    # Dense layers

    def mask_bytes(self, activation: Activation, width: int, dtype: str) -> int:
        """Bytes a row of the mask that `dense_forward` writes for `dense_input_gradient`; 0 where it needs none."""
        del activation, width, dtype
        return 0

    def dense_forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float], out: Array,
        kept: Array | None = None, mask: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = activation(x weight + bias, *settings).

        Args: kept – where x weight + bias goes, for activations whose slope is written in their input; mask – uint8
            [rows, mask_bytes], for those that have one.
        Returns: whether the mask was written.
        """
        del mask
        z = out if kept is None else kept
        self.matmul(x, weight, z)
        biases = () if bias is None else (bias,)
        if activation.name == "identity" and kept is None:
            if bias is not None:
                self.map(add_bias, out, out, bias)
        else:
            formula = dense_forward(activation, bias is not None, False, kept is not None)
            self.map(formula, out if kept is None else (out, z), z, *biases, *settings)
        return False

    def dense_input_gradient(
        self, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], kept: Array, out: Array,
        mask: Array | None = None, bias_gradient: Array | None = None,
    ) -> bool:  # fmt: skip
        """out = (dz weight^T) slope(kept, *settings): back through a weight and the activation before it.

        Args: kept – what the slope is written in; mask – as `dense_forward` wrote it; bias_gradient – where the sum of the
            rows of `out` may go.
        Returns: whether it went there.
        """
        del mask, bias_gradient
        self.matmul(dz, weight, out, transpose_b=True)
        self.map(dense_backward(activation, False), out, out, kept, *settings)
        return False

    def dense_weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None
    ) -> bool:
        """out = x^T dz, or added to `out`.

        Args: bias_gradient – where the sum of the rows of dz may go.
        Returns: whether it went there.
        """
        del bias_gradient
        self.matmul(x, dz, out, transpose_a=True, accumulate=accumulate)
        return False
