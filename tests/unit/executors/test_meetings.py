"""Compiled code of several processes waits for each other; here in threads of one, which it cannot tell from processes."""

import ctypes
import threading
import time

import numpy as np
import pytest

from fusedstep.backends.communicators.communicator import Communicator
from fusedstep.backends.numba.meeting import SYSTEM, YIELDS, meeting_entry
from fusedstep.backends.numba.shared_sum import _edges
from fusedstep.backends.numba.walk import system_call
from fusedstep.kernels.targets.native import address_of

MEETINGS = 300


def meeter(counter, communicator, count):
    """A function that waits until all of them have called theirs."""
    complete = np.zeros(1, np.int64)
    words = [*map(address_of, (counter, complete, communicator.meeting)), count, *map(system_call, SYSTEM)]
    memory = (ctypes.c_int64 * len(words))(*words)
    return lambda: (meeting_entry()(ctypes.addressof(memory)), complete)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nobody_goes_on_before_all_have_come(count):
    counter, arrived, early = np.zeros(8, np.int64), np.zeros(count, np.int64), []

    def come(me):
        meet = meeter(counter, Communicator(), count)
        for number in range(1, MEETINGS + 1):
            arrived[me] = number
            meet()
            if arrived.min() < number:
                early.append((me, number))

    threads = [threading.Thread(target=come, args=(me,)) for me in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not early
    assert counter[0] == MEETINGS * count


def test_who_waits_says_since_when_and_for_which_meeting():
    counter, first, second = np.zeros(8, np.int64), Communicator(), Communicator()
    began = time.monotonic()
    thread = threading.Thread(target=meeter(counter, first, 2))
    thread.start()
    while first.waits_for is None:
        time.sleep(0.001)
    since, exchange = first.waits_for
    assert began <= since <= time.monotonic()
    assert exchange == "meeting 1"
    meeter(counter, second, 2)()
    thread.join()
    assert first.waits_for is second.waits_for is None


def test_who_waits_for_long_sleeps():
    counter, first, second = np.zeros(8, np.int64), Communicator(), Communicator()
    thread = threading.Thread(target=meeter(counter, first, 2))
    thread.start()
    while first.waits_for is None:
        time.sleep(0.001)
    time.sleep(YIELDS * 1e-4)  # until it sleeps, also where another process has the processor
    began, used = time.perf_counter(), time.process_time()
    time.sleep(0.5)
    busy = (time.process_time() - used) / (time.perf_counter() - began)
    meeter(counter, second, 2)()
    thread.join()
    assert busy < 0.5


@pytest.mark.parametrize(("size", "count"), [(1, 4), (63, 2), (64, 2), (1000, 3), (100_000, 16)])
def test_every_number_belongs_to_one_process(size, count):
    edges = _edges(size, count)
    assert edges[0] == 0
    assert edges[-1] == size
    assert edges == sorted(edges)
    assert all(edge % 64 == 0 or edge == size for edge in edges)
