"""What a step of ours holds in memory: by its own formula, and as it is really taken on the host."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict
from typing import Any

from .contenders.base import Contender
from .contenders.ours import Ours, Threads, Turns, make_step
from .problem import Problem
from .timing import Prepared

STEPS = 2
"""Steps after which everything is there that a step keeps, and those during which it is looked at."""


def predicted(prepared: Prepared, rows: int) -> dict[str, int] | None:
    """Bytes that a TrainStep of ours holds, by use, and their "total"; None for the steps of others."""
    step: Any = prepared.notes.get("step")
    if step is None:
        return None
    with prepared.around():
        memory = step.memory(rows)
    return {**asdict(memory), "total": memory.total}


def taken(problem: Problem, contender: Contender) -> int | None:
    """Most bytes that a step takes on the host once it runs, with its model, beside its data; None for others, and on a device.

    What is compiled or made once in a process is not in it where the same step ran before.
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
