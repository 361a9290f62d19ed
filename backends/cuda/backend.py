"""The CUDA backend: CuPy arrays, products with cuBLASLt, everything between them compiled by Numba for the GPU.

Its fake in Numba's simulator, on NumPy arrays, is in tests/fakes/simulated_cuda.py; it runs every line of this file.
"""

from __future__ import annotations

import os
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
"""Held while the precision of CuPy's own products is set, because CuPy has one setting for all threads."""


def simulated() -> bool:
    """Whether Numba was started as a simulator of CUDA."""
    from numba.core import config

    return bool(config.ENABLE_CUDASIM)


class OnDevice:
    """What the backend holds on one device.

    Attributes: lock – see CudaBackend.exclusive; buffers – by stream and use; outgrown – those that a captured graph may still
        write to; ones – an array with a single 1, by type; apart – by stream, the one on which its work is captured.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.buffers: dict[tuple[Hashable, str], Array] = {}
        self.outgrown: list[Array] = []
        self.ones: dict[str, Array] = {}
        self.apart: dict[Hashable, Any] = {}


class CudaBackend(CupyBackend):
    """CuPy arrays with kernels compiled by Numba and products planned by cuBLASLt, on CuPy's current stream.

    Attributes: launches – how many kernels have been launched so far; fuses – see Backend; may be switched off.
    """

    name: ClassVar[str] = "cuda"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64", "tf32", "bfloat16", "float16")
    fuses = True

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """All that CuPy may lack, and Numba CUDA, its compiler and its linker; in Numba's simulator there is no device."""
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
        self._dense = PlannedProducts()
        self._devices: dict[int, OnDevice] = {}

    def _start(self) -> None:
        super().__init__()

    def _device_number(self) -> int:
        number: int = self.xp.cuda.runtime.getDevice()
        return number

    @property
    def _device(self) -> OnDevice:
        """What is held on the current device."""
        number = self._device_number()
        found = self._devices.get(number)
        return self._devices.setdefault(number, OnDevice()) if found is None else found

    def exclusive(self) -> AbstractContextManager[Any]:
        """See Backend.exclusive: what one thread captures, or launches with buffers of its stream, no other one joins."""
        return self._device.lock

    def lane(self) -> Hashable:
        """Device and stream that the work of this thread goes to: what is captured on one is replayed on that one."""
        return self._device_number(), own_stream(self._stream_pointer())

    def _stream_pointer(self) -> int:
        pointer: int = self.xp.cuda.get_current_stream().ptr
        return pointer

    def launch(self, kernel: Any, geometry: Any, arguments: Sequence[Any]) -> None:
        """Hands a kernel to the device, on CuPy's current stream; Numba would copy an array of the host in silence."""
        self.require(*(a for a in arguments if isinstance(a, np.ndarray)))
        given = [
            wrapped(a.data.ptr, *kernel.shown(k, a)) if self.is_array(a) else a for k, a in enumerate(kernel.check(arguments))
        ]
        self.launches += 1
        launcher(kernel.compiled, self._stream_pointer(), *geometry)(*given)

    def scratch(self, like: Array) -> Callable[[int], Array]:
        """A function that lends a flat buffer; kernels of one stream run in order, so each stream has its own.

        Outgrown buffers are kept, because a captured graph may still write to them.
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
        """The numbers with which the blocks of a kernel count each other, 0 before and after; each stream has its own."""
        buffers, key = self._device.buffers, (own_stream(self._stream_pointer()), "counters")
        if key not in buffers:
            buffers[key] = self.zeros((self._launches.COUNTERS,), "uint32")
        return buffers[key]

    def one(self, like: Array) -> Array:
        """An array with a single 1 in the type of another one."""
        ones, name = self._device.ones, like.dtype.name
        if name not in ones:
            one = self.asarray(np.ones(1, name))
            self.synchronize()  # from now on work on any stream may read it
            ones[name] = one
        return ones[name]

    # Products

    @property
    def gemms(self) -> Gemms | None:
        """The product plans of the current device, created on first use; None without cuBLASLt, which is reported once."""
        found: Gemms | None = self._dense.gemms(self)
        return found

    def _matmul(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        self._dense.matmul(self, a, b, out, accumulate)

    def products(self, precision: str, deterministic: bool = False) -> AbstractContextManager[Any]:
        """See Backend.products."""
        within: AbstractContextManager[Any] = self._dense.products(precision, deterministic)
        return within

    def _make_gemms(self) -> Gemms:
        return Gemms(CublasLt(), CupyDevice(self.xp, self._device.lock))

    def _product(self, a: Array, b: Array, out: Array, accumulate: bool) -> None:
        """A product that cuBLASLt does not support, computed by CuPy, which rounds factors to TF32 only on request."""
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
        """Whether steps can be captured: CuPy's own products cannot."""
        return self.gemms is not None

    @property
    def capture_errors(self) -> tuple[type[BaseException], ...]:
        """What is raised where something cannot be captured: RuntimeErrors by CuPy and by us, others by Numba."""
        return (RuntimeError, *driver_errors())

    def executor(self, work: Work) -> Executor:
        """Steps as graphs."""
        return GraphExecutor(self, work)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within it work goes to a stream that can be captured, between what was handed out before and what comes after.

        That stream is the same one for all threads whose work goes to the default stream, so it takes `exclusive` around it.
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
            # Also where it was broken off: what was handed out until then still writes to the arrays of the step.
            before.wait_event(stream.record())

    def capture(self, work: Callable[[], object]) -> CapturedGraph:
        """A graph of what `work` hands to the device, with `launch`; nothing is computed meanwhile."""
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
        out = self.empty((1,), "float64" if x.dtype.name == "float64" else "float32")
        self._launches.run_sum(self, function, x.reshape(-1), out)
        return out.reshape(())

    def total(self, x: Array) -> Scalar:
        """In the precision of x, at least float32, compensated, as an array of no dimensions on the device; one launch."""
        self.require(x)
        return self._sum(self._sums.total, x) if x.size else super().total(x)

    def sum_of_squares(self, x: Array) -> Scalar:
        """In the precision of x, at least float32, compensated, as an array of no dimensions; one launch."""
        self.require(x)
        return self._sum(self._sums.sum_of_squares, x) if x.size else super().total(x)

    def limit_norm(self, scales: Array, squares: Scalar, largest: float) -> None:
        """See Backend.limit_norm; nothing leaves the device."""
        self.require(scales)
        given = self.xp.asarray(squares, dtype=scales.dtype).reshape(1)
        self._launches.run_limit_norm(self, scales, given, largest)
