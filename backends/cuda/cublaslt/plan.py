"""One prepared product: layouts, descriptor and algorithm are created once, so running it is a single call."""

from __future__ import annotations

import ctypes

from .codes import ALGORITHM_BYTES, DataType
from .library import CublasLt, Layouts, require
from .problem import ProductProblem

_NUMBERS = {
    kind: {value: word(value) for value in (0.0, 1.0)}
    for kind, word in ((DataType.float32, ctypes.c_float), (DataType.float64, ctypes.c_double))
}
"""Values of alpha and beta in host memory; never freed, because plans contain their addresses."""


def _address(kind: DataType, value: float) -> int:
    return ctypes.addressof(_NUMBERS[kind][value])


class ProductPlan:
    """The handles of one product, which are freed together with the plan.

    Args: vector – address of the bias or of its gradient; aux – address of the mask or the saved input; 0 for none.
    """

    def __init__(self, library: CublasLt, problem: ProductProblem, vector: int = 0, aux: int = 0) -> None:
        self.library = library
        self.problem = problem
        self._matmul = library.matmul
        self._layouts: list[int] = []
        self._descriptors: list[int] = []
        operands, kinds = (problem.a, problem.b, problem.out), (problem.dtype, problem.dtype, problem.out_type)
        for x, kind, offset in zip(operands, kinds, problem.offsets, strict=True):
            self._layouts.append(library.layout(kind, x.rows, x.columns, x.leading, problem.count, offset))
        self.layouts: Layouts = (self._layouts[0], self._layouts[1], self._layouts[2])
        self.descriptor = library.descriptor(
            problem.compute, problem.a.transposed, problem.b.transposed, problem.epilogue, vector, problem.vector_type, aux,
            problem.aux_leading,
        )  # fmt: skip
        self._descriptors.append(self.descriptor)
        scale = DataType.float64 if problem.dtype is DataType.float64 else DataType.float32
        self._alpha, self._beta = _address(scale, 1.0), _address(scale, float(problem.accumulate))
        self._algorithm = ctypes.create_string_buffer(ALGORITHM_BYTES)
        self._algorithm_address = ctypes.addressof(self._algorithm)

    def use(self, algorithm: bytes) -> None:
        """Sets the algorithm for later runs."""
        ctypes.memmove(self._algorithm, algorithm, ALGORITHM_BYTES)

    def try_run(self, a: int, b: int, out: int, workspace: int, size: int, stream: int) -> int:
        """Submits out = a b to a stream, given the addresses of row-major arrays; returns the library's status."""
        of_a, of_b, of_out = self.layouts
        return self._matmul(
            self.descriptor, self._alpha, b, of_a, a, of_b, self._beta, out, of_out, out, of_out, self._algorithm_address,
            workspace, size, stream,
        )  # fmt: skip

    def run(self, a: int, b: int, out: int, workspace: int, size: int, stream: int) -> None:
        """As `try_run`, but raises an error for a status other than success."""
        status = self.try_run(a, b, out, workspace, size, stream)
        if status:
            require(status, f"cublasLtMatmul of {self.problem.name}")

    def __del__(self) -> None:
        self.library.destroy(self._layouts, self._descriptors)
