"""Finds the communicator of this process: one for each kind, made when it is first asked for."""

from __future__ import annotations

from typing import Any

from ...errors import HyperparameterError
from .communicator import Communicator

KINDS = ("mpi", "nccl")

_communicators: dict[str, Communicator] = {}


def communicator(name: Any) -> Communicator | None:
    """The communicator of that name.

    Args: name – "mpi", "nccl", None for a process that trains alone, or a Communicator of another kind.
    Raises: HyperparameterError for another name, and for a process that was not started by a launcher such as mpiexec;
        MissingDependency without mpi4py or the library that it needs; BackendUnavailable for "nccl" without GPUs.
    """
    if name is None or isinstance(name, Communicator):
        return name
    if name not in KINDS:
        raise HyperparameterError(
            f'expected parallel to be one of {", ".join(KINDS)}, or None; got {name!r}; write parallel="mpi", and start the '
            "processes with mpiexec -n 4 python …"
        )
    return _made(name)


def made() -> tuple[Communicator, ...]:
    """The communicators that this process has."""
    return tuple(_communicators.values())


def _made(name: str) -> Communicator:
    if name not in _communicators:
        from .launcher import require_launcher

        require_launcher(name)
        if name == "mpi":
            from .mpi import MpiCommunicator

            _communicators[name] = MpiCommunicator()
        else:
            from .nccl import NcclCommunicator

            _communicators[name] = NcclCommunicator()
    return _communicators[name]


Communicator._find = staticmethod(communicator)
