"""What the host says to each step, through pinned memory, on a device that works when it likes.

The device is a stand-in, see lazy_device.py; real ones are in tests/gpu/test_device_steps.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from lazy_device import LazyBackend

pytest.importorskip("cupyx")

from fusedstep.backends import pinned_ring
from fusedstep.backends.pinned_ring import PinnedRing

PLACES, STEPS = 2, 60


@pytest.fixture(autouse=True)
def unpinned(monkeypatch):
    import cupyx

    monkeypatch.setattr(cupyx, "empty_pinned", lambda shape, dtype: np.full(shape, -2, dtype))
    monkeypatch.setattr(pinned_ring, "PLACES", PLACES)  # few, so that this device falls behind that far


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


@pytest.mark.parametrize("seed", range(20))
def test_each_step_reads_what_was_said_to_it_whenever_the_device_works(seed):
    assert _seen(seed) == WANTED


def test_the_host_waits_only_when_it_is_a_whole_ring_ahead(monkeypatch):
    backend = LazyBackend(0)
    monkeypatch.setattr(backend.lazy, "go_on", lambda: False)  # a device that does nothing at all
    ring = PinnedRing(backend, backend.empty((1,), "float32"))
    waited = []
    for _, event in ring._places:
        monkeypatch.setattr(event, "synchronize", lambda event=event: waited.append(event.recorded - event.reached))
    for step in range(PLACES + 2):
        ring.send([step])
    assert waited == [0] * PLACES + [1, 1]


def test_without_the_wait_steps_read_what_was_said_to_later_ones(monkeypatch):
    begin = PinnedRing.__init__

    def careless(ring, backend, out):
        begin(ring, backend, out)
        for _, event in ring._places:
            event.synchronize = lambda: None

    monkeypatch.setattr(PinnedRing, "__init__", careless)
    assert any(_seen(seed) != WANTED for seed in range(20))
