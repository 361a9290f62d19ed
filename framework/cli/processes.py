"""Commands in several processes that train together: rank 0 prints and writes files, and errors are told once."""

from __future__ import annotations

import os
import sys
import time

from ...backends.communicators import communicator, made
from ...backends.communicators.launcher import launched_rank

PATIENCE = 3.0
"""Seconds for which processes other than rank 0 wait before they end with an error that rank 0 prints."""


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
    """Ends all processes with an error of this one, which rank 0 prints.

    Returns if the process has to print it: because it trains alone, or is the first of those that are not connected yet, and
    have all found the same error in their options.
    """
    for together in made():
        together.fail(error, status)
    if "--parallel" in sys.argv and launched_rank() > 0:
        time.sleep(PATIENCE)  # a launcher ends all with the first one that fails, maybe before rank 0 has printed
        raise SystemExit(status)
