"""Worker threads for kernels that release the GIL, and how many there should be.

The calling thread works too; calls from inside a worker, or while another caller is at it, run one after the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ..errors import HyperparameterError

VARIABLE = "FUSEDSTEP_NUM_THREADS"

_chosen: int | None = None


@cache
def available_threads() -> int:
    """Processors that this process may use: its affinity, cut by the limit of its control group, at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)


def _positive(value: Any, where: str) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1 or isinstance(value, bool | float):
        raise HyperparameterError(f"expected a whole number of threads >= 1 {where}; got {value!r}")
    return count


def num_threads() -> int:
    """Threads that a step of the numba backend uses: set_num_threads, then FUSEDSTEP_NUM_THREADS, then what there is."""
    if _chosen is not None:
        return _chosen
    named = os.environ.get(VARIABLE, "").strip()
    return _positive(named, f"in {VARIABLE}") if named else available_threads()


def set_num_threads(count: int | None) -> None:
    """Sets the number of threads for steps that start from now on; None goes back to the default."""
    global _chosen
    _chosen = None if count is None else _positive(count, "for set_num_threads")


class Workers:
    """A pool of daemon threads that is made on first use, and again after a fork."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = threading.Lock()

    def _grow(self, count: int) -> None:
        while len(self._threads) < count:
            thread = threading.Thread(target=self._loop, args=(self._tasks,), daemon=True, name="fusedstep")
            thread.start()
            self._threads.append(thread)

    @staticmethod
    def _loop(tasks: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            tasks.get()()

    def run(self, tasks: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of all tasks, run at the same time; the first error is raised once all have ended."""
        if len(tasks) == 1 or not self._busy.acquire(blocking=False):
            return [task() for task in tasks]
        try:
            self._grow(len(tasks) - 1)
            results: list[Any] = [None] * len(tasks)
            errors: list[BaseException | None] = [None] * len(tasks)
            done: SimpleQueue[None] = SimpleQueue()

            def work(position: int) -> None:
                try:
                    results[position] = tasks[position]()
                except BaseException as error:
                    errors[position] = error
                finally:
                    if position:
                        done.put(None)

            for position in range(1, len(tasks)):
                self._tasks.put(lambda position=position: work(position))  # type: ignore[misc]
            work(0)
            for _ in range(1, len(tasks)):
                done.get()
        finally:
            self._busy.release()
        for error in errors:
            if error is not None:
                raise error
        return results


workers = Workers()


def _after_fork() -> None:
    workers.__init__()  # type: ignore[misc]
    single_threaded_blas.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


class _SingleThreadedBlas:
    """Limits every BLAS of this process to one thread while anybody is inside; the last one out restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                controller = _controller()
                if any(library.get_num_threads() != 1 for library in controller.lib_controllers):
                    self._limits = controller.limit(limits=1)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._limits is not None:
                self._limits.restore_original_limits()
                self._limits = None


single_threaded_blas = _SingleThreadedBlas()
