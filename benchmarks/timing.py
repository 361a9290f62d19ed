"""Timed bursts of calls, in turn, so that all contenders run under the same conditions; clocks are in clocks.py."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from ..errors import HyperparameterError
from .clocks import HOST, Clock, StandIn

MOST_CALLS = 1000
"""In a burst; of calls that take several steps, as many as take so many steps. A longer training from the same start would
come to gradients that are no longer realistic numbers."""

LEAST_ROUNDS = 2
"""That are taken even where the time for them is over: one alone has no spread."""


def _nothing(*given: Any) -> None:
    del given


@dataclass
class Prepared:
    """A prepared computation that can be called repeatedly.

    Args: step – runs the work once and returns a handle; finish – waits until the work of a handle is finished; reset –
        restores weights, states and order of minibatches; around – a context for the calls, such as a thread limit, entered
        outside the timed part; clock; before – called before each call (which is then timed separately) to clear caches; not
        timed; covers – steps (or epochs) per call: times are per step; losses – of those steps, from a handle; untimed – calls
        at the start of a burst that are not timed: 0 where a call takes long; elsewhere – if it runs in other
        processes, what times a burst of so many calls there.
    """

    step: Callable[[], Any]
    finish: Callable[[Any], None] = _nothing
    reset: Callable[[], None] = _nothing
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    notes: dict[str, Any] = field(default_factory=dict)
    clock: Clock = HOST
    before: Callable[[], None] | None = None
    covers: int = 1
    losses: Callable[[Any], list[float]] = lambda handle: [float(handle)]
    untimed: int = 1
    elsewhere: Callable[[int], float] | None = None


class Sampling(NamedTuple):
    """The settings of the timing.

    Args: rounds – number of bursts per contender; seconds – duration of a burst; pause – seconds before a burst, because idle
        threads of one library's pool spin for a while and occupy cores; least_calls – minimum per burst, each step of a call
        counted; most – seconds after which no round is started.
    """

    rounds: int = 7
    seconds: float = 0.15
    pause: float = 0.05
    least_calls: int = 1
    most: float = math.inf


class Interleaved(NamedTuple):
    """Calls in the last burst, and seconds per call in each round, or per step of a call that covers several."""

    calls: int
    seconds: list[float]


def require_sampling(sampling: Sampling) -> Sampling:
    """The sampling itself; raises HyperparameterError for values that cannot be."""
    if sampling.rounds < 1:
        raise HyperparameterError(f"expected at least one round; got {sampling.rounds}; use --rounds 7")
    if not 0.0 < sampling.seconds <= 60.0:
        raise HyperparameterError(f"expected --seconds above 0, and at most 60; got {sampling.seconds}; use 0.15")
    if not 0.0 <= sampling.pause <= 10.0:
        raise HyperparameterError(f"expected --pause between 0 and 10 seconds; got {sampling.pause}; use 0.05")
    return sampling


def interleave(
    contenders: Mapping[str, Prepared], sampling: Sampling, progress: Callable[[str], None] = _nothing,
    lost: dict[str, Exception] | None = None,
) -> dict[str, Interleaved]:  # fmt: skip
    """Times all contenders in rounds; in each round every contender runs one burst, starting with a different one.

    Args: contenders – by name; progress – receives status messages; lost – if given, receives failing contenders with their
        errors, and the others continue.
    Returns: the bursts of all contenders that did not fail.
    """
    calls: dict[str, int] = {}

    def tried(name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if lost is None:
                raise
            lost[name] = error
            calls.pop(name, None)

    def warm(name: str) -> None:
        contender = contenders[name]
        # A fixed clock cannot determine how many calls fill a burst.
        filling = 1 if isinstance(contender.clock, StandIn) else _calls(contender, sampling.seconds)
        calls[name] = max(math.ceil(sampling.least_calls / contender.covers), filling)

    def turn(name: str) -> None:
        took = burst(contenders[name], calls[name])
        taken[name].append(took)
        # If a disturbance made the first estimate too long, later bursts contain more calls.
        calls[name] = max(calls[name], _filling(contenders[name], sampling.seconds, took))

    for name in contenders:
        progress(f"{name}: warming up")
        tried(name, partial(warm, name))
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    begun = time.monotonic()
    for number in range(sampling.rounds):
        spent = time.monotonic() - begun
        if number >= LEAST_ROUNDS and spent * (number + 1) / number > sampling.most:
            break
        names = list(calls)
        first = number % max(1, len(names))
        for name in names[first:] + names[:first]:
            progress(f"round {number + 1} of {sampling.rounds}: {name}")
            time.sleep(sampling.pause)
            tried(name, partial(turn, name))
    return {name: Interleaved(calls[name], taken[name]) for name in calls}


def burst(contender: Prepared, calls: int) -> float:
    """Seconds per step: back to the start, a call that is not timed, then `calls` of them; no garbage collection."""
    if contender.elsewhere is not None:
        return contender.elsewhere(calls)
    with contender.around():
        contender.reset()
        for _ in range(contender.untimed):
            contender.finish(contender.step())
        with _no_collection():
            if contender.before is not None:
                return median(_alone(contender, contender.before) for _ in range(calls)) / contender.covers
            step, clock = contender.step, contender.clock
            started = clock.start()
            for _ in range(calls):
                handle = step()
            return clock.stop(started, lambda: contender.finish(handle)) / (calls * contender.covers)


def _alone(contender: Prepared, before: Callable[[], None]) -> float:
    """Seconds of one call, after `before`."""
    before()
    started = contender.clock.start()
    handle = contender.step()
    return contender.clock.stop(started, lambda: contender.finish(handle), checked=False)


@contextmanager
def _no_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _calls(contender: Prepared, seconds: float) -> int:
    """Number of calls per burst, estimated from the fastest of a few."""
    took = burst(contender, 1)
    for _ in range(3):
        call = took * contender.covers
        if call < seconds:
            took = min(took, burst(contender, max(1, min(20, int(seconds / 8 / call)))))
    return _filling(contender, seconds, took)


def _filling(contender: Prepared, seconds: float, took: float) -> int:
    """So many calls whose steps take that long fill a burst."""
    return max(1, min(MOST_CALLS // contender.covers, round(seconds / (took * contender.covers))))
