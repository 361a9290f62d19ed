"""What a process of process_group.py does: it prepares contenders, and compares or times them when it is asked to.

`python -m fusedstep.benchmarks.rank_process FOLDER`; a request is (name out of ASKED, *arguments), an answer
(value, error).
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .agreement import losses
from .contenders.base import Contender
from .problem import Problem
from .timing import Prepared, burst

_ready: dict[str, Prepared] = {}


def prepare(name: str, contender: Contender, problem: Problem) -> None:
    """Makes a contender ready under that name."""
    _ready[name] = contender.prepare(problem)


ASKED: dict[str, Any] = {
    "prepare": prepare,
    "losses": lambda name, steps: losses(_ready[name], steps),
    "burst": lambda name, calls: burst(_ready[name], calls),
}


def main(folder: str) -> None:
    """Answers until the connection ends."""
    rank = os.environ.get("RANK")
    if rank is None:
        from ..backends.communicators import communicator

        together = communicator("mpi")
        assert together is not None
        rank = str(together.rank)
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(str(Path(folder) / "socket"))
    connection = Connection(connected.detach())
    connection.send(int(rank))
    warnings.simplefilter("ignore")
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = ASKED[name](*arguments), ""
        except Exception as error:
            answer = None, f"rank {rank}: {type(error).__name__}: {error}"
        connection.send(answer)


if __name__ == "__main__":
    main(sys.argv[1])
