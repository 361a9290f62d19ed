"""Dense layers on cuBLASLt: bias, activation, its derivative and the bias gradient in the epilogues of products.

The alternative is backends/defaults/dense.py, a plain product followed by kernels; timing selects one of them once per shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....kernels.formulas.activations import Activation
from ...arrays import Array
from .checks import LibraryChecks
from .codes import AUX_COLUMNS, BGRAD, MASK_COLUMNS, Epilogue
from .gemms import Gemms

FUSIBLE = ("float32", "float16", "bfloat16")
"""Types whose products support epilogues; cuBLASLt has none for float64."""


class DenseProducts:
    """The operations of a dense layer, each as a single product if that is faster.

    Args: backend – for its arrays; gemms – its product plans.
    """

    def __init__(self, backend: Any, gemms: Gemms) -> None:
        self._backend = backend
        self._gemms = gemms
        self._checks = LibraryChecks(backend, gemms)
        # cuBLASLt does not specify in which order an epilogue sums a bias gradient; our kernels use a fixed order.
        self._sums = not gemms.deterministic

    def mask_bytes(self, activation: Activation, width: int, dtype: str, tf32: bool) -> int:
        """Bytes per row of the mask that the forward product writes for the backward product; 0 if there is no mask."""
        if activation.name != "relu" or dtype not in FUSIBLE:
            return 0
        relu = self._checks.relu(dtype, tf32)
        # In float32 the subgradient at 0 must be 0 as in the formula; coarser precisions may use 1 there.
        exact = dtype == "float32" and not tf32
        return -(-width // MASK_COLUMNS) * MASK_COLUMNS // 8 if relu.sound and (relu.zero_at_zero or not exact) else 0

    def forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, out: Array, saved: Array | None,
        mask: Array | None, tf32: bool, unfused: Callable[[], object],
    ) -> bool | None:  # fmt: skip
        """Returns: None if nothing was done, otherwise whether the mask was written; unfused – the alternative."""
        name = activation.name
        if out.dtype.name not in FUSIBLE or (bias is not None and bias.dtype != out.dtype):
            return None
        biased = Epilogue.BIAS if bias is not None else Epilogue(0)
        given: dict[str, Any] = {"vector": bias, "tf32": tf32}

        def run(epilogue: Epilogue, **more: Any) -> bool:
            return self._gemms.fused(x, weight, out, epilogue, unfused, **given, **more)

        if name == "identity" and bias is not None:
            return False if run(Epilogue.BIAS) else None
        if name == "relu" and self._checks.relu(out.dtype.name, tf32).sound:
            if mask is not None and run(Epilogue.RELU_AUX | biased, aux=mask, aux_leading=mask.shape[1] * 8):
                return True
            return False if run(Epilogue.RELU | biased) else None
        if name == "gelu_tanh" and self._checks.gelu(out.dtype.name, tf32):
            if saved is None:
                return False if run(Epilogue.GELU | biased) else None
            if self._keeps(saved, out):
                return False if run(Epilogue.GELU_AUX | biased, aux=saved, aux_leading=saved.shape[1]) else None
        return None

    def input_gradient(
        self, dz: Array, weight: Array, out: Array, activation: Activation, saved: Array, mask: Array | None,
        bias_gradient: Array | None, tf32: bool, unfused: Callable[[], object], summed: Callable[[], object],
    ) -> bool | None:  # fmt: skip
        """See Backend.dense_input_gradient.

        Args: unfused – the alternative; summed – the alternative, followed by the column sums into `bias_gradient`.
        Returns: None if nothing was done, otherwise whether the bias gradient was written.
        """
        if out.dtype.name not in FUSIBLE:
            return None
        given: dict[str, Any] = {"tf32": tf32}
        if activation.name == "relu" and mask is not None:
            epilogue, given["aux"], given["aux_leading"] = Epilogue.DRELU, mask, mask.shape[1] * 8
        elif activation.name == "gelu_tanh" and self._keeps(saved, out) and self._checks.gelu(out.dtype.name, tf32):
            epilogue, given["aux"], given["aux_leading"] = Epilogue.DGELU, saved, saved.shape[1]
        else:
            return None
        fused, turned = self._gemms.fused, weight.T
        if bias_gradient is not None and bias_gradient.dtype == out.dtype and self._sums:
            with_sum = Epilogue(epilogue | BGRAD)
            if fused(dz, turned, out, with_sum, summed, vector=bias_gradient, **given):
                return True
        return False if fused(dz, turned, out, epilogue, unfused, **given) else None

    def weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool, bias_gradient: Array, tf32: bool,
        summed: Callable[[], object],
    ) -> bool:  # fmt: skip
        """Returns: whether both weight and bias gradient were written; summed – the alternative that writes both."""
        if out.dtype.name not in FUSIBLE or bias_gradient.dtype != out.dtype or not self._sums:
            return False
        return self._gemms.fused(
            x.T, dz, out, Epilogue.BGRADA, summed, vector=bias_gradient, accumulate=accumulate, tf32=tf32
        )

    @staticmethod
    def _keeps(saved: Array, out: Array) -> bool:
        """Whether an epilogue may write or read the saved input of a GELU."""
        return bool(saved.dtype == out.dtype and saved.shape[1] % AUX_COLUMNS == 0)
