"""The reference backend: NumPy, multi-threaded products (with oneMKL if blas.py selects it), formulas in blocks.

All tests compare with it. Its steps make one call after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ...kernels.formula import Formula
from ...kernels.rows.numpy import ROWS
from ...kernels.targets import numpy as target
from ...kernels.targets.blas import mkl
from ...kernels.targets.memory import aligned_empty, aligned_zeros
from ...kernels.targets.products import multiply
from ...kernels.targets.storage import is_narrow
from ..arrays import c_order, cast, on_host
from ..contract import Array, Backend, Random, Scalar
from ..segments import Segments
from ..threads import single_threaded_blas

SQUARES = 9984
"""Elements whose squares BLAS sums at a time: few enough for it to stay on one thread and for float32 to be exact enough."""

_NAMES: dict[Any, str] = {
    np.dtype(name): name
    for name in ("float32", "float64", "float16", "bool", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))
}
"""Names of data types in this machine's byte order, which NumPy takes microseconds to spell."""

_UNSIGNED = {bytes_: np.dtype(f"u{bytes_}") for bytes_ in (1, 2, 4, 8)}


class NumpyBackend(Backend):
    """NumPy on the host."""

    name: ClassVar[str] = "numpy"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64", "bfloat16", "float16")
    row_table = ROWS
    own_products: ClassVar[int] = 2**18
    """Multiplications up to which NumPy's library computes a product, also beside MKL. So far OpenBLAS takes one thread: from
    there on, its idle threads would look for work on cores that MKL's next product needs."""

    def __init__(self) -> None:
        super().__init__(np)
        library = mkl()  # loaded here, before the BLAS libraries of this process are listed
        self.blas = library.name if library else "BLAS of NumPy"

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """See Backend.empty."""
        return aligned_empty(shape, self.dtype(dtype))

    def zeros(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """See Backend.zeros."""
        return aligned_zeros(shape, self.dtype(dtype))

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """See Backend.asarray."""
        if type(values) is np.ndarray and values.flags.c_contiguous:
            name = _NAMES.get(values.dtype)
            if name is not None and (dtype is None or dtype == name):
                return values
            if name is not None and dtype is not None and values.dtype.kind in "iu" and dtype.startswith("int"):
                return values.astype(dtype)
        host = on_host(values, self.name)
        if dtype is None or host.dtype.kind != "f":
            return c_order(cast(host, dtype))
        with self.quiet():
            return c_order(cast(host, dtype))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy."""
        return np.array(array)

    def dtype_name(self, array: Array) -> str:
        """See Backend.dtype_name."""
        return _NAMES.get(array.dtype) or str(array.dtype)

    def quiet(self) -> AbstractContextManager[Any]:
        """See Backend.quiet."""
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")

    def sender(self, out: Array) -> Callable[[Any], None]:
        """See Backend.sender."""
        return partial(out.__setitem__, ...)

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:
        """See Backend.take_rows; indices must be in range."""
        return np.take(array, indices, axis=0, out=out, mode="clip" if out is not None else "raise")

    def all_below(self, array: Array, bound: int) -> bool:
        """See Backend.all_below; negative numbers read without their sign are large ones."""
        if array.dtype.kind == "f":
            return super().all_below(array, bound)
        return bool(np.maximum.reduce(array.view(_UNSIGNED[array.itemsize]), None) < bound)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """See Backend.products."""
        del precision
        return single_threaded_blas if deterministic else nullcontext()

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        if 2 in (a.itemsize, b.itemsize, out.itemsize):
            super()._matmul(a, b, out, accumulate)
        elif len(out.shape) == 3:
            for one in zip(a, b, out, strict=True):
                multiply(*one, accumulate, self.own_products)
        else:
            multiply(a, b, out, accumulate, self.own_products)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        target.run_map(formula, outputs, arguments, random)

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None
    ) -> None:
        target.run_update(formula, arrays, scalars, segments.table, random)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """See Backend.segments."""
        return Segments(np.array(ranges, np.int64).reshape(-1, 3))

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """See Backend.random_bits."""
        return target.random_bits(rows, width, random.state, random.stream)

    def total(self, x: Array) -> Scalar:
        """See Backend.total."""
        self.require(x)
        return float(np.add.reduce(self.wide(x), None, np.float64))

    def sum_of_squares(self, x: Array) -> Scalar:
        """In float64, from blocks that BLAS sums; a block whose sum overflows is summed again in float64."""
        self.require(x)
        total = 0.0
        narrow = is_narrow(x)
        for start in range(0, x.size, SQUARES):
            part = x[start : start + SQUARES]
            if narrow:
                part = self.wide(part)
            squares = float(part.dot(part))
            total += squares if squares < math.inf else _wide_squares(part)
        return total


def _wide_squares(part: Array) -> float:
    wide = part.astype(np.float64)
    return float(np.dot(wide, wide))
