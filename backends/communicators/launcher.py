"""What started this process: mpiexec of some MPI, srun, or nobody; and the share of the host's CPUs that it gets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import HyperparameterError
from .. import threads

SIGNS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID", "MPI_LOCALRANKID", "MV2_COMM_WORLD_SIZE")
"""Environment variables of processes that a launcher has started: Open MPI, MPICH and Intel MPI, PMIx, SLURM, MVAPICH."""

RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "MV2_COMM_WORLD_RANK")
"""Those that hold the rank of a process."""


def launched() -> bool:
    """Whether a launcher started this process."""
    return any(name in os.environ for name in SIGNS)


def launched_rank() -> int:
    """The rank that the launcher has given this process, for what is said before the processes are connected; 0 without one."""
    for name in RANKS:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return 0


def require_launcher(name: str) -> None:
    """Raises HyperparameterError for a process that was started on its own."""
    if not launched():
        raise HyperparameterError(
            f'expected processes that a launcher has started for parallel="{name}"; this one was started on its own; run '
            "mpiexec -n 4 python … (or mpiexec -n 4 fusedstep …), or srun on a cluster; leave parallel out to train with the "
            "threads of one process"
        )


def affinity() -> frozenset[int]:
    """The CPUs on which this process may run; none if the system does not tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def divide_threads(on_host: Sequence[frozenset[int]], own: int) -> None:
    """Sets the number of threads to this process's share of the CPUs, unless the user has chosen one.

    A launcher that binds processes to CPUs has divided them; otherwise they are divided equally.

    Args: on_host – the CPUs of each process of this host; own – the place of this process among them.
    """
    if threads.chosen():
        return
    mine = on_host[own]
    others = [cpus for place, cpus in enumerate(on_host) if place != own]
    if mine and not any(mine & cpus for cpus in others):
        return
    available = threads.available_threads()
    sharing = 1 + sum(bool(mine & cpus) or not mine for cpus in others)
    threads.set_num_threads(max(1, available // sharing + (own < available % sharing)))
