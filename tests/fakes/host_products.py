"""A backend that plans its products as on a device, with NumPy's arrays and kernels and the fake library.

For tests and dry runs of what is built on plans; everybody else is served better by NumpyBackend.
"""

from __future__ import annotations

from typing import ClassVar

from ...backends.base import Backend
from ...backends.cuda.cublaslt.gemms import Gemms
from ...backends.cuda.cublaslt.products import PlannedProducts
from ...backends.executors.base import Executor, Work
from ...backends.numpy.backend import NumpyBackend
from .cublaslt import FakeCublasLt, HostDevice


class HostProducts(PlannedProducts, NumpyBackend):
    """NumPy with planned products.

    Args: library – the fake to use; a new one unless given; candidates – see Gemms.
    """

    name: ClassVar[str] = "host_products"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64", "tf32", "bfloat16", "float16")

    def __init__(self, library: FakeCublasLt | None = None, candidates: int | None = None) -> None:
        super().__init__()
        self.library = FakeCublasLt(HostDevice()) if library is None else library
        self._candidates = candidates

    def _make_gemms(self) -> Gemms:
        return Gemms(self.library, self.library.device, self._candidates)

    def executor(self, work: Work) -> Executor:
        """One call after the other, as every call here looks at its arrays."""
        return Backend.executor(self, work)
