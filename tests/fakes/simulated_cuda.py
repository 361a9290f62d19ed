"""The CUDA backend in Numba's simulator: NumPy's arrays in place of the device's, a fake cuBLASLt, graphs that are replayed.

While a step is captured nothing is computed, as on a device: kernels, products and array operations are written down and done
when the graph is launched. What a device forbids then raises a Fault.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np

from ...backends.arrays import c_order, cast, on_host
from ...backends.contract import Array, Backend, Unavailable
from ...backends.cuda.backend import CudaBackend, simulated
from ...backends.cuda.cublaslt import Gemms
from ...backends.cuda.toolchain import numba_cuda_problem
from . import simulate_cuda
from .cublaslt import FakeCublasLt, Fault, HostDevice
from .streams import SimulatedStreams

_APART = 1
"""The stream on which work of the default one is captured."""
_streams = SimulatedStreams({})
_one_kernel_at_a_time = threading.Lock()
"""Numba's simulator keeps what runs in global variables."""
_VIEWS = frozenset({np.reshape, np.ravel, np.transpose, np.shape, np.ndim, np.size, np.may_share_memory, np.shares_memory})
"""Functions that only look at where an array lies."""


def _plain(value: Any) -> Any:
    """The same memory as NumPy's own class, also inside of lists."""
    if isinstance(value, SimulatedArray):
        return value.view(np.ndarray)
    return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value


def _later(call: Callable[[], Any], result: Any = None) -> Any:
    """Writes a call down; its result, of which one to look at is given, comes into memory that is made now."""
    graph = _streams.graph
    assert graph is not None
    if result is None:
        graph.append(call)
        return None
    room = np.empty(np.shape(result), np.asarray(result).dtype)
    graph.append(lambda: np.copyto(room, call()))
    return room.view(SimulatedArray)


class SimulatedArray(np.ndarray[Any, Any]):
    """Memory of the simulated device."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any) -> Any:
        """See NumPy; written down while capturing."""
        call = partial(getattr(ufunc, method), *map(_plain, inputs), **_plain_options(options))
        if out:
            call = partial(call, out=tuple(map(_plain, out)))
        if not _streams.capturing:
            result = call()
        elif out or method == "at":
            result = _later(call)
        else:
            with np.errstate(all="ignore"):
                result = _later(call, call())
        return (out[0] if len(out) == 1 else out) if out else _device(result)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        """See NumPy; written down while capturing."""
        call = partial(function, *map(_plain, arguments), **_plain_options(options))
        out = options.get("out")
        if not _streams.capturing or function in _VIEWS:
            result = call()
            return _device(result) if out is None else out
        if function is np.copyto or out is not None:
            _later(call)
            return out
        with np.errstate(all="ignore"):
            return _later(call, call())

    def __getitem__(self, key: Any) -> Any:
        """See NumPy; single elements are arrays of no dimensions, as on a device."""
        found = super().__getitem__(key)
        if not _streams.capturing or isinstance(found, np.ndarray):
            return found
        return super().__getitem__((*key, ...) if isinstance(key, tuple) else (key, ...))

    def __setitem__(self, key: Any, value: Any) -> None:
        target = self.view(np.ndarray)
        if not _streams.capturing:
            target[key] = _plain(value)
        else:
            if not isinstance(value, SimulatedArray | float | int):
                raise Fault(f"expected values of the device while a graph is captured; got {type(value).__name__}")
            _later(partial(target.__setitem__, key, _plain(value)))

    def copy(self, order: Any = "C") -> Any:
        """See NumPy."""
        plain = self.view(np.ndarray)
        call = partial(plain.copy, order)
        return _device(call()) if not _streams.capturing else _later(call, plain)

    def astype(self, dtype: Any, *arguments: Any, copy: Any = True, **options: Any) -> Any:
        """See NumPy."""
        plain = self.view(np.ndarray)
        if not copy and plain.dtype == np.dtype(dtype):
            return self
        call = partial(plain.astype, dtype, *arguments, **options)
        return _device(call()) if not _streams.capturing else _later(call, call())

    def fill(self, value: Any) -> None:
        """See NumPy."""
        self[...] = value

    def _asked(self) -> Any:
        if _streams.capturing:
            raise Fault("expected no question to the device while a graph is captured; got one for a value")
        return self.view(np.ndarray)

    def __float__(self) -> float:
        return float(self._asked())

    def __int__(self) -> int:
        return int(self._asked())

    def __bool__(self) -> bool:
        return bool(self._asked())

    def item(self, *arguments: Any) -> Any:
        """See NumPy."""
        return self._asked().item(*arguments)

    def tolist(self) -> Any:
        """See NumPy."""
        return self._asked().tolist()


def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in options.items()}


def _device(value: Any) -> Any:
    """Results as memory of the device."""
    return value.view(SimulatedArray) if type(value) is np.ndarray else value


class SimulatedGraph:
    """What a captured step hands to the device.

    Attributes: calls – in order; launches – of the graph.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.launches = 0

    def launch(self) -> None:
        """Does it all."""
        self.launches += 1
        with np.errstate(all="ignore"):
            for call in self.calls:
                call()


