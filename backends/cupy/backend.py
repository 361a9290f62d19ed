"""The CuPy backend: arrays, products and reductions of CuPy, formulas as elementwise kernels in CUDA C.

Only `to_numpy`, `item` and `synchronize` wait for the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ...errors import DeviceError, DtypeError, MixedBackends
from ...kernels.formula import Formula
from ...kernels.targets import cupy as target
from ...kernels.targets.device_memory import is_exhausted
from ...kernels.targets.segments import segment_table
from ...kernels.targets.storage import is_narrow
from ..arrays import dlpack_device, is_real, plain_tensor
from ..contract import Array, Backend, Random, Scalar, Unavailable
from ..entries import describe
from ..slots import Kind, Slot
from .availability import cupy_problem

_DLPACK_CUDA = (2, 13)
"""DLPack device types that CuPy reads without a copy: CUDA and managed memory."""


@lru_cache(maxsize=1)
def _sum_of_squares() -> Any:
    """The reduction kernel of `CupyBackend.sum_of_squares`."""
    import cupy

    return cupy.ReductionKernel(
        "T x", "float64 y", "static_cast<double>(x) * static_cast<double>(x)", "a + b", "y = a", "0",
        "fusedstep_sum_of_squares", reduce_type="double",
    )  # fmt: skip


class CupyBackend(Backend):
    """CuPy arrays on the current CUDA device, on CuPy's current stream.

    Attributes: launches – number of kernels that `map`, `update` and row operations have launched so far.
    """

    name: ClassVar[str] = "cupy"
    device: ClassVar[str] = "cuda"

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """See Backend.unavailable and cupy_problem."""
        return cupy_problem()

    def __init__(self) -> None:
        import cupy

        super().__init__(cupy)
        self.launches = 0

    # Arrays

    def require(self, *arrays: Any) -> None:
        """See Backend.require; also raises MixedBackends for arrays on a device other than the current one."""
        super().require(*arrays)
        here = self.xp.cuda.runtime.getDevice()
        for array in arrays:
            if array.data.device_id != here:
                there = array.data.device_id
                raise MixedBackends(
                    f"expected arrays on CUDA device {here}, which is the current one; got one on device {there}; work with it "
                    f"within `with cupy.cuda.Device({there}):`, or set CUDA_VISIBLE_DEVICES={there} for the whole process"
                )

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """See Backend.asarray; arrays of other libraries on this device are used without a copy."""
        return super().asarray(self._adopted(values), dtype)

    def _adopted(self, values: Any) -> Any:
        """See Backend; arrays of other libraries on this device."""
        foreign = not self.is_array(values) and hasattr(values, "__dlpack_device__")
        if not foreign or dlpack_device(values) not in _DLPACK_CUDA:
            return values
        adopted = self.xp.from_dlpack(plain_tensor(values))
        if not is_real(adopted):
            raise DtypeError(f"expected real numbers; got a {describe(adopted)}; convert it first")
        return adopted

    def _convert(self, array: Array, dtype: str | None) -> Array:
        return self.xp.ascontiguousarray(array if dtype is None else array.astype(self.dtype(dtype), copy=False))

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Context for calls that wait for the device, because errors of earlier asynchronous work are raised there.

        Raises: DeviceError in place of CuPy's error, unless that reports a lack of memory.
        """
        try:
            yield
        except self.xp.cuda.runtime.CUDARuntimeError as error:
            if self.out_of_memory(error):
                raise
            raise DeviceError(
                f"expected the device to finish its work; got {error}; all that it held is lost: start Python again from the "
                "last checkpoint, with CUDA_LAUNCH_BLOCKING=1 to see which call fails, and look for Xid in the system's log"
            ) from error

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy on the host; waits for the device."""
        with self._waiting():
            host: np.ndarray[Any, Any] = array.get()
        return host

    def item(self, scalar: Scalar) -> float:
        """See Backend.item."""
        with self._waiting():
            return float(scalar)

    def take_rows(self, array: Array, indices: Array, out: Array | None = None) -> Array:
        """See Backend.take_rows; indices must be in range, which is not checked on the device."""
        return self.xp.take(array, indices, axis=0, out=out)

    def sender(self, out: Array) -> Callable[[Any], None]:
        """See Backend.sender; copies through pinned memory, without waiting for the device."""
        from .pinned_ring import PinnedRing

        return PinnedRing(self, out).send

    def synchronize(self) -> None:
        """Waits for all streams of the device; `exclusive` keeps other threads from capturing meanwhile."""
        with self.exclusive(), self._waiting():
            self.xp.cuda.Device().synchronize()

    # Memory

    def slot(self, kinds: Sequence[Kind]) -> Slot:
        """See Backend.slot; in pinned memory, copied on a separate stream."""
        from .pinned_slots import PinnedSlot

        return PinnedSlot(self, kinds)

    def free_memory(self) -> int | None:
        """Bytes that the driver reports as free, plus unused bytes in CuPy's pool."""
        free: int = self.xp.cuda.runtime.memGetInfo()[0]
        return free + int(self.xp.get_default_memory_pool().free_bytes())

    def out_of_memory(self, error: BaseException) -> bool:
        """See Backend.out_of_memory; includes the errors of CuPy, the CUDA runtime, cuBLAS and Numba."""
        return super().out_of_memory(error) or is_exhausted(error)

    def trim_memory(self) -> None:
        """Waits for the device, then empties CuPy's pools."""
        self.synchronize()
        self.xp.get_default_memory_pool().free_all_blocks()
        self.xp.get_default_pinned_memory_pool().free_all_blocks()

    # Products and formulas

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        if is_narrow(a) or is_narrow(b) or is_narrow(out) or (accumulate and len(out.shape) == 3):
            super()._matmul(a, b, out, accumulate)
        elif not accumulate:
            self.xp.matmul(a, b, out=out)
        elif out.size and a.shape[1]:
            from cupy import cublas

            cublas.gemm("N", "N", a, b, out=out, beta=1.0)

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        self.launches += 1
        target.run_map(formula, outputs, arguments, random)

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None  # noqa: ARG002
    ) -> None:
        self.launches += 1
        target.run_update(formula, arrays, scalars, segments)

    def segments(self, ranges: Sequence[tuple[int, int, int]]) -> Any:
        """The table of kernels/targets/segments.py, on the device."""
        return self.asarray(segment_table(ranges))

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """See Backend.random_bits."""
        out = self.empty((rows, width), "uint32")
        self.launches += 1
        target.random_bits(out, random.state, random.stream)
        return out

    def permutation(self, count: int, random: Random) -> Array:
        """See Backend.permutation; sorted on the device."""
        words = self.random_bits(count, 2, random).astype(self.xp.uint64)
        keys = self.xp.left_shift(words[:, 0], self.xp.uint64(32)) | words[:, 1]
        return self.xp.argsort(keys, kind="stable")

    # Reductions

    def sum_of_squares(self, x: Array) -> Scalar:
        """See Backend.sum_of_squares; in float64, as a zero-dimensional array on the device."""
        self.require(x)
        return _sum_of_squares()(x)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float, most: float = sys.float_info.max) -> None:
        """See Backend.limit_norm; does not wait for the device."""
        self.require(scales)
        self.launches += 1
        most = min(most, float(np.finfo(scales.dtype).max))
        target.limit_norm(scales, self.xp.asarray(squares, dtype=scales.dtype), largest, most)
