"""A fixed thread pool for measuring the limits: the caller and one thread for each further core.

It is separate from the pool of the library, so that measurement and measured code share nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from queue import SimpleQueue
from typing import Any


class Team:
    """Runs a task for k = 0 … count - 1 at the same time; task 0 in the calling thread.

    Args: count – threads, the caller included.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._given: list[SimpleQueue[Callable[[int], Any]]] = [SimpleQueue() for _ in range(1, count)]
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        for number, queue in enumerate(self._given, 1):
            threading.Thread(target=self._work, args=(number, queue), daemon=True, name="fusedstep-bench").start()

    def _work(self, number: int, queue: SimpleQueue[Callable[[int], Any]]) -> None:
        while True:
            task = queue.get()
            try:
                task(number)
            except BaseException as error:
                self._done.put(error)
            else:
                self._done.put(None)

    def run(self, task: Callable[[int], Any]) -> None:
        """Returns when all tasks have ended; raises the first error."""
        for queue in self._given:
            queue.put(task)
        try:
            task(0)
        finally:
            errors = [self._done.get() for _ in self._given]
        for error in errors:
            if error is not None:
                raise error


@cache
def team(count: int) -> Team:
    """The pool of that size."""
    return Team(count)


def cuts(total: int, count: int) -> list[tuple[int, int]]:
    """(first, one after the last) of `count` nearly equal parts."""
    edges = [total * k // count for k in range(count + 1)]
    return list(pairwise(edges))


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Context in which every BLAS of this process whose thread count can be set uses `count` threads."""
    with _controller().limit(limits=count):
        yield


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    from ..kernels.targets.blas import blas

    blas()  # loaded before the libraries are listed
    return ThreadpoolController().select(user_api="blas")