class SimulatedCuda(CudaBackend):
    """Numba's simulator in place of the device: NumPy stands in for CuPy."""

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """Numba CUDA may not be there, or have been imported without the simulator."""
        problem = numba_cuda_problem()
        if problem is None and not simulated():
            return Unavailable("Numba was imported without its simulator", "set NUMBA_ENABLE_CUDASIM=1 before Python starts")
        return problem

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that reads the pickle simulates as well."""
        return simulate_cuda, ()

    def _start(self) -> None:
        Backend.__init__(self, np)
        _mend_simulator()
        self.launches = 0

    def _device_number(self) -> int:
        return 0

    def _stream_pointer(self) -> int:
        return _streams.current

    def launch(self, kernel: Any, geometry: Any, arguments: Sequence[Any]) -> None:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        # Wrapped here, because the simulator would copy an array once for each argument that it is.
        given = [
            FakeCUDAArray(_plain(a).view(kernel.seen.get(k, a.dtype))) if isinstance(a, np.ndarray) else a
            for k, a in enumerate(kernel.check(arguments))
        ]
        self.launches += 1
        run = partial(_run_quietly, kernel.compiled, geometry, given)
        if not _streams.capturing:
            run()
        else:
            _later(run)

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        return _device(super().empty(shape, dtype))

    def zeros(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        return _device(super().zeros(shape, dtype))

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        if isinstance(values, SimulatedArray) and _streams.capturing:
            return values if dtype is None or values.dtype == self.dtype(dtype) else values.astype(self.dtype(dtype))
        if _streams.capturing:
            raise Fault(f"expected no copy from the host while a graph is captured; got a {type(values).__name__}")
        if isinstance(values, SimulatedArray):
            kept = cast(values, dtype)
            return kept if kept.flags.c_contiguous else _device(c_order(_plain(kept)))
        return _device(c_order(cast(on_host(values, self.name), dtype)))

    # Graphs

    captures = True
    capture_errors = ()

    @contextmanager
    def apart(self) -> Iterator[None]:
        with _streams.on(_APART):
            yield

    def capture(self, work: Callable[[], object]) -> Any:
        graph = SimulatedGraph()
        with _streams.capture(graph.calls):
            work()
        return graph

    # What is done on NumPy's arrays as on those of any library, and not as CuPy does it

    require, item, sender, synchronize = Backend.require, Backend.item, Backend.sender, Backend.synchronize
    slot, free_memory, trim_memory = Backend.slot, Backend.free_memory, Backend.trim_memory
    _product = Backend._matmul

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        return np.array(array)

    def quiet(self) -> AbstractContextManager[Any]:
        return np.errstate(all="ignore")

    def _make_gemms(self) -> Gemms:
        memory = HostDevice(streams=_streams, lock=self._device.lock)
        return Gemms(FakeCublasLt(memory), memory)


def _mend_simulator() -> None:
    """Kernels with barriers run several times faster, and all threads of a block share the same memory.

    Numba's simulator asks in a loop whether all threads have come to a barrier, and each time keeps them from going there for
    the 5 ms that Python leaves to a thread: whoever asks now lets go of the interpreter first. Two threads that ask for shared
    memory for the first time at once would get an array each: now one asks after the other.
    """
    from numba.cuda.simulator import kernel, kernelapi

    def is_alive(thread: threading.Thread) -> bool:
        time.sleep(0)
        return threading.Thread.is_alive(thread)

    if hasattr(kernel, "BlockThread"):
        kernel.BlockThread.is_alive = is_alive
    if hasattr(kernelapi, "FakeCUDAShared") and not hasattr(kernelapi.FakeCUDAShared, "one_at_a_time"):
        # The simulator tells arrays apart by the line that asks, so the lock cannot lie around its own method.
        kernelapi.FakeCUDAShared.one_at_a_time = threading.Lock()
        kernelapi.FakeCUDAShared.given_at_launch = kernelapi.FakeCUDAShared.array
        kernelapi.FakeCUDAShared.array = _shared_array


def _shared_array(shared: Any, shape: Any, dtype: Any) -> Array:
    """The array of a block that a line of a kernel asks for; what nobody has written yet is NaN, as far as the type has it.

    Args: shared – the simulator's memory of one block; shape – 0 for the memory that was given at the launch.
    """
    from numba import types
    from numba.np import numpy_support

    if shape == 0:
        return shared.given_at_launch(shape, dtype)
    asking = sys._getframe(1)
    line = (asking.f_code.co_filename, asking.f_lineno)
    with shared.one_at_a_time:
        found = shared._allocations.get(line)
        if found is None:
            kind = numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else np.dtype(dtype)
            found = shared._allocations[line] = np.full(shape, np.nan if kind.kind == "f" else 77, kind)
        return found


def _run_quietly(kernel: Any, geometry: Any, given: Sequence[Any]) -> None:
    with _one_kernel_at_a_time, warnings.catch_warnings():
        # Arithmetic on a device overflows and divides by zero in silence.
        warnings.simplefilter("ignore", RuntimeWarning)
        grid, block, *shared = geometry
        kernel[grid, block, 0, *(shared or [0])](*given)  # the simulator remembers one geometry a kernel, the last one
