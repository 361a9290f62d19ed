"""What surrounds the capture of a graph: memory, order and errors, on stand-ins for CuPy's streams and allocator.

The same on a real device is in tests/gpu/test_device_steps.py.
"""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from fusedstep.backends.cuda.backend import CudaBackend
from fusedstep.backends.cuda.capture import capture, driver_errors
from fusedstep.backends.cuda.several import SeveralSteps


class Memory:
    """What an allocator gives."""


class Stream:
    """Writes down what it is told."""

    def __init__(self, name, told, ptr=0):
        self.name, self.told, self.ptr = name, told, ptr

    def __enter__(self):
        self.told.append(f"{self.name} is current")

    def __exit__(self, *_):
        self.told.append(f"{self.name} is not")

    def record(self):
        return f"what {self.name} had"

    def wait_event(self, event):
        self.told.append(f"{self.name} waits for {event}")

    def begin_capture(self):
        self.told.append("begin")

    def end_capture(self):
        self.told.append("end")
        return SimpleNamespace(launch=lambda stream: self.told.append("launch"))


class Cuda:
    """The part of `cupy.cuda` that captures."""

    def __init__(self):
        self.told = []
        self.current = Stream("default", self.told)
        self.allocator = lambda size: Memory()
        self.get_current_stream = lambda: self.current
        self.get_allocator = lambda: self.allocator
        self.Stream = lambda non_blocking: Stream("apart", self.told, 7)
        self.device = 0
        self.runtime = SimpleNamespace(getDevice=lambda: self.device)

    @contextmanager
    def using_allocator(self, allocator):
        before, self.allocator = self.allocator, allocator
        try:
            yield
        finally:
            self.allocator = before


@pytest.fixture
def cupy():
    return SimpleNamespace(cuda=Cuda())


def test_a_graph_holds_what_was_allocated_while_it_was_captured_and_no_longer(cupy):
    seen = []
    before = cupy.cuda.allocator

    def work():
        seen.append(weakref.ref(cupy.cuda.get_allocator()(512)))  # dropped at once, as a temporary of a step is

    graph = capture(cupy, work)
    assert cupy.cuda.allocator is before
    graph.launch()
    assert cupy.cuda.told == ["begin", "end", "launch"]
    gc.collect()
    assert seen[0]() is not None
    del graph
    gc.collect()
    assert seen[0]() is None


def test_a_capture_that_is_broken_off_ends_and_gives_its_memory_back(cupy):
    seen = []
    before = cupy.cuda.allocator

    def work():
        seen.append(weakref.ref(cupy.cuda.get_allocator()(512)))
        raise MemoryError("no more")

    with pytest.raises(MemoryError):
        capture(cupy, work)
    assert cupy.cuda.told == ["begin", "end"]
    assert cupy.cuda.allocator is before
    gc.collect()
    assert seen[0]() is None


@pytest.mark.parametrize("fails", [False, True])
def test_what_comes_after_work_apart_waits_for_it_also_where_it_was_broken_off(cupy, fails):
    backend = object.__new__(CudaBackend)
    backend.xp, backend._devices = cupy, {}
    try:
        with backend.apart():
            if fails:
                raise MemoryError
    except MemoryError:
        pass
    assert cupy.cuda.told == [
        "apart waits for what default had", "apart is current", "apart is not", "default waits for what apart had",
    ]  # fmt: skip


def test_errors_of_numba_and_of_the_package_below_it_are_reasons_not_to_capture():
    pytest.importorskip("numba_cuda", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")
    names = {error.__name__ for error in driver_errors()}
    assert names == {"CudaDriverError", "CUDAError"}
    assert not any(issubclass(error, RuntimeError) for error in driver_errors()), "they would not have to be named"
    backend = object.__new__(CudaBackend)
    assert issubclass(RuntimeError, backend.capture_errors)


def test_a_launch_has_all_of_its_steps_or_none():
    launch = SeveralSteps.__new__(SeveralSteps)
    launch.count = 4
    assert [launch.next(left) for left in (9, 5, 4, 3, 1)] == [4, 4, 4, 0, 0]
