"""What the host says to each step, through pinned memory, on a device that works when it likes.

The device is a stand-in, see lazy_device.py; real ones are in tests/gpu/test_device_steps.py.
"""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from lazy_device import DeviceArray, LazyBackend

pytest.importorskip("cupyx")

from fusedstep.backends.cupy import pinned_ring
from fusedstep.backends.cupy.pinned_ring import PinnedRing

SLOTS, STEPS = 2, 60


@pytest.fixture(autouse=True)
def unpinned(monkeypatch):
    import cupyx

    monkeypatch.setattr(cupyx, "empty_pinned", lambda shape, dtype: np.full(shape, -2, dtype))
    monkeypatch.setattr(pinned_ring, "SLOTS", SLOTS)  # few, so that this device falls behind that far


def _seen(seed: int) -> list[list[float]]:
    """What steps read that are handed to the device one after the other, each behind what the host said to it."""
    backend = LazyBackend(seed)
    device, out = backend.lazy, backend.empty((2, 3), "float32")
    ring, log = PinnedRing(backend, out), []
    for step in range(STEPS):
        ring.send([[step] * 3, [0.1] * 3])
        device.add(device.compute, lambda: True, lambda: log.append(np.array(out)[:, 0].tolist()))
    device.finish()
    return log


WANTED = [[float(step), float(np.float32(0.1))] for step in range(STEPS)]


@pytest.mark.parametrize("seed", range(8))
def test_each_step_reads_what_was_said_to_it_whenever_the_device_works(seed):
    assert _seen(seed) == WANTED


def test_the_host_waits_only_when_it_is_a_whole_ring_ahead(monkeypatch):
    backend = LazyBackend(0)
    monkeypatch.setattr(backend.lazy, "go_on", lambda: False)  # a device that does nothing at all
    ring = PinnedRing(backend, backend.empty((1,), "float32"))
    waited = []
    for _, event in ring._slots:
        monkeypatch.setattr(event, "synchronize", lambda event=event: waited.append(event.recorded - event.reached))
    for step in range(SLOTS + 2):
        ring.send([step])
    assert waited == [0] * SLOTS + [1, 1]


def test_without_the_wait_steps_read_what_was_said_to_later_ones(monkeypatch):
    begin = PinnedRing.__init__

    def careless(ring, backend, out):
        begin(ring, backend, out)
        for _, event in ring._slots:
            event.synchronize = lambda: None

    monkeypatch.setattr(PinnedRing, "__init__", careless)
    assert any(_seen(seed) != WANTED for seed in range(20))


class Room:
    """Pinned memory that is given back when no array shows it any more, and the memory itself, which outlives the test."""

    def __init__(self, memory):
        self.memory, self.__array_interface__ = memory, memory.__array_interface__


class Pool:
    """Pinned memory as CuPy's pool hands it out: what is given back is somebody else's at once, who writes to it."""

    def __init__(self):
        self.reused, self.all = 0, []

    def empty(self, shape, dtype):
        room = Room(np.full(shape, -2, dtype))
        self.all.append(room.memory)
        weakref.finalize(room, self.take_back, room.memory)
        return np.asarray(room)

    def take_back(self, memory):
        self.reused += 1
        memory[...] = -3


@pytest.fixture
def pool(monkeypatch):
    import cupyx

    def set_from_an_address(self, host, stream):
        """A device that copies holds no reference to what it copies from."""
        seen = SimpleNamespace(__array_interface__=host.__array_interface__)
        self.device.add(stream, lambda: True, lambda: np.copyto(self, np.asarray(seen)))

    made = Pool()
    monkeypatch.setattr(cupyx, "empty_pinned", made.empty)
    monkeypatch.setattr(DeviceArray, "set", set_from_an_address)
    return made


def _read_after_the_end(pool, seed, make, send):
    """What the device reads of numbers whose pinned memory was given back as soon as they were handed over."""
    backend = LazyBackend(seed)
    owner = make(backend)
    send(backend, owner)
    before = pool.reused
    del owner
    gc.collect()
    assert pool.reused > before, "the memory went back"
    backend.lazy.finish()


@pytest.mark.parametrize("seed", range(8))
def test_memory_is_not_given_back_before_it_is_read(pool, seed):
    log = []

    def make(backend):
        backend.out = backend.empty((3,), "float32")
        return PinnedRing(backend, backend.out)

    def send(backend, ring):
        ring.send([1.0, 2.0, 3.0])
        backend.lazy.add(backend.lazy.compute, lambda: True, lambda: log.append(np.array(backend.out).tolist()))

    _read_after_the_end(pool, seed, make, send)
    assert log == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("seed", range(8))
def test_nor_is_that_of_a_minibatch(pool, seed):
    from fusedstep.backends.cupy.pinned_slots import PinnedSlot

    saved = []

    def send(backend, slot):
        slot.begin()
        slot.host[0][...] = 5.0
        slot.send(2)
        saved.extend(slot.receive(2))

    _read_after_the_end(pool, seed, lambda backend: PinnedSlot(backend, [((2, 3), "float32")]), send)
    np.testing.assert_array_equal(saved[0], 5.0)


def test_without_the_wait_it_is(pool, monkeypatch):
    """The tests above would notice."""
    from fusedstep.backends.cupy import pinned

    monkeypatch.setattr(pinned, "_wait", lambda events: None)
    wrong = 0
    for seed in range(8):
        try:
            test_memory_is_not_given_back_before_it_is_read(pool, seed)
        except AssertionError:
            wrong += 1
    assert wrong


def test_a_device_that_was_lost_is_no_reason_to_complain(pool):
    backend = LazyBackend(0)
    ring = PinnedRing(backend, backend.empty((3,), "float32"))

    def lost():
        raise RuntimeError("cudaErrorIllegalAddress")

    events = [event for _, event in ring._slots]
    for event in events:
        event.synchronize = lost
    del ring
    gc.collect()
    assert pool.reused
