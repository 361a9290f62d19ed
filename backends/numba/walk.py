"""How threads walk a job together, in the kernel language (see kernels/targets/llvm).

A job is eight words: the addresses of calls [calls, 2] (entry, address of its words), of tasks [tasks, 2] (first call, call
after the last) and of phases (first task of each, and the number of tasks), the number of phases, the address of three marks,
that of nanoseconds by call, or 0, the number of steps, in each of which all phases are run, and the time of CLOCK after which
no step begins, or 0. In every phase thread k of n does tasks k, k + n, …, and waits for the others before the next one. Tasks
and their order do not depend on n, so neither do the results. The marks: how often a thread has come to wait, 0 before; what
ends the job before the next step, which a call may set to 1, and which is LATE after the deadline; the number of steps that
were run.

Threads find jobs in a box: word 0 is 256 times the number of the job plus n, and changes last; n = 0 ends the threads. A job of
Python has the address 0: `serve` then returns to the interpreter. AT_DONE counts who is done; AT_BUSY is 1 while somebody
leads; AT_SYSTEM holds the addresses of SYSTEM; AT_LOCK and AT_BELL are a mutex and a condition.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import ctypes
import inspect
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ...kernels.targets.llvm.exports import exported
from ...kernels.targets.llvm.machine import Native
from ...kernels.targets.llvm.memory import add_atomic, call, exchange, load, load_atomic, reserve, store

SYSTEM = (
    "sched_yield", "clock_gettime", "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait",
    "pthread_cond_broadcast",
)  # fmt: skip
SPINS = 200
"""Looks at a word before a thread gives way."""
PATIENCE = 300_000
"""Nanoseconds for which a thread without work spins."""
AT_DONE, AT_JOB, AT_SLEEPERS, AT_BUSY, AT_SYSTEM, AT_LOCK, AT_BELL, SIZE = 8, 16, 24, 25, 32, 40, 56, 72
CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)
"""The number of the clock that never goes back: 1 in Linux, 6 in macOS."""
MOST_THREADS = 255
LATE = 2
"""The mark of a job that ended at its deadline."""


def word(address, index):
    return load(address + 8 * index)


def now(clock, stamp):
    call(clock, CLOCK, stamp)
    return load(stamp) * 1000000000 + load(stamp + 8)


def wait(address, count, give_way):
    # Until the word has reached that number.
    spins = 0
    while load_atomic(address) < count:
        spins += 1
        if spins > SPINS and give_way != 0:
            call(give_way, 0)


def march(job, me, threads, give_way, clock):
    # The part of one thread in all steps.
    calls, tasks, phases, marks, times = word(job, 0), word(job, 1), word(job, 2), word(job, 4), word(job, 5)
    deadline = word(job, 7)
    stop, taken = marks + 8, marks + 16
    stamp = reserve(2)
    before = 0
    arrivals = 0
    for step in range(word(job, 6)):
        if me == 0:
            store(taken, step)
            if step > 0 and deadline != 0 and clock != 0 and load_atomic(stop) == 0 and now(clock, stamp) > deadline:
                exchange(stop, LATE)
        for phase in range(word(job, 3)):
            if threads > 1 and step + phase > 0:
                arrivals += threads
                add_atomic(marks, 1)
                wait(marks, arrivals, give_way)
            if phase == 0 and load_atomic(stop) != 0:
                return
            for task in range(word(phases, phase) + me, word(phases, phase + 1), threads):
                for number in range(word(tasks, 2 * task), word(tasks, 2 * task + 1)):
                    if times != 0 and clock != 0:
                        before = now(clock, stamp)
                    call(word(calls, 2 * number), word(calls, 2 * number + 1))
                    if times != 0 and clock != 0:
                        store(times + 8 * number, word(times, number) + now(clock, stamp) - before)
    if me == 0:
        store(taken, word(job, 6))


def part(job, me, threads, give_way, clock):
    # One thread's part of a job, for threads that come together otherwise.
    march(job, me, threads, give_way, clock)


def begin(box, job, threads):
    # Hands out a job, or returns 0 where another thread leads one.
    if exchange(box + 8 * AT_BUSY, 1) == 1:
        return 0
    store(box + 8 * AT_JOB, job)
    exchange(box + 8 * AT_DONE, 0)
    exchange(box, ((load_atomic(box) >> 8) + 1) * 256 + threads)
    lock = box + 8 * AT_LOCK
    call(word(box, AT_SYSTEM + 2), lock)
    if word(box, AT_SLEEPERS) > 0:
        call(word(box, AT_SYSTEM + 5), box + 8 * AT_BELL)
    call(word(box, AT_SYSTEM + 3), lock)
    return 1


def end(box, threads):
    # Waits for the other threads of the job that this one has begun.
    wait(box + 8 * AT_DONE, threads - 1, word(box, AT_SYSTEM))
    exchange(box + 8 * AT_BUSY, 0)


def arrive(box):
    # A thread has done its part of a job of Python.
    add_atomic(box + 8 * AT_DONE, 1)


def lead(box, job, threads):
    # A whole job, of which this is thread 0; returns 0 where another thread leads one.
    if begin(box, job, threads) == 0:
        return 0
    march(job, 0, threads, word(box, AT_SYSTEM), word(box, AT_SYSTEM + 1))
    end(box, threads)
    return 1


def serve(box, me, seen):
    # A thread's life: after each job it spins for PATIENCE nanoseconds, giving way to whoever wants the core, and then sleeps
    # until the bell rings. It returns the word of the box where it is to end, or has to do its part of a job of Python.
    give_way, clock, lock = word(box, AT_SYSTEM), word(box, AT_SYSTEM + 1), box + 8 * AT_LOCK
    stamp = reserve(2)
    while True:
        spins = 0
        asleep_at = 0
        while load_atomic(box) == seen:
            spins += 1
            if spins % SPINS == 0:
                call(give_way, 0)
                moment = now(clock, stamp)
                if asleep_at == 0:
                    asleep_at = moment + PATIENCE
                if moment > asleep_at:
                    call(word(box, AT_SYSTEM + 2), lock)
                    store(box + 8 * AT_SLEEPERS, word(box, AT_SLEEPERS) + 1)
                    while load_atomic(box) == seen:
                        call(word(box, AT_SYSTEM + 4), box + 8 * AT_BELL, lock)
                    store(box + 8 * AT_SLEEPERS, word(box, AT_SLEEPERS) - 1)
                    call(word(box, AT_SYSTEM + 3), lock)
        seen = load_atomic(box)
        threads = seen & 255
        if threads == 0:
            return seen
        if me < threads:
            job = word(box, AT_JOB)
            if job == 0:
                return seen
            march(job, me, threads, give_way, clock)
            add_atomic(box + 8 * AT_DONE, 1)


class ThreadWalk(NamedTuple):
    """The compiled functions; each takes whole numbers."""

    part: Callable[[int, int, int, int, int], int]
    begin: Callable[[int, int, int], int]
    end: Callable[[int, int], int]
    arrive: Callable[[int], int]
    lead: Callable[[int, int, int], int]
    serve: Callable[[int, int, int], int]


@cache
def walk() -> ThreadWalk:
    """Compiles them."""
    this = sys.modules[__name__]
    found = exported(inspect.getsource(this), vars(this), ThreadWalk._fields, f"clock {CLOCK}")
    arity = {name: getattr(this, name).__code__.co_argcount for name in found}
    returns = ("begin", "lead", "serve")
    return ThreadWalk(**{name: Native(address, arity[name], name in returns) for name, address in found.items()})


@cache
def system_call(name: str) -> int:
    """The address of a function of the C library, or 0 where it has none of that name."""
    if sys.platform == "win32":
        return 0
    found = getattr(ctypes.CDLL(None), name, None)
    return 0 if found is None else ctypes.cast(found, ctypes.c_void_p).value or 0
