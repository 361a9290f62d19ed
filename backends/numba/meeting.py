"""Where compiled code of one process waits for that of the others, in the kernel language (see kernels/targets/llvm).

The words of `meet`: the addresses of a counter that all processes of the host share, of how far it has to come for this process
to go on, and of `Communicator.meeting`; the number of processes; and the addresses of SYSTEM.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import inspect
import sys
from functools import cache

from ...kernels.targets.llvm.exports import exported
from ...kernels.targets.llvm.machine import Native
from ...kernels.targets.llvm.memory import add_atomic, call, load, load_atomic, reserve, store
from .walk import CLOCK, SPINS

SYSTEM = "sched_yield", "clock_gettime", "usleep"
YIELDS = 2_000
"""Looks at the counter, in 2 ms or more, before a process sleeps in between: it waits for one that reads, or has stopped."""
PAUSE = 50
"""Microseconds of that sleep."""


def meet(words):
    counter, complete, meeting, processes = load(words), load(words + 8), load(words + 16), load(words + 24)
    give_way, clock, sleep = load(words + 32), load(words + 40), load(words + 48)
    stamp = reserve(2)
    target = load(complete) + processes
    store(complete, target)
    store(meeting + 8, load(meeting + 8) + 1)
    add_atomic(counter, 1)
    spins = 0
    while load_atomic(counter) < target:
        spins += 1
        if spins == SPINS:
            call(clock, CLOCK, stamp)
            store(meeting, load(stamp) * 1000000000 + load(stamp + 8))
        if spins > YIELDS:
            call(sleep, PAUSE)
        elif spins > SPINS:
            call(give_way, 0)
    store(meeting, 0)


@cache
def meeting_entry() -> Native:
    """`meet`, compiled."""
    this = sys.modules[__name__]
    version = f"clock {CLOCK}, spins {SPINS}, yields {YIELDS}, pause {PAUSE}"
    return Native(exported(inspect.getsource(this), vars(this), ("meet",), version)["meet"])
