"""A mixin for backends whose products run through plans of cuBLASLt; the arrays and kernels are those of the other base."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from ....errors import BackendUnavailable
from ....kernels.formulas.activations import Activation
from ...base import Backend
from .dense import DenseProducts
from .gemms import Gemms
from .problem import Unsuited

Array = Any


class _Wanted(threading.local):
    """How the thread that asks wants its products: two that train side by side may want different things."""

    tf32 = False
    deterministic = False


class _Planned:
    """The products of one device.

    Attributes: gemms – in the order of the clock, None until the first product; ordered – those whose bits depend on nothing
        that was timed; absent – whether cuBLASLt was found not to be there; dense – what fuses, by the plans that it uses.
    """

    def __init__(self) -> None:
        self.gemms: Gemms | None = None
        self.ordered: Gemms | None = None
        self.absent = False
        self.dense: dict[Gemms, DenseProducts] = {}


class PlannedProducts(Backend):
    """Products and dense layers by cuBLASLt, where it is there; stands before the backend that it is mixed with.

    Attributes: tf32 – whether products of float32 round their factors to TF32 on their way into the tensor cores;
        deterministic – whether their bits may not depend on what was timed; both set by `products`, for the thread that is in
        it; fuses – whether bias, activation and their gradients may go into the products.
    """

    fuses = True

    @cached_property
    def _wanted(self) -> _Wanted:
        return _Wanted()

    @property
    def tf32(self) -> bool:
        """See the class."""
        return self._wanted.tf32

    @property
    def deterministic(self) -> bool:
        """See the class."""
        return self._wanted.deterministic

    def _make_gemms(self) -> Gemms:
        """The plans for the current device.

        Raises: BackendUnavailable without the library.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _make_gemms")

    def _device_number(self) -> int:
        """Which device the work of this thread goes to."""
        return 0

    @cached_property
    def _planned(self) -> dict[int, _Planned]:
        return {}

    @property
    def _here(self) -> _Planned:
        """The products of the current device."""
        number = self._device_number()
        found = self._planned.get(number)
        return self._planned.setdefault(number, _Planned()) if found is None else found

    @property
    def gemms(self) -> Gemms | None:
        """The plans of products as they are wanted now, made at the first one; None without cuBLASLt, which is said once."""
        here = self._here
        if here.gemms is None and not here.absent:
            with self.exclusive():
                if here.gemms is None and not here.absent:
                    self._make(here)
        if not self.deterministic or here.gemms is None:
            return here.gemms
        if here.ordered is None:
            with self.exclusive():
                here.ordered = here.ordered or Gemms(here.gemms.library, here.gemms.device, deterministic=True)
        return here.ordered

    def _make(self, here: _Planned) -> None:
        try:
            here.gemms = self._make_gemms()
        except BackendUnavailable as error:
            here.absent = True
            warnings.warn(
                f"backend {self.name!r} leaves products to CuPy, without fused bias and activation, and steps cannot be "
                f"captured: {error}",
                RuntimeWarning,
                stacklevel=3,
            )

    @property
    def _fusing(self) -> DenseProducts | None:
        """What fuses the operations of a dense layer; None without cuBLASLt, or where that is switched off."""
        gemms = self.gemms
        if gemms is None or not self.fuses:
            return None
        dense = self._here.dense
        found = dense.get(gemms)
        return dense.setdefault(gemms, DenseProducts(self, gemms)) if found is None else found

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        gemms = self.gemms
        if gemms is None:
            self._product(a, b, out, accumulate)
        elif not a.shape[1]:
            if not accumulate:
                self.fill(out, 0.0)
        elif out.size:
            try:
                gemms.matmul(a, b, out, accumulate, self.tf32)
            except Unsuited:
                self._product(a, b, out, accumulate)

    def _product(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        """A product that cuBLASLt does not take, or is not there for."""
        super()._matmul(a, b, out, accumulate)

    @contextmanager
    def products(self, precision: str, deterministic: bool = False) -> Iterator[None]:
        """See Backend.products."""
        wanted = self._wanted
        before = wanted.tf32, wanted.deterministic
        wanted.tf32, wanted.deterministic = precision == "tf32", deterministic
        try:
            yield
        finally:
            wanted.tf32, wanted.deterministic = before

    def mask_bytes(self, activation: Activation, width: int, dtype: str) -> int:
        """See Backend.mask_bytes."""
        fusing = self._fusing
        return 0 if fusing is None else fusing.mask_bytes(activation, width, dtype, self.tf32)

    def dense_forward(
        self, x: Array, weight: Array, bias: Array | None, activation: Activation, settings: Sequence[float], out: Array,
        kept: Array | None = None, mask: Array | None = None,
    ) -> bool:  # fmt: skip
        """See Backend.dense_forward; in one call where the product has such an epilogue and was timed faster with it."""
        self.require(x, weight, out, *(a for a in (bias, kept, mask) if a is not None))
        fusing = self._fusing
        unfused = partial(super().dense_forward, x, weight, bias, activation, settings, out, kept)
        done = None
        if fusing is not None and x.size and out.size:
            done = fusing.forward(x, weight, bias, activation, out, kept, mask, self.tf32, unfused)
        return unfused() if done is None else done

    def dense_input_gradient(
        self, dz: Array, weight: Array, activation: Activation, settings: Sequence[float], kept: Array, out: Array,
        mask: Array | None = None, bias_gradient: Array | None = None,
    ) -> bool:  # fmt: skip
        """See Backend.dense_input_gradient; in one call where that is supported and was timed faster."""
        self.require(dz, weight, kept, out, *(a for a in (mask, bias_gradient) if a is not None))
        fusing = self._fusing
        unfused = partial(super().dense_input_gradient, dz, weight, activation, settings, kept, out)

        def summed() -> None:
            unfused()
            self.rows("column_sum", out, bias_gradient, False)

        done = None
        if fusing is not None and dz.size and out.size:
            done = fusing.input_gradient(
                dz, weight, out, activation, kept, mask, bias_gradient, self.tf32, unfused, summed
            )
        return unfused() if done is None else done

    def dense_weight_gradient(
        self, x: Array, dz: Array, out: Array, accumulate: bool = False, bias_gradient: Array | None = None
    ) -> bool:
        """See Backend.dense_weight_gradient; in one call where that is supported and was timed faster."""
        self.require(x, dz, out, *(() if bias_gradient is None else (bias_gradient,)))
        fusing = self._fusing
        unfused = partial(super().dense_weight_gradient, x, dz, out, accumulate)

        def summed() -> None:
            unfused()
            self.rows("column_sum", dz, bias_gradient, False)

        if fusing is None or bias_gradient is None or not x.size or not dz.size:
            return unfused()
        return fusing.weight_gradient(x, dz, out, accumulate, bias_gradient, self.tf32, summed) or unfused()
