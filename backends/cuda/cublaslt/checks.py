"""Checks whether ReLU and GELU of cuBLASLt agree with the formulas of this package; each check runs once, when needed.

The documentation does not specify what its ReLU does with NaN and at exactly 0, and how precise its GELU is.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from ....kernels.formulas.activations import ACTIVATIONS
from ...arrays import Array
from .codes import MASK_COLUMNS, Epilogue
from .gemms import Gemms

_SIZE = 16
_GELU_ERROR = {"float32": 1e-5, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Largest accepted error of its GELU for inputs in [-4, 4]: our elementwise tolerance, or the spacing of a coarser type."""


class Relu(NamedTuple):
    """How the library's ReLU behaves where implementations differ.

    Attributes: sound – NaN stays NaN, and values and derivatives are right elsewhere; zero_at_zero – the derivative at 0 is 0.
    """

    sound: bool
    zero_at_zero: bool


class LibraryChecks:
    """The results of the checks, for each precision.

    Args: backend – whose arrays are used; gemms – its plans.
    """

    def __init__(self, backend: Any, gemms: Gemms) -> None:
        self._backend = backend
        self._gemms = gemms
        self._relus: dict[tuple[str, bool], Relu] = {}
        self._gelus: dict[tuple[str, bool], bool] = {}

    def relu(self, dtype: str, tf32: bool) -> Relu:
        """How its ReLU treats NaN and 0; warns if it is not sound."""
        known = self._relus.get((dtype, tf32))
        if known is None:
            known = self._relus[dtype, tf32] = self._ask_relu(dtype, tf32)
            if not known.sound:
                _warn("ReLU", "keep NaN and sign", dtype)
        return known

    def gelu(self, dtype: str, tf32: bool) -> bool:
        """Whether its GELU and derivative agree with the formula with tanh; warns if not."""
        known = self._gelus.get((dtype, tf32))
        if known is None:
            known = self._gelus[dtype, tf32] = self._ask_gelu(dtype, tf32)
            if not known:
                _warn("GELU", "be the form with tanh", dtype)
        return known

    def _ask_relu(self, dtype: str, tf32: bool) -> Relu:
        inputs = np.resize(np.array([-1.0, 0.0, 1.0, np.nan]), _SIZE)
        mask = self._backend.zeros((_SIZE, MASK_COLUMNS // 8), "uint8")
        values = self._forward(Epilogue.RELU_AUX_BIAS, inputs, dtype, tf32, mask, MASK_COLUMNS)
        marked = values is not None
        if not marked:
            values = self._forward(Epilogue.RELU_BIAS, inputs, dtype, tf32)
        if values is None:
            return Relu(True, True)  # not supported, so it is never used
        plain = ~np.isnan(inputs)
        sound = np.array_equal(values[plain], np.maximum(inputs[plain], 0.0)) and bool(np.isnan(values[~plain]).all())
        derivatives = self._backward(Epilogue.DRELU, dtype, tf32, mask, MASK_COLUMNS) if marked else None
        if derivatives is None:
            return Relu(sound, True)
        sound = sound and bool((derivatives[inputs < 0.0] == 0.0).all() and (derivatives[inputs > 0.0] == 1.0).all())
        return Relu(sound, bool((derivatives[inputs == 0.0] == 0.0).all()))

    def _ask_gelu(self, dtype: str, tf32: bool) -> bool:
        formula, bound = ACTIVATIONS["gelu_tanh"], _GELU_ERROR["tf32" if tf32 else dtype]
        inputs = np.linspace(-4.0, 4.0, 2 * _SIZE)[::2]
        given = self._backend.to_numpy(self._array(inputs, dtype)).astype(np.float64)
        saved = self._backend.zeros((_SIZE, _SIZE), dtype)
        values = self._forward(Epilogue.GELU_AUX_BIAS, inputs, dtype, tf32, saved, _SIZE)
        derivatives = None if values is None else self._backward(Epilogue.DGELU, dtype, tf32, saved, _SIZE)
        if values is None:
            values = self._forward(Epilogue.GELU_BIAS, inputs, dtype, tf32)
        near = values is None or bool(np.abs(values - formula.value(given)).max() <= bound)
        return near and (derivatives is None or bool(np.abs(derivatives - formula.derivative(given)).max() <= bound))

    def _array(self, values: Any, dtype: str) -> Array:
        return self._backend.asarray(np.asarray(values), dtype)

    def _forward(
        self, epilogue: Epilogue, inputs: Any, dtype: str, tf32: bool, aux: Array | None = None, aux_leading: int = 0
    ) -> Any:
        """The activation of these numbers, which are passed as a bias; None if the epilogue is not supported."""
        return self._row(np.zeros((_SIZE, _SIZE)), epilogue, self._array(inputs, dtype), dtype, tf32, aux, aux_leading)

    def _backward(self, epilogue: Epilogue, dtype: str, tf32: bool, aux: Array, aux_leading: int) -> Any:
        """The derivatives at the inputs of the last `_forward`, from what it saved in `aux`; None if not supported."""
        return self._row(np.ones((_SIZE, _SIZE)), epilogue, None, dtype, tf32, aux, aux_leading)

    def _row(
        self, a: Any, epilogue: Epilogue, vector: Array | None, dtype: str, tf32: bool, aux: Array | None, aux_leading: int
    ) -> Any:
        """The first row of the product of `a` and the identity, with an epilogue; None if that is not supported."""
        out, identity = self._backend.zeros((_SIZE, _SIZE), dtype), self._array(np.eye(_SIZE), dtype)
        done = self._gemms.fused(self._array(a, dtype), identity, out, epilogue, None, vector, aux, aux_leading, tf32=tf32)
        return self._backend.to_numpy(out)[0].astype(np.float64) if done else None


def _warn(what: str, wish: str, dtype: str) -> None:
    warnings.warn(
        f"expected the {what} of cuBLASLt to {wish}, as fusedstep's formula does; in {dtype} it does not, so {what} runs in a "
        "separate kernel",
        RuntimeWarning,
        stacklevel=2,
    )
