"""Memory that all processes of one host read and write.

It has no name that could be left behind: it is gone with the last process that has it, however that ends.
"""

from __future__ import annotations

import mmap
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .communicator import Array, Communicator

TOKEN = 16
"""Bytes by which a process knows that it has found the memory of the others, and not that of another host of the same name."""


def shared_memory(communicator: Communicator, size: int) -> Array | None:
    """That many bytes, all 0, the same ones in all processes, which have to call this together.

    Returns: None in all of them where any cannot have them: on several hosts, or on a system other than Linux.
    """
    if not hasattr(os, "memfd_create") or len(set(communicator.hosts)) > 1:
        return None
    own: int | None = None
    token = secrets.token_bytes(TOKEN)
    if communicator.first:
        with suppress(OSError):
            own = os.memfd_create("fusedstep", os.MFD_CLOEXEC)
            os.truncate(own, size + TOKEN)
            os.pwrite(own, token, size)
    place, token = communicator.broadcast((None if own is None else f"/proc/{os.getpid()}/fd/{own}", token))
    found = None if place is None else _mapped(place, size, token)
    everywhere = all(communicator.gather(found is not None))
    if own is not None:
        os.close(own)
    return found if everywhere else None


def _mapped(place: str, size: int, token: bytes) -> Any:
    try:
        with Path(place).open("r+b") as file:
            room = mmap.mmap(file.fileno(), size + TOKEN)
    except (OSError, ValueError):
        return None
    if room[size:] != token:
        return None
    with suppress(AttributeError, OSError):  # of an older Python, or a system that has no large pages here
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, np.uint8, size)
