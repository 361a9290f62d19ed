"""Memory of a fusedstep step: computed by formula, and measured on the host."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict
from typing import Any

from .contenders.base import Contender
from .contenders.ours import Ours, Threads, Turns, make_step
from .problem import Problem
from .timing import Prepared

STEPS = 2
"""Steps until all buffers are allocated, and steps during which memory is measured."""


def predicted(prepared: Prepared, rows: int) -> dict[str, int] | None:
    """Bytes of a fusedstep TrainStep by use, and their "total"; None for other libraries."""
    step: Any = prepared.notes.get("step")
    if step is None:
        return None
    with prepared.around():
        memory = step.memory(rows)
    return {**asdict(memory), "total": memory.total}


def taken(problem: Problem, contender: Contender) -> int | None:
    """Peak bytes of a running step on the host, with its model, without its data; None for other libraries and on a device.

    Memory that is allocated once per process is not included if the same step ran before.
    """
    if not isinstance(contender, Ours) or contender.device != "cpu" or tracemalloc.is_tracing():
        return None
    problem.minibatches  # noqa: B018 – made before anything is counted
    with Threads(problem.threads):
        tracemalloc.start()
        try:
            step = make_step(problem, contender.backend)
            turns = Turns(problem, step)
            for _ in range(STEPS):
                turns()
            tracemalloc.reset_peak()
            for _ in range(STEPS):
                turns()
            return tracemalloc.get_traced_memory()[1]
        except MemoryError:  # there is no room for a second step beside the one that was timed
            return None
        finally:
            tracemalloc.stop()
