"""The number of threads to use, and the limit of BLAS libraries to one thread.

The threads themselves are in backends/numba/thread_pool.py.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, cast

from ..errors import HyperparameterError

VARIABLE = "FUSEDSTEP_NUM_THREADS"
OPENMP = "OMP_NUM_THREADS"
"""What schedulers of clusters and the workers of joblib and dask set to their share of the CPUs, for every library."""

_chosen: int | None = None


@cache
def available_threads() -> int:
    """Number of CPUs available to this process: its affinity, limited by its control group; at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)


@cache
def _default_threads() -> int:
    """All available CPUs, or the share of them in OMP_NUM_THREADS as it is when a number is needed first."""
    shared = os.environ.get(OPENMP, "").partition(",")[0].strip()  # "4,2" for nested regions
    return min(available_threads(), int(shared) if shared.isdecimal() and int(shared) else available_threads())


def _positive(value: Any, where: str) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1 or isinstance(value, bool | float):
        raise HyperparameterError(f"expected a whole number of threads >= 1 {where}; got {value!r}")
    return count


def num_threads() -> int:
    """Threads of a step on `numba`: from set_num_threads, otherwise FUSEDSTEP_NUM_THREADS, otherwise all available CPUs.

    OMP_NUM_THREADS limits that default.
    """
    if _chosen is not None:
        return _chosen
    named = os.environ.get(VARIABLE, "").strip()
    return _positive(named, f"in {VARIABLE}") if named else _default_threads()


def chosen() -> bool:
    """Whether somebody has chosen a number of threads, with `set_num_threads` or the environment variable."""
    return _chosen is not None or bool(os.environ.get(VARIABLE, "").strip())


def set_num_threads(count: int | None) -> None:
    """Sets the number of threads for all later steps; None restores the default.

    Raises: HyperparameterError for anything but an integer >= 1 or None.
    """
    global _chosen
    _chosen = None if count is None else _positive(count, "for set_num_threads")


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Context with `set_num_threads(count)`; restores the setting afterwards."""
    before = _chosen
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


def started(thread: threading.Thread) -> bool:
    """Starts a thread; returns False if the system cannot create one, or while Python is shutting down."""
    if sys.is_finalizing():
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _after_fork() -> None:
    single_threaded_blas.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


Swap = Callable[[int], int]
"""Sets the number of threads of a BLAS library, and returns the number before."""


@cache
def _swaps() -> dict[bool, list[Swap]]:
    """The functions of all BLAS libraries of this process; key: whether the setting applies to the calling thread only."""
    from threadpoolctl import ThreadpoolController

    found: dict[bool, list[Swap]] = {True: [], False: []}
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        if library.internal_api == "mkl":
            # 0 means that the thread has no setting of its own, for reading and for writing.
            found[True].append(library.dynlib.MKL_Set_Num_Threads_Local)
        elif getattr(library, "threading_layer", "") == "openmp":
            found[True].append(partial(_swap, library.get_num_threads, library.set_num_threads))
        else:
            getter, setter = (_of_openblas(library.dynlib, f"{verb}_num_threads") for verb in ("get", "set"))
            found[False].append(partial(_swap, getter or library.get_num_threads, setter or library.set_num_threads))
    return found


def _swap(getter: Callable[[], int], setter: Callable[[int], Any], count: int) -> int:
    before = getter()
    if before != count:
        setter(count)
    return before


def _of_openblas(library: Any, name: str) -> Callable[..., Any] | None:
    """The function of OpenBLAS itself: threadpoolctl's works only in the thread that first set a number."""
    for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
        function = getattr(library, f"{prefix}openblas_{name}{suffix}", None)
        if function is not None:
            return cast("Callable[..., Any]", function)
    return None


def limit_this_thread() -> list[tuple[Swap, int]]:
    """Sets one thread in libraries with a setting per calling thread; returns (function, previous number) to restore it."""
    return [(swap, swap(1)) for swap in _swaps()[True]]


class _SingleThreadedBlas:
    """Limits every BLAS of this process to one thread while at least one thread is inside; the last one restores it.

    Libraries with a setting per calling thread are limited for the threads inside.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limited: list[tuple[Swap, int]] = []
        self._own = threading.local()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._limited = [(swap, swap(1)) for swap in _swaps()[False]]
        # A nested entry in the same thread finds, and later restores, the setting of the outer block.
        self._own.__dict__.setdefault("limited", []).append(limit_this_thread())

    def __exit__(self, *error: object) -> None:
        if not self._own.__dict__.get("limited"):
            return  # in a child process that was forked inside the block
        _restore(self._own.limited.pop())
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _restore(self._limited)

    def reset(self) -> None:
        """Restores the number of threads of every library, in a child process that was forked inside the block."""
        for limited in (*reversed(self._own.__dict__.get("limited", [])), self._limited):
            _restore(limited)
        self.__init__()  # type: ignore[misc]


def _restore(limited: list[tuple[Swap, int]]) -> None:
    for swap, count in limited:
        swap(count)


single_threaded_blas = _SingleThreadedBlas()
