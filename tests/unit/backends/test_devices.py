"""More than one device, and streams of the same name: what belongs to one of them is not lent to another.

CuPy is a stand-in; the same on real devices needs two of them.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.cuda.backend import CudaBackend
from fusedstep.backends.cuda.cublaslt import Gemms, PlannedProducts
from fusedstep.backends.cuda.streams import PER_THREAD, own_stream
from fusedstep.tests.fakes.cublaslt import FakeCublasLt, HostDevice


class Machine:
    """CuPy on a machine with several devices, whose arrays are NumPy's."""

    def __init__(self):
        self.device, self.stream = 0, 0
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(getDevice=lambda: self.device),
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream),
        )


class Placed(np.ndarray):
    """An array that says which device it is on."""

    @property
    def data(self):
        return SimpleNamespace(device_id=self.place)


def placed(device):
    array = np.zeros(3, "f4").view(Placed)
    array.place = device
    return array


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def cuda(machine, monkeypatch):
    backend = object.__new__(CudaBackend)
    backend.xp, backend._devices, backend.array_type = machine, {}, np.ndarray
    backend._launches, backend._dense = SimpleNamespace(COUNTERS=8), PlannedProducts()
    for name, make in (("empty", np.empty), ("zeros", np.zeros)):
        monkeypatch.setattr(CudaBackend, name, lambda self, shape, dtype, make=make: make(shape, dtype))
    monkeypatch.setattr(CudaBackend, "_make_gemms", lambda self: Gemms(FakeCublasLt(HostDevice()), HostDevice()))
    return backend


def in_a_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(60)
    return found[0]


def belongings(cuda):
    """The addresses of what work on the current device and stream uses."""
    like = np.zeros(1, "f4")
    return cuda.scratch(like)(4).ctypes.data, cuda.counters().ctypes.data


def test_buffers_belong_to_a_device_and_a_stream(cuda, machine):
    seen = {}
    for machine.device in (0, 1):
        for machine.stream in (0, 7):
            seen[machine.device, machine.stream] = belongings(cuda)
            assert belongings(cuda) == seen[machine.device, machine.stream]
    assert len(set(seen.values())) == 4


def test_plans_and_locks_belong_to_a_device(cuda, machine):
    first, lock, lane = cuda.gemms, cuda.exclusive(), cuda.lane()
    machine.device = 1
    assert cuda.gemms is not first
    assert cuda.exclusive() is not lock
    assert cuda.lane() != lane
    machine.device = 0
    assert (cuda.gemms, cuda.exclusive(), cuda.lane()) == (first, lock, lane)


def test_a_default_stream_that_each_thread_has_is_told_apart(cuda, machine):
    assert own_stream(0) == in_a_thread(lambda: own_stream(0))
    assert own_stream(PER_THREAD) != in_a_thread(lambda: own_stream(PER_THREAD))
    machine.stream = PER_THREAD
    assert not {*belongings(cuda)} & {*in_a_thread(lambda: belongings(cuda))}
    machine.stream = 0
    assert belongings(cuda) == in_a_thread(lambda: belongings(cuda))


def test_workspaces_are_told_apart_likewise():
    device = HostDevice()
    gemms = Gemms(FakeCublasLt(device), device)
    assert gemms._workspace(0) == in_a_thread(lambda: gemms._workspace(0))
    assert gemms._workspace(PER_THREAD) != in_a_thread(lambda: gemms._workspace(PER_THREAD))


def test_an_array_of_another_device_is_refused(cuda, machine):
    cuda.require(placed(0), placed(0))
    machine.device = 1
    cuda.require(placed(1))
    with pytest.raises(fs.MixedBackends, match=r"on CUDA device 1, .*got one on device 0; .*cupy\.cuda\.Device\(0\)"):
        cuda.require(placed(1), placed(0))
