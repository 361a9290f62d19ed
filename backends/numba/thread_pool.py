"""The threads of the CPU: they walk jobs of compiled code together, or run Python functions side by side.

The calling thread is one of them. After a job the others spin briefly for the next one before they block. While the pool is
busy with another caller, and inside one of its own threads, a caller works alone.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from ...kernels.targets.native import address_of
from ..threads import limit_this_thread, started
from . import walk

Work = Callable[[int, int], object]
"""Called with the number of the thread, and how many there are."""


class ThreadPool:
    """Daemon threads that are made on first use, and again after a fork.

    With POSIX threads they wait in compiled code (see walk.py), else in a queue of the interpreter.
    """

    def __init__(self) -> None:
        self._growing = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._walk = walk.walk()
        self._system = [walk.system_call(name) for name in walk.SYSTEM]
        self._box = np.zeros(walk.SIZE, np.int64)
        self._place = int(address_of(self._box))
        self._box[walk.AT_SYSTEM :][: len(walk.SYSTEM)] = self._system
        self._work: Work | None = None
        self._errors: list[BaseException] = []
        self._busy = threading.Lock()
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._native = all(self._system)
        if self._native:
            library = ctypes.CDLL(None)
            for name, place in (("mutex", walk.AT_LOCK), ("cond", walk.AT_BELL)):
                getattr(library, f"pthread_{name}_init")(ctypes.c_void_p(self._place + 8 * place), None)

    def _grow(self, threads: int) -> int:
        """Makes threads where there are not enough; returns how many there are, with the calling one."""
        if len(self._threads) < threads - 1:
            with self._growing:
                while len(self._threads) < threads - 1 and not self._closed:
                    me = len(self._threads) + 1
                    given = (me, int(self._box[0]))
                    life = self._live if self._native else self._live_in_python
                    thread = threading.Thread(target=life, args=given, daemon=True, name=f"fusedstep {me}")
                    if not started(thread):
                        break
                    self._threads.append(thread)
        return min(threads, len(self._threads) + 1)

    def _live(self, me: int, seen: int) -> None:
        """A thread's life in compiled code, which it leaves for jobs of Python, and to end."""
        limit_this_thread()
        while True:
            seen = self._walk.serve(self._place, me, seen)
            threads = seen & 255
            if threads == 0:
                return
            self._take(me, threads)
            self._walk.arrive(self._place)

    def _live_in_python(self, *_: int) -> None:
        limit_this_thread()
        while True:
            self._queue.get()()

    def _take(self, me: int, threads: int) -> None:
        """A thread's part of a job of Python."""
        assert self._work is not None
        try:
            self._work(me, threads)
        except BaseException as error:
            self._errors.append(error)

    def run(self, place: int, threads: int) -> None:
        """Walks the job at that address (see walk.py) on that many threads, or on fewer."""
        give_way, clock = self._system[:2]
        if not self._native:
            self.gather(threads, lambda me, count: self._walk.part(place, me, count, give_way, clock))
            return
        threads = self._grow(min(threads, walk.MOST_THREADS))
        # `lead` is one call: no interrupt can come between handing out a job and its end.
        if threads <= 1 or not self._walk.lead(self._place, place, threads):
            self._walk.part(place, 0, 1, give_way, clock)

    def gather(self, threads: int, work: Work) -> None:
        """Calls work(k, count) for k = 0, …, count - 1 on `count` threads, or on fewer, which may wait for each other.

        Raises: the first error, after all have ended.
        """
        threads = self._grow(min(threads, walk.MOST_THREADS)) if threads > 1 else 1
        if threads == 1 or not self._busy.acquire(blocking=False):
            work(0, 1)
            return
        try:
            self._work, self._errors = work, []
            if not (self._in_compiled_code(threads) if self._native else self._in_queue(threads)):
                work(0, 1)
            errors = self._errors
        finally:
            self._work = None
            self._busy.release()
        if errors:
            raise errors[0]

    def _in_compiled_code(self, threads: int) -> bool:
        if not self._walk.begin(self._place, 0, threads):
            return False
        try:
            self._take(0, threads)
        finally:
            self._walk.end(self._place, threads)
        return True

    def _in_queue(self, threads: int) -> bool:
        done: SimpleQueue[None] = SimpleQueue()

        def take(me: int) -> None:
            self._take(me, threads)
            done.put(None)

        for me in range(1, threads):
            self._queue.put(partial(take, me))
        self._take(0, threads)
        for _ in range(1, threads):
            done.get()
        return True

    def map(self, tasks: Sequence[Callable[[], Any]], threads: int | None = None) -> list[Any]:
        """The results of all tasks, distributed over as many threads, or fewer if requested."""
        results: list[Any] = [None] * len(tasks)

        def take_every(first: int, count: int) -> None:
            for position in range(first, len(tasks), count):
                results[position] = tasks[position]()

        self.gather(min(len(tasks), threads or len(tasks)), take_every)
        return results

    def close(self) -> None:
        """Ends the threads, while the code that they run is still there; from now on there is only the calling one."""
        self._closed = True
        if self._native and self._threads and self._walk.begin(self._place, 0, 0):
            self._walk.end(self._place, 1)
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
