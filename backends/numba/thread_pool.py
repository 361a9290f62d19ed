"""A pool of threads that execute plans together, and spin briefly for the next plan before they block.

The calling thread is one of them. While the pool is busy with another caller, a caller executes its plan alone.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading

import numpy as np

from ...kernels.targets.native import BOX, MOST_THREADS, SYSTEM, address_of, system_call, walk
from ..threads import limit_this_thread, started, workers


class ThreadPool:
    """Threads, made on first use, and again after a fork; on systems without POSIX threads those of `workers`."""

    def __init__(self) -> None:
        self._growing = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._walk = walk()
        self._system = [system_call(name) for name in SYSTEM]
        self._box = np.zeros(BOX["SIZE"], np.int64)
        self._place = int(address_of(self._box))
        self._box[BOX["AT_SYSTEM"] :][: len(SYSTEM)] = self._system
        self._together = all(self._system)
        if self._together:
            library = ctypes.CDLL(None)
            for name, place in (("mutex", BOX["AT_LOCK"]), ("cond", BOX["AT_BELL"])):
                getattr(library, f"pthread_{name}_init")(ctypes.c_void_p(self._place + 8 * place), None)

    def _grow(self, count: int) -> None:
        while len(self._threads) < count and not self._closed:
            me = len(self._threads) + 1
            thread = threading.Thread(target=self._live, args=(me, int(self._box[0])), daemon=True, name=f"fusedstep {me}")
            if not started(thread):
                return
            self._threads.append(thread)

    def _live(self, me: int, seen: int) -> None:
        limit_this_thread()
        self._walk.serve(self._place, me, seen)

    def run(self, place: int, threads: int) -> None:
        """Walks the job at that address (see WALK_TEXT in kernels/targets/native.py) on that many threads, or on fewer."""
        threads = min(threads, MOST_THREADS)
        give_way, clock = self._system[:2]
        if not self._together:
            workers.gather(threads, lambda me, count: self._walk.part(place, me, count, give_way, clock))
            return
        if len(self._threads) < threads - 1:
            with self._growing:
                self._grow(threads - 1)
            threads = min(threads, len(self._threads) + 1)
        # `lead` is one call: no interrupt can come between handing out a job and its end.
        if threads <= 1 or not self._walk.lead(self._place, place, threads):
            self._walk.part(place, 0, 1, give_way, clock)

    def close(self) -> None:
        """Sends the threads home, as long as the code that they run is there; from now on there is but the calling one."""
        self._closed = True
        if self._threads and self._walk.lead(self._place, self._place + 8 * BOX["AT_JOB"], 0):
            for thread in self._threads:
                thread.join(1.0)
            self._threads = []


_pool: ThreadPool | None = None
_making = threading.Lock()


def thread_pool() -> ThreadPool:
    """The threads of this process."""
    global _pool
    if _pool is None:
        with _making:
            if _pool is None:
                _pool = ThreadPool()
                atexit.register(_pool.close)
    return _pool


def _after_fork() -> None:
    global _pool, _making
    if _pool is not None:
        atexit.unregister(_pool.close)
    _pool, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
