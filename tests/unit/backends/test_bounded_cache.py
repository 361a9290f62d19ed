"""A cache of limited size, also where several threads use it."""

from __future__ import annotations

import sys
import threading

from fusedstep.backends.bounded_cache import BoundedCache


def test_the_oldest_entry_gives_way():
    cache = BoundedCache(3)
    made = [cache.made(key, lambda key=key: [key]) for key in (1, 2, 3, 1, 4)]
    assert made == [[1], [2], [3], [1], [4]]
    assert list(cache) == [2, 3, 4]
    cache[3] = "again"
    assert list(cache) == [2, 3, 4], "an entry that is there takes no other one's place"
    cache[5] = "new"
    assert list(cache) == [3, 4, 5]


def test_threads_may_add_at_the_same_time():
    cache, wrong = BoundedCache(4), []

    def work(first):
        try:
            for key in range(first, first + 4000):
                assert cache.made(key % 7, lambda key=key: key % 7) == key % 7
        except Exception as error:
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    assert len(cache) <= 4 + len(threads)
