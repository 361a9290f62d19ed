"""The CUDA backend: CuPy arrays, matrix products by cuBLASLt, all other kernels compiled by Numba.

tests/fakes/simulated_cuda.py is a fake on NumPy arrays in Numba's simulator; it runs every line of this file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import numpy as np

from ...kernels.formula import Formula
from ..contract import Array, Random, Scalar, Unavailable
from ..cupy.backend import CupyBackend
from ..executors.base import Executor, Work
from .capture import CapturedGraph, capture, driver_errors
from .cublaslt import CublasLt, CupyDevice, Gemms, PlannedProducts
from .graph import GraphExecutor
from .handles import launcher, wrapped
from .streams import own_stream
from .toolchain import compiler_problem, current_capability, numba_cuda_problem

_DEFAULT_STREAMS = (0, 1, 2)
"""Handles of CUDA's default streams, which cannot be captured."""
_COMPUTE_TYPE = threading.Lock()
"""Held while the precision of CuPy's own products is changed, because CuPy has one setting for all threads."""


def simulated() -> bool:
    """Whether Numba's CUDA simulator is switched on."""
    if importlib.util.find_spec("numba") is None:
        return False
    from numba.core import config

    return bool(config.ENABLE_CUDASIM)


class OnDevice:
    """What the backend keeps for one device.

    Attributes: lock – see CudaBackend.exclusive; buffers – (stream, use) -> array; outgrown – replaced buffers, which a
        captured graph may still write to; ones – dtype -> array [1] that contains 1; apart – stream -> stream on which its work
        is captured.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.buffers: dict[tuple[Hashable, str], Array] = {}
        self.outgrown: list[Array] = []
        self.ones: dict[str, Array] = {}
        self.apart: dict[Hashable, Any] = {}


class CudaBackend(CupyBackend):
    """CuPy arrays with kernels compiled by Numba and products planned by cuBLASLt, on CuPy's current stream.

    Attributes: launches – number of kernels launched so far; fuses – see Backend; may be set to False.
    """

    name: ClassVar[str] = "cuda"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64", "tf32", "bfloat16", "float16")
    fuses = True

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """Checks CuPy, then Numba CUDA with its compiler and linker; in Numba's simulator there is no device."""
        problem = super().unavailable() or numba_cuda_problem()
        # Numba is imported only where this backend may run or somebody asks for the simulator, for it takes long.
        if (problem is None or "NUMBA_ENABLE_CUDASIM" in os.environ) and simulated():
            return numba_cuda_problem() or Unavailable(
                "Numba's simulator is switched on (NUMBA_ENABLE_CUDASIM=1), and nothing stands in for the device",
                "unset NUMBA_ENABLE_CUDASIM; or, in a checkout, call fusedstep.tests.fakes.simulate_cuda() first",
            )
        if problem is None:
            from cupy.cuda import runtime

            problem = compiler_problem(current_capability(), int(runtime.driverGetVersion()))
        return problem

    def __init__(self) -> None:
        self._start()
        from ...kernels.rows.cuda import launches, sums
        from ...kernels.targets.cuda import bits, maps, updates

        self._bits, self._maps, self._updates, self._launches, self._sums = bits, maps, updates, launches, sums
        self.row_table = launches.ROWS
        self._dense: PlannedProducts = PlannedProducts()
        self._devices: dict[int, OnDevice] = {}

    def _start(self) -> None:
        super().__init__()

    def _device_number(self) -> int:
        return int(self.xp.cuda.runtime.getDevice())

    @property
    def _device(self) -> OnDevice:
        """The buffers, streams and lock of the current device."""
        number = self._device_number()
        found = self._devices.get(number)
        return self._devices.setdefault(number, OnDevice()) if found is None else found

    def exclusive(self) -> AbstractContextManager[Any]:
        """See Backend.exclusive: no other thread captures on this device, or launches kernels that use shared buffers."""
        return self._device.lock

    def lane(self) -> Hashable:
        """(device, stream) that this thread submits work to; a graph is replayed on the lane on which it was captured."""
        return self._device_number(), own_stream(self._stream_pointer())

    def _stream_pointer(self) -> int:
        return int(self.xp.cuda.get_current_stream().ptr)

    def launch(self, kernel: Any, geometry: Any, arguments: Sequence[Any]) -> None:
        """Launches a kernel on CuPy's current stream. NumPy arrays are refused, because Numba would copy them silently."""
        self.require(*(a for a in arguments if isinstance(a, np.ndarray)))
        given = [
            wrapped(a.data.ptr, *kernel.shown(k, a)) if self.is_array(a) else a for k, a in enumerate(kernel.check(arguments))
        ]
        self.launches += 1
        launcher(kernel.compiled, self._stream_pointer(), *geometry)(*given)

    def scratch(self, like: Array) -> Callable[[int], Array]:
        """A function size -> flat buffer in the type of an array. Each stream has its own buffer, as its kernels run in order.

        A buffer that becomes too small is kept, because a captured graph may still write to it.
        """
        device, key = self._device, (own_stream(self._stream_pointer()), like.dtype.name)

        def lend(size: int) -> Array:
            buffer = device.buffers.get(key)
            if buffer is None or buffer.size < size:
                if buffer is not None:
                    device.outgrown.append(buffer)
                buffer = device.buffers[key] = self.empty((max(size, 65_536),), like.dtype.name)
            return buffer[:size]

        return lend

    def counters(self) -> Array:
        """uint32 [COUNTERS], 0 before and after each kernel, by which its blocks count each other; one array per stream."""
        buffers, key = self._device.buffers, (own_stream(self._stream_pointer()), "counters")
        if key not in buffers:
            buffers[key] = self.zeros((self._launches.COUNTERS,), "uint32")
        return buffers[key]

    def one(self, like: Array) -> Array:
        """An array [1] that contains 1, in the type of another array."""
        ones, name = self._device.ones, like.dtype.name
        if name not in ones:
            one = self.asarray(np.ones(1, name))
            self.synchronize()  # so that work on any stream may read it
            ones[name] = one
        return ones[name]

    # Products

    @property
    def gemms(self) -> Gemms | None:
        """The product plans of the current device, created on first use; None without cuBLASLt, with one warning."""
        return self._dense.gemms(self)

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        self._dense.matmul(self, a, b, out, accumulate)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """See Backend.products."""
        return self._dense.products(precision, deterministic)

    def _make_gemms(self) -> Gemms:
        return Gemms(CublasLt(), CupyDevice(self.xp, self._device.lock))

    def _product(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        """A product that cuBLASLt does not support, computed by CuPy, in TF32 if `products` asks for it."""
        from cupy._core import _routines_linalg as linalg

        single = np.dtype(np.float32)
        with _COMPUTE_TYPE:
            before = linalg.get_compute_type(single)
            linalg.set_compute_type(single, linalg.COMPUTE_TYPE_TF32 if self._dense.wanted.tf32 else before)
            try:
                super()._matmul(a, b, out, accumulate)
            finally:
                linalg.set_compute_type(single, before)

    # Graphs

    @property
    def captures(self) -> bool:
        """Whether steps can be captured: only with cuBLASLt, because CuPy's own products cannot be captured."""
        return self.gemms is not None

    @property
    def capture_errors(self) -> tuple[type[BaseException], ...]:
        """Errors that capturing may raise: RuntimeErrors from CuPy and this package, others from Numba."""
        return (RuntimeError, *driver_errors())

    def executor(self, work: Work) -> Executor:
        """See Backend.executor: steps are captured as CUDA graphs."""
        return GraphExecutor(self, work)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Context in which work goes to a stream that can be captured, ordered after earlier and before later work.

        All threads that use the default stream share this stream, so callers must hold `exclusive`.
        """
        before = self.xp.cuda.get_current_stream()
        if before.ptr not in _DEFAULT_STREAMS:
            yield
            return
        streams, key = self._device.apart, own_stream(before.ptr)
        if key not in streams:
            streams[key] = self.xp.cuda.Stream(non_blocking=True)
        stream = streams[key]
        stream.wait_event(before.record())
        try:
            with stream:
                yield
        finally:
            # Also after an error: work that was already submitted still writes to the arrays of the step.
            before.wait_event(stream.record())

    def capture(self, work: Callable[[], object]) -> CapturedGraph:
        """A graph of the work that `work` submits, with a method `launch`; nothing is computed during capture."""
        return capture(self.xp, work)

    # Formulas

    def _map(self, formula: Formula, outputs: tuple[Array, ...], arguments: Sequence[Any], random: Random | None) -> None:
        self._maps.run_map(formula, outputs, arguments, random, self.launch)

    def _update(
        self, formula: Formula, arrays: Sequence[Array], scalars: Array, segments: Any, random: Random | None
    ) -> None:
        self._updates.run_update(formula, arrays, scalars, segments, random, self.launch)

    def random_bits(self, rows: int, width: int, random: Random) -> Array:
        """See Backend.random_bits."""
        out = self.empty((rows, width), "uint32")
        self._bits.random_bits(out, random.state, random.stream, self.launch)
        return out

    # Rows and sums

    def _sum(self, function: Callable[..., Any], x: Array) -> Scalar:
        self.require(x)
        if not x.size:
            return super().total(x)
        out = self.empty((1,), "float64" if x.dtype.name == "float64" else "float32")
        self._launches.run_sum(self, function, x.reshape(-1), out)
        return out.reshape(())

    def total(self, x: Array) -> Scalar:
        """Compensated, in the precision of x but at least float32, as a zero-dimensional array on the device; one launch."""
        return self._sum(self._sums.total, x)

    def sum_of_squares(self, x: Array) -> Scalar:
        """Compensated, in the precision of x but at least float32, as a zero-dimensional array on the device; one launch."""
        return self._sum(self._sums.sum_of_squares, x)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float, most: float = sys.float_info.max) -> None:
        """See Backend.limit_norm; does not wait for the device."""
        self.require(scales)
        given = self.xp.asarray(squares, dtype=scales.dtype).reshape(1)
        most = min(most, float(np.finfo(scales.dtype).max))
        self._launches.run_limit_norm(self, scales, given, largest, most)
