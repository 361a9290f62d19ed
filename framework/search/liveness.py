"""Which workers of a search are alive: by their process on the same machine, by their heartbeats elsewhere.

Clocks of machines are never compared: an observer measures with its own clock how long a heartbeat has not changed.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEAT = 5.0
"""Seconds between two heartbeats of a worker."""
GRACE = 60.0
"""A worker whose heartbeat has not changed for so many seconds is taken for dead."""


def this_worker() -> list[Any]:
    """What identifies a worker: its machine, process, start of the process, and a random name."""
    return [_machine(), os.getpid(), _started(os.getpid()), uuid.uuid4().hex]


def is_alive(worker: Any) -> bool | None:
    """Whether the process of a worker runs; None if that cannot be known, as on another machine."""
    if not isinstance(worker, list) or len(worker) != 4 or not isinstance(worker[1], int):
        return None
    machine, process, started, _ = worker
    if machine != _machine() or os.name != "posix" or process <= 0:
        return None
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it belongs to another user
    return bool(started == _started(process))  # otherwise the number was given to another process


class WorkerWatch:
    """Observes the workers of unfinished trials."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Any, float]] = {}
        self._unproven: set[str] | None = None

    def look(self, workers: Mapping[str, tuple[Any, Any]]) -> None:
        """Notes the heartbeats at this moment.

        Args: workers – by name: identity of the worker, and a value that changes with its heartbeats.
        """
        now = time.monotonic()
        for name, (_, beat) in workers.items():
            before = self._seen.get(name)
            if before is None or before[0] != beat:
                self._seen[name] = beat, now
                if before is not None and self._unproven:
                    self._unproven.discard(name)
        if self._unproven is None:
            # Workers that appear later were alive then.
            self._unproven = {name for name, (worker, _) in workers.items() if is_alive(worker) is None}

    def is_dead(self, name: str, worker: Any) -> bool | None:
        """Whether the trials of that worker may be taken up; None while it may be a dead one that was there from the start."""
        if is_alive(worker) is False or time.monotonic() - self._seen[name][1] > GRACE:
            return True
        return None if self._unproven and name in self._unproven else False


def _machine() -> str:
    """The running system, and the space of process numbers within it (containers have separate ones)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{platform.node()} {uuid.getnode()}"


def _started(process: int) -> str:
    """When a process started, in ticks since the system did; empty where that is not known."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
