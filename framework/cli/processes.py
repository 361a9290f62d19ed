"""Commands in several processes that train together: rank 0 prints and writes files, and errors are told once."""

from __future__ import annotations

import os
import sys

from ...backends.communicators import communicator, made


def only_first_speaks(parallel: str | None) -> bool:
    """Connects the processes; those other than rank 0 print nothing from here on.

    Args: parallel – "mpi", "nccl", or None for one process.
    Returns: whether this process prints and writes files.
    Raises: as `communicator`.
    """
    together = communicator(parallel)
    if together is None or together.first:
        return True
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 – as long as the process lives
    return False


def tell_others(error: str, status: int) -> None:
    """Ends all processes with an error of this one, which rank 0 prints; returns if it trains alone."""
    for together in made():
        together.fail(error, status)
