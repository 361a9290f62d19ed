"""The reference backend: NumPy, multi-threaded GEMMs, formulas in cache-sized blocks.

It is the oracle of every test.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from ..kernels.formula import Formula
from ..kernels.targets import numpy as target
from .arrays import c_order, on_host
from .base import Array, Backend, Random, Scalar


class NumpyBackend(Backend):
    """NumPy on the host."""

    name: ClassVar[str] = "numpy"

    def __init__(self) -> None:
        super().__init__(np)

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """See Backend.asarray."""
        host = on_host(values, self.name)
        with self.quiet():
            return c_order(host if dtype is None else host.astype(dtype, copy=False))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy."""
        return np.array(array)

    def quiet(self) -> AbstractContextManager[Any]:
        """See Backend.quiet."""
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:
        """See Backend.take_rows; indices must be in range."""
        return np.take(array, indices, axis=0, out=out, mode="clip" if out is not None else "raise")

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        if accumulate:
            out += a @ b
        else:
            np.matmul(a, b, out=out)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        target.run_map(formula, outputs, arguments, random)

    def _update(self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any) -> None:
        if not np.isnan(scalars[0, 0]):
            target.run_update(formula, arrays, scalars, segments)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """int64 [segments, 3]."""
        return np.array(ranges, np.int64).reshape(-1, 3)

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """See Backend.random_bits."""
        out = np.empty((rows, width), np.uint32)
        target.random_bits(rows, width, random.state, random.stream, 0, out)
        return out

    def sum_of_squares(self, x: Array) -> Scalar:
        """In float64, block by block."""
        self.require(x)
        total = 0.0
        for start in range(0, x.size, target.BLOCK):
            part = x[start : start + target.BLOCK].astype(np.float64)
            total += float(np.sum(np.multiply(part, part, out=part)))
        return total
