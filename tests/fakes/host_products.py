"""A backend that plans its products as on a device, with NumPy's arrays and kernels and the fake library.

For tests and dry runs of what is built on plans; everybody else is served better by NumpyBackend.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

from ...backends.contract import Array, Backend
from ...backends.cuda.cublaslt.gemms import Gemms
from ...backends.cuda.cublaslt.products import PlannedProducts
from ...backends.numpy.backend import NumpyBackend
from .cublaslt import FakeCublasLt, HostDevice


class HostProducts(NumpyBackend):
    """NumPy with planned products.

    Args: library – the fake to use; a new one unless given; candidates – see Gemms.
    """

    name: ClassVar[str] = "host_products"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64", "tf32", "bfloat16", "float16")
    fuses = True

    def __init__(self, library: FakeCublasLt | None = None, candidates: int | None = None) -> None:
        super().__init__()
        self.library = FakeCublasLt(HostDevice()) if library is None else library
        self._candidates = candidates
        self._dense = PlannedProducts()

    @property
    def gemms(self) -> Gemms | None:
        """The plans of products."""
        found: Gemms | None = self._dense.gemms(self)
        return found

    _product = NumpyBackend._matmul

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        self._dense.matmul(self, a, b, out, accumulate)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """See Backend.products."""
        within: AbstractContextManager[Any] = self._dense.products(precision, deterministic)
        return within

    def _device_number(self) -> int:
        return 0

    def _make_gemms(self) -> Gemms:
        return Gemms(self.library, self.library.device, self._candidates)

    executor = Backend.executor
    """One call after the other, as every call here looks at its arrays."""
