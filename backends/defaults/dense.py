"""The operations of a dense layer as a product and one pass of a formula; contract.py specifies them.

`backend` provides the products and formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...kernels.formulas.activations import Activation, dense_backward, dense_forward
from ...kernels.formulas.elementwise import add_bias
from ..arrays import Array


def mask_bytes(backend: Any, activation: Activation, width: int, dtype: str) -> int:  # noqa: ARG001
    """0: the derivative needs no mask."""
    return 0


def forward(
    backend: Any, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float], out: Array,
    saved: Array | None = None, mask: Array | None = None,  # noqa: ARG001
) -> bool:  # fmt: skip
    """See Backend.dense_forward."""
    z = out if saved is None else saved
    backend.matmul(x, weight, z)
    biases = () if bias is None else (bias,)
    if activation.name == "identity" and saved is None:
        if bias is not None:
            backend.map(add_bias, out, out, bias)
    else:
        formula = dense_forward(activation, bias is not None, False, saved is not None)
        backend.map(formula, out if saved is None else (out, z), z, *biases, *settings)
    return False


def input_gradient(
    backend: Any, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], saved: Array, out: Array,
    mask: Array | None = None, bias_gradient: Array | None = None,  # noqa: ARG001
) -> bool:  # fmt: skip
    """See Backend.dense_input_gradient."""
    backend.matmul(dz, weight, out, transpose_b=True)
    backend.map(dense_backward(activation, False), out, out, saved, *settings)
    return False


def weight_gradient(
    backend: Any, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None  # noqa: ARG001
) -> bool:
    """See Backend.dense_weight_gradient."""
    backend.matmul(x, dz, out, transpose_a=True, accumulate=accumulate)
    return False
