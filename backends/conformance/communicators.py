"""Checks of a Communicator, which all of its processes run together; see backends/communicators/communicator.py.

A program that `mpiexec -n 3` starts, such as one with the single line `require_conformance("mpi")`, runs the suite.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from ..communicators import Communicator, communicator
from ..contract import Backend
from ..selection import backend as find_backend
from .suite import ConformanceError

DTYPES = ("float32", "float64")
SIZES = (1, 7, 1024, 100_003)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ConformanceError(what)


def _values(rank: int, size: int, dtype: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rank).integers(-1000, 1000, size).astype(dtype)


def _sums(together: Communicator, backend: Backend) -> None:
    for dtype in DTYPES:
        for size in SIZES:
            expected = sum(_values(rank, size, dtype) for rank in range(together.size))
            array = backend.asarray(_values(together.rank, size, dtype))
            together.sum(array)
            _require(np.array_equal(backend.to_numpy(array), expected), f"sum of {size} numbers in {dtype}")
            array = backend.asarray(_values(together.rank, size, dtype))
            together.start_sum(array)()
            _require(np.array_equal(backend.to_numpy(array), expected), f"start_sum of {size} numbers in {dtype}")


def _sums_are_the_same_everywhere(together: Communicator, backend: Backend) -> None:
    for dtype in DTYPES:
        for size in SIZES:
            array = backend.asarray(np.random.default_rng(together.rank).standard_normal(size).astype(dtype))
            together.sum(array)
            found = together.gather(backend.to_numpy(array).tobytes())
            _require(len(set(found)) == 1, f"the same bits of a sum of {size} rounded numbers in {dtype} in all processes")


def _numbers(together: Communicator, backend: Backend) -> None:
    del backend
    found = together.sum_numbers([1.0, float(together.rank), 1e300])
    expected = [float(together.size), sum(range(together.size)), together.size * 1e300]
    _require(found == expected, f"sum_numbers {expected}; got {found}")
    _require(np.isnan(together.sum_numbers([np.nan if together.rank == together.size - 1 else 1.0])[0]), "NaN of one process")


def _objects(together: Communicator, backend: Backend) -> None:
    del backend
    found = together.gather({"rank": together.rank, "text": "ä" * together.rank})
    _require([one["rank"] for one in found] == list(range(together.size)), "gather by rank")
    _require(together.broadcast(("first", together.rank)) == ("first", 0), "broadcast of the value of rank 0")
    _require(len(together.hosts) == together.size and 0 <= together.rank < together.size, "rank, size and hosts")


def _arrays(together: Communicator, backend: Backend) -> None:
    for dtype in DTYPES:
        counts = [rank % 3 for rank in range(together.size)]  # some have no rows
        rows = [np.full((count, 5), rank + 0.5, dtype) for rank, count in enumerate(counts)]
        found = backend.to_numpy(together.gather_arrays(backend.asarray(rows[together.rank]), counts))
        _require(np.array_equal(found, np.concatenate(rows)), f"gather_arrays in {dtype}")


def _wishes(together: Communicator, backend: Backend) -> None:
    own = together.own_wish
    try:
        if together.rank == together.size - 1:
            together.own_wish = own._replace(signal=15, stop=True)
        loss = float(backend.item(together.sum_losses(backend.total(backend.asarray(np.ones(3, "float32"))), backend)))
        _require(loss == 3.0 * together.size, "sum_losses")
        _require(together.wish == (15, True), f"the wish of the last process in all of them; got {together.wish}")
    finally:
        together.own_wish = own
    together.sum_losses(0.0, backend)
    _require(together.wish == (0, False), "no wish once nobody has one")


def _memory(together: Communicator, backend: Backend) -> None:
    del backend
    memory = together.shared_memory(4 * together.size + 3)
    if len(set(together.gather(memory is None))) != 1:
        raise ConformanceError("expected memory in common in all processes, or in none; got both")
    if memory is None:
        return
    _require(memory.dtype == np.uint8 and memory.shape == (4 * together.size + 3,) and not memory.any(), "empty shared_memory")
    together.barrier()
    memory[4 * together.rank :][:4] = together.rank + 1
    together.barrier()
    expected = [*np.repeat(np.arange(1, together.size + 1), 4).tolist(), 0, 0, 0]
    _require(memory.tolist() == expected, f"shared_memory with what all have written; got {memory.tolist()}")


def _copies(together: Communicator, backend: Backend) -> None:
    del backend
    _require(copy.deepcopy(together) is together, "a deep copy that is the communicator itself")
    _require(pickle.loads(pickle.dumps(together)) is together, "a pickle that is read as the communicator of the process")


CHECKS: tuple[Callable[[Communicator, Backend], None], ...] = (
    _sums, _sums_are_the_same_everywhere, _numbers, _objects, _arrays, _wishes, _memory, _copies
)  # fmt: skip


def require_conformance(name: str, backend: str = "numpy") -> int:
    """Runs all checks in all processes, which have to call it together; returns how many there were.

    Args: name – as `parallel` of a TrainStep, or a Communicator; backend – whose arrays are summed.
    Raises: ConformanceError that names the first requirement that is not met.
    """
    together = communicator(name)
    if together is None:
        raise ConformanceError("expected the name of a communicator; got None")
    for check in CHECKS:
        check(together, find_backend(backend))
        together.barrier()
    return len(CHECKS)
