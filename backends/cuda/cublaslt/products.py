"""Matrix products and dense layers of a backend: by cuBLASLt if it is available, otherwise by the backend itself."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ....errors import BackendUnavailable
from ....kernels.formulas.activations import Activation
from ...arrays import Array
from ...defaults import dense
from .dense import DenseProducts
from .gemms import Gemms
from .problem import Unsuited


class Wanted(threading.local):
    """The settings of products, separate for each thread because threads may train with different settings.

    Attributes: tf32 – whether products of float32 arrays round the factors to TF32 for the tensor cores; deterministic –
        whether the bits must not depend on timing.
    """

    tf32 = False
    deterministic = False


class _Planned:
    """The products of one device.

    Attributes: gemms – plans with algorithms selected by timing, None before the first product; ordered – plans with
        deterministic algorithms; absent – whether cuBLASLt turned out to be unavailable; dense – plans -> the dense-layer
        operations that use them.
    """

    def __init__(self) -> None:
        self.gemms: Gemms | None = None
        self.ordered: Gemms | None = None
        self.absent = False
        self.dense: dict[Gemms, DenseProducts] = {}


class PlannedProducts:
    """The products of a backend, which is passed to each call.

    The backend provides `_device_number` (the current device), `_make_gemms` (plans for it; raises BackendUnavailable without
    the library) and `_product` (a product without cuBLASLt). If its `fuses` is True, bias, activation and their gradients may
    be computed in the epilogues of products.

    Attributes: wanted – the settings of the current thread, set by `products`.
    """

    def __init__(self) -> None:
        self.wanted = Wanted()
        self._planned: dict[int, _Planned] = {}

    def _here(self, backend: Any) -> _Planned:
        """The products of the current device."""
        number = backend._device_number()
        found = self._planned.get(number)
        return self._planned.setdefault(number, _Planned()) if found is None else found

    def gemms(self, backend: Any) -> Gemms | None:
        """The product plans for the current settings, created on first use; None without cuBLASLt, with one warning."""
        here = self._here(backend)
        if here.gemms is None and not here.absent:
            with backend.exclusive():
                if here.gemms is None and not here.absent:
                    self._make(here, backend)
        if not self.wanted.deterministic or here.gemms is None:
            return here.gemms
        if here.ordered is None:
            with backend.exclusive():
                here.ordered = here.ordered or Gemms(here.gemms.library, here.gemms.device, deterministic=True)
        return here.ordered

    @staticmethod
    def _make(here: _Planned, backend: Any) -> None:
        try:
            here.gemms = backend._make_gemms()
        except BackendUnavailable as error:
            here.absent = True
            warnings.warn(
                f"backend {backend.name!r} leaves products to CuPy, without fused bias and activation, and steps cannot be "
                f"captured: {error}",
                RuntimeWarning,
                stacklevel=3,
            )

    def _fusing(self, backend: Any) -> DenseProducts | None:
        """The dense-layer operations with epilogues; None without cuBLASLt, or if `fuses` is False."""
        gemms = self.gemms(backend)
        if gemms is None or not backend.fuses:
            return None
        made = self._here(backend).dense
        found = made.get(gemms)
        return made.setdefault(gemms, DenseProducts(backend, gemms)) if found is None else found

    def matmul(self, backend: Any, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        """See Backend.matmul."""
        gemms = self.gemms(backend)
        if gemms is None:
            backend._product(a, b, out, accumulate)
        elif not a.shape[-1]:
            if not accumulate:
                backend.fill(out, 0.0)
        elif out.size:
            try:
                gemms.matmul(a, b, out, accumulate, self.wanted.tf32)
            except Unsuited:
                backend._product(a, b, out, accumulate)

    @contextmanager
    def products(self, precision: str, deterministic: bool = False) -> Iterator[None]:
        """See Backend.products."""
        wanted = self.wanted
        before = wanted.tf32, wanted.deterministic
        wanted.tf32, wanted.deterministic = precision == "tf32", deterministic
        try:
            yield
        finally:
            wanted.tf32, wanted.deterministic = before

    def mask_bytes(self, backend: Any, activation: Activation, width: int, dtype: str) -> int:
        """See Backend.mask_bytes."""
        fusing = self._fusing(backend)
        return 0 if fusing is None else fusing.mask_bytes(activation, width, dtype, self.wanted.tf32)

    def forward(
        self, backend: Any, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float],
        out: Array, saved: Array | None = None, mask: Array | None = None,
    ) -> bool:  # fmt: skip
        """See Backend.dense_forward; a single product if it supports the epilogue and is faster that way."""
        backend.require(x, weight, out, *(a for a in (bias, saved, mask) if a is not None))
        fusing = self._fusing(backend)
        unfused = partial(dense.forward, backend, x, weight, bias, activation, settings, out, saved)
        done = None
        if fusing is not None and x.size and out.size:
            done = fusing.forward(x, weight, bias, activation, out, saved, mask, self.wanted.tf32, unfused)
        return unfused() if done is None else done

    def input_gradient(
        self, backend: Any, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], saved: Array,
        out: Array, mask: Array | None = None, bias_gradient: Array | None = None,
    ) -> bool:  # fmt: skip
        """See Backend.dense_input_gradient; a single product if that is supported and faster."""
        backend.require(dz, weight, saved, out, *(a for a in (mask, bias_gradient) if a is not None))
        fusing = self._fusing(backend)
        unfused = partial(dense.input_gradient, backend, dz, weight, activation, settings, saved, out)

        def summed() -> None:
            unfused()
            backend.rows("column_sum", out, bias_gradient, False)

        done = None
        if fusing is not None and dz.size and out.size:
            done = fusing.input_gradient(
                dz, weight, out, activation, saved, mask, bias_gradient, self.wanted.tf32, unfused, summed
            )
        return unfused() if done is None else done

    def weight_gradient(
        self, backend: Any, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None
    ) -> bool:
        """See Backend.dense_weight_gradient; a single product if that is supported and faster."""
        backend.require(x, dz, out, *(() if bias_gradient is None else (bias_gradient,)))
        fusing = self._fusing(backend)
        unfused = partial(dense.weight_gradient, backend, x, dz, out, accumulate)

        def summed() -> None:
            unfused()
            backend.rows("column_sum", dz, bias_gradient, False)

        if fusing is None or bias_gradient is None or not x.size or not dz.size:
            return unfused()
        return fusing.weight_gradient(x, dz, out, accumulate, bias_gradient, self.wanted.tf32, summed) or unfused()
