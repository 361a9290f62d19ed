"""A stand-in for a CUDA device that works when it likes: a queue for each stream, with the semantics of streams and events."""

from __future__ import annotations

import random
import threading
from contextlib import nullcontext

import numpy as np


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
    """What pinned memory asks of the cupy backend."""

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
