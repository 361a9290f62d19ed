"""The order of copies and steps that pinned slots keep, on a device that works when it likes.

The device is a stand-in, see lazy_device.py; real ones are in tests/gpu/test_device_data.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from lazy_device import LazyBackend

pytest.importorskip("cupyx")

from fusedstep.backends.cupy.pinned_slots import PinnedSlot
from fusedstep.framework.sources.loader import Loader

CUTS = [(start, start + 4) for start in range(0, 120, 4)]


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
