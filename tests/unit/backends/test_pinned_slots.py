"""The order of copies and steps that pinned slots keep, on a device that works when it likes: a queue for each stream.

The device is a stand-in with the semantics of CUDA streams and events; real ones are in tests/gpu/test_device_data.py.
"""

from __future__ import annotations

import random
import threading
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("cupyx")

from fusedstep.backends.pinned_slots import PinnedSlot
from fusedstep.framework.data.loader import Loader

CUTS = [(start, start + 4) for start in range(0, 120, 4)]


class LazyDevice:
    """Streams whose work is done at random times, as `seed` says, but in order, and never before what it waits for."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lock = threading.RLock()
        self.streams: list[list] = []
        self.compute = LazyStream(self)

    def add(self, stream, ready, work) -> None:
        with self.lock:
            stream.queue.append((ready, work))
            for _ in range(self.chance.randrange(3)):
                self.go_on()

    def go_on(self) -> bool:
        """Does one piece of work, of some stream that has any to do."""
        with self.lock:
            able = [queue for queue in self.streams if queue and queue[0][0]()]
            if not able:
                return False
            self.chance.choice(able).pop(0)[1]()
            return True

    def finish(self) -> None:
        while self.go_on():
            pass
        assert not any(self.streams), "a stream waits for what never comes"


class LazyStream:
    def __init__(self, device, non_blocking=True) -> None:
        self.device, self.queue = device, []
        device.streams.append(self.queue)

    def wait_event(self, event) -> None:
        wanted = event.recorded
        self.device.add(self, lambda: event.reached >= wanted, lambda: None)


class LazyEvent:
    def __init__(self, device) -> None:
        self.device, self.recorded, self.reached = device, 0, 0

    def record(self, stream) -> None:
        self.recorded += 1
        number = self.recorded

        def reach() -> None:
            self.reached = max(self.reached, number)

        self.device.add(stream, lambda: True, reach)

    def synchronize(self) -> None:
        while self.reached < self.recorded:
            self.device.go_on()


class DeviceArray(np.ndarray):
    """An array that can be written by an asynchronous copy."""

    device = None

    def set(self, host, stream) -> None:
        self.device.add(stream, lambda: True, lambda: np.copyto(self, host))


class LazyBackend:
    """What PinnedSlot asks of the cupy backend."""

    def __init__(self, seed: int) -> None:
        device = self.lazy = LazyDevice(seed)

        class Cuda:
            Device = staticmethod(nullcontext)
            Stream = staticmethod(lambda non_blocking: LazyStream(device))
            Event = staticmethod(lambda disable_timing: LazyEvent(device))
            get_current_stream = staticmethod(lambda: device.compute)

        class Xp:
            cuda = Cuda

        class Mine(DeviceArray):
            pass

        Mine.device = device
        self.xp, self.array = Xp, Mine

    def empty(self, shape, dtype):
        return np.full(shape, -1, dtype).view(self.array)


def _seen(seed: int, kind: type[PinnedSlot], monkeypatch) -> np.ndarray:
    """What steps read that are handed to the device one after the other, while a loader fills the slots."""
    import cupyx

    monkeypatch.setattr(cupyx, "empty_pinned", lambda shape, dtype: np.full(shape, -2, dtype))
    backend, log = LazyBackend(seed), []
    device = backend.lazy

    def fill(host, start, stop) -> None:
        for number in range(start, stop):  # slowly, so that a copy may come between
            host[0][number - start] = number
            with device.lock:
                device.go_on() if device.chance.random() < 0.2 else None

    loader = Loader(fill, [kind(backend, [((4, 3), "float32")]) for _ in range(2)], CUTS)
    for _ in CUTS:
        (rows,) = loader.next()
        device.add(device.compute, lambda: True, lambda rows=rows: log.append(np.array(rows)[:, 0]))
    device.finish()
    loader.close()
    return np.concatenate(log)


@pytest.mark.parametrize("seed", range(40))
def test_f5_each_step_reads_its_own_minibatch_whenever_the_device_works(seed, monkeypatch) -> None:
    np.testing.assert_array_equal(_seen(seed, PinnedSlot, monkeypatch), np.arange(120))


class _WithoutUsed(PinnedSlot):
    def release(self) -> None:
        pass


class _WithoutCopied(PinnedSlot):
    def receive(self, rows):
        return tuple(own[:rows] for own in self._own)


class _WithoutBegin(PinnedSlot):
    def begin(self) -> None:
        pass


@pytest.mark.parametrize("kind", [_WithoutUsed, _WithoutCopied, _WithoutBegin])
def test_f5_each_of_the_three_waits_is_needed(kind, monkeypatch) -> None:
    assert any(not np.array_equal(_seen(seed, kind, monkeypatch), np.arange(120)) for seed in range(40))


def test_f5_closing_early_leaves_nothing_under_way(monkeypatch) -> None:
    import cupyx

    monkeypatch.setattr(cupyx, "empty_pinned", lambda shape, dtype: np.empty(shape, dtype))
    backend = LazyBackend(1)
    slots = [PinnedSlot(backend, [((4, 3), "float32")]) for _ in range(2)]
    loader = Loader(lambda host, start, stop: None, slots, CUTS)
    loader.next()
    loader.close()
    assert all(slot._copied.reached == slot._copied.recorded for slot in slots)
