"""Dense layers on cuBLASLt: bias, activation, its derivative and the bias gradient inside the products.

Each operation has the fallback of backends/base.py, a product and kernels; what is faster for a shape is timed once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...kernels.formulas.activations import Activation
from .codes import AUX_COLUMNS, BGRAD, MASK_COLUMNS, Epilogue
from .gemms import Gemms

Array = Any

FUSIBLE = ("float32", "float16", "bfloat16")
"""Types whose products take epilogues; cuBLASLt has none for float64."""
_PROBE = 16


class Relu(NamedTuple):
    """How the library's ReLU behaves where implementations differ.

    Attributes: sound – NaN stays NaN, and values and slopes are right elsewhere; zero_at_zero – the slope at 0 is 0.
    """

    sound: bool
    zero_at_zero: bool


class DenseProducts:
    """The operations of a dense layer by one call each, where that is faster.

    Args: backend – whose arrays and fallbacks are used; gemms – its plans.
    """

    def __init__(self, backend: Any, gemms: Gemms) -> None:
        self._backend = backend
        self._gemms = gemms
        self._relus: dict[tuple[str, bool], Relu] = {}

    def mask_bytes(self, activation: Activation, width: int, dtype: str, tf32: bool) -> int:
        """Bytes a row of the mask that the forward product writes for the backward one; 0 where there is none."""
        if activation.name != "relu" or dtype not in FUSIBLE:
            return 0
        relu = self.relu(dtype, tf32)
        # float32 follows the formulas to the letter; the coarser precisions may take the subgradient 1 at exactly 0.
        exact = dtype == "float32" and not tf32
        return -(-width // MASK_COLUMNS) * MASK_COLUMNS // 8 if relu.sound and (relu.zero_at_zero or not exact) else 0

    def forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, out: Array, kept: Array | None,
        mask: Array | None, tf32: bool, unfused: Callable[[], object],
    ) -> bool | None:  # fmt: skip
        """True with the mask written, False without, None where nothing was done."""
        name = activation.name
        if out.dtype.name not in FUSIBLE or (bias is not None and bias.dtype != out.dtype):
            return None
        biased = Epilogue.BIAS if bias is not None else Epilogue(0)
        given: dict[str, Any] = {"vector": bias, "tf32": tf32}

        def run(epilogue: Epilogue, **more: Any) -> bool:
            return self._gemms.fused(x, weight, out, epilogue, unfused, **given, **more)

        if name == "identity" and bias is not None:
            return False if run(Epilogue.BIAS) else None
        if name == "relu" and self.relu(out.dtype.name, tf32).sound:
            if mask is not None and run(Epilogue.RELU_AUX | biased, aux=mask, aux_leading=mask.shape[1] * 8):
                return True
            return False if run(Epilogue.RELU | biased) else None
        if name == "gelu_tanh":
            if kept is None:
                return False if run(Epilogue.GELU | biased) else None
            if kept.dtype == out.dtype and kept.shape[1] % AUX_COLUMNS == 0:
                return False if run(Epilogue.GELU_AUX | biased, aux=kept, aux_leading=kept.shape[1]) else None
        return None

    def input_gradient(
        self, dz: Array, weight: Array, out: Array, activation: Activation, kept: Array, mask: Array | None,
        bias_gradient: Array | None, tf32: bool, unfused: Callable[[], object], summed: Callable[[], object],
    ) -> bool | None:  # fmt: skip
        """True with the bias gradient written, False without, None where nothing was done.

        Args: unfused – the fallback; summed – the fallback, then the sum of the columns into `bias_gradient`.
        """
        if out.dtype.name not in FUSIBLE:
            return None
        given: dict[str, Any] = {"tf32": tf32}
        if activation.name == "relu" and mask is not None:
            epilogue, given["aux"], given["aux_leading"] = Epilogue.DRELU, mask, mask.shape[1] * 8
        elif activation.name == "gelu_tanh" and kept.dtype == out.dtype and kept.shape[1] % AUX_COLUMNS == 0:
            epilogue, given["aux"], given["aux_leading"] = Epilogue.DGELU, kept, kept.shape[1]
        else:
            return None
        fused, turned = self._gemms.fused, weight.T
        if bias_gradient is not None and bias_gradient.dtype == out.dtype:
            with_sum = Epilogue(epilogue | BGRAD)
            if fused(dz, turned, out, with_sum, summed, vector=bias_gradient, **given):
                return True
        return False if fused(dz, turned, out, epilogue, unfused, **given) else None

    def weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool, bias_gradient: Array, tf32: bool,
        summed: Callable[[], object],
    ) -> bool:  # fmt: skip
        """Whether weight and bias gradient were written; `summed` is the fallback for both."""
        if out.dtype.name not in FUSIBLE or bias_gradient.dtype != out.dtype:
            return False
        return self._gemms.fused(
            x.T, dz, out, Epilogue.BGRADA, summed, vector=bias_gradient, accumulate=accumulate, tf32=tf32
        )

    def relu(self, dtype: str, tf32: bool) -> Relu:
        """What the library's ReLU does with NaN and at 0: asked once, of the library itself."""
        known = self._relus.get((dtype, tf32))
        if known is None:
            known = self._relus[dtype, tf32] = self._probe(dtype, tf32)
            if not known.sound:
                warnings.warn(
                    f"expected the ReLU of cuBLASLt to keep NaN, as fusedstep's formula does; in {dtype} it does not, so ReLU "
                    "runs in a kernel of its own",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return known

    def _probe(self, dtype: str, tf32: bool) -> Relu:
        backend, fused, size = self._backend, self._gemms.fused, _PROBE
        kind = backend.dtype(dtype)
        inputs = np.resize(np.array([-1.0, 0.0, 1.0, np.nan]), size)
        bias = backend.asarray(inputs, "float32").astype(kind)
        identity = backend.asarray(np.eye(size), "float32").astype(kind)
        ones = backend.asarray(np.ones((size, size)), "float32").astype(kind)
        nothing, out = backend.zeros((size, size), dtype), backend.zeros((size, size), dtype)
        mask = backend.zeros((size, MASK_COLUMNS // 8), "uint8")
        given: dict[str, Any] = {"tf32": tf32, "unfused": None}
        aux = {"aux": mask, "aux_leading": MASK_COLUMNS, **given}
        marked = fused(nothing, identity, out, Epilogue.RELU_AUX_BIAS, vector=bias, **aux)
        if not marked and not fused(nothing, identity, out, Epilogue.RELU_BIAS, vector=bias, **given):
            return Relu(True, True)  # there is none to be careful with
        value = backend.to_numpy(out)[0].astype(np.float64)
        plain = ~np.isnan(inputs)
        sound = np.array_equal(value[plain], np.maximum(inputs[plain], 0.0)) and bool(np.isnan(value[~plain]).all())
        if not marked or not fused(ones, identity, out, Epilogue.DRELU, **aux):
            return Relu(sound, True)
        slope = backend.to_numpy(out)[0].astype(np.float64)
        sound = sound and bool((slope[inputs < 0.0] == 0.0).all() and (slope[inputs > 0.0] == 1.0).all())
        return Relu(sound, bool((slope[inputs == 0.0] == 0.0).all()))
