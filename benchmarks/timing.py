"""Bursts of calls, taken in turn, so that all contenders meet the same weather; the clocks are in clocks.py."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from ..errors import HyperparameterError
from .clocks import HOST, Clock

MOST_CALLS = 1000
"""In a burst. A longer training from the same start would come to gradients that are no longer realistic numbers."""

LEAST_ROUNDS = 2
"""That are taken even where the time for them is over: one alone has no spread."""


def _nothing(*given: Any) -> None:
    del given


@dataclass
class Prepared:
    """Something that is ready to be called again and again.

    Args: step – does the work once, and returns a handle, for a training step one that `float` makes the loss of;
        finish – waits until the work of a handle is done; reset – back to the start: weights, states, order of minibatches;
        around – a context for the calls, such as a limit of threads, entered outside of the timed part; clock; before – is
        called before each call, and then each call is timed alone: it empties the caches, and is not timed.
    """

    step: Callable[[], Any]
    finish: Callable[[Any], None] = _nothing
    reset: Callable[[], None] = _nothing
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    notes: dict[str, Any] = field(default_factory=dict)
    clock: Clock = HOST
    before: Callable[[], None] | None = None


class Pace(NamedTuple):
    """How the clock is used.

    Args: rounds – how often each contender has its turn; seconds – length of a burst; pause – seconds of rest before a burst:
        idle threads of one library's pool wait actively for a while, and take cores from whoever comes next;
        least_calls – in a burst, however long they take; most – seconds after which no round is begun.
    """

    rounds: int = 7
    seconds: float = 0.15
    pause: float = 0.05
    least_calls: int = 1
    most: float = math.inf


class Turns(NamedTuple):
    """Calls in the last burst, and seconds per call in each round."""

    calls: int
    seconds: list[float]


def require_pace(pace: Pace) -> Pace:
    """The pace itself; raises HyperparameterError for values that cannot be."""
    if pace.rounds < 1:
        raise HyperparameterError(f"expected at least one round; got {pace.rounds}; use --rounds 7")
    if not 0.0 < pace.seconds <= 60.0:
        raise HyperparameterError(f"expected --seconds above 0, and at most 60; got {pace.seconds}; use 0.15")
    if not 0.0 <= pace.pause <= 10.0:
        raise HyperparameterError(f"expected --pause between 0 and 10 seconds; got {pace.pause}; use 0.05")
    return pace


def interleave(
    contenders: Mapping[str, Prepared], pace: Pace, tell: Callable[[str], None] = _nothing
) -> dict[str, Turns]:
    """Times all contenders in rounds; in each, every contender has one burst, and another one is first.

    Args: contenders – by name; tell – is told what happens now.
    """
    calls = {}
    for name, contender in contenders.items():
        tell(f"{name}: warming up")
        calls[name] = max(pace.least_calls, _calls(contender, pace.seconds))
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    begun = time.monotonic()
    for number in range(pace.rounds):
        spent = time.monotonic() - begun
        if number >= LEAST_ROUNDS and spent * (number + 1) / number > pace.most:
            break
        first = number % max(1, len(names))
        for name in names[first:] + names[:first]:
            tell(f"round {number + 1} of {pace.rounds}: {name}")
            time.sleep(pace.pause)
            took = burst(contenders[name], calls[name])
            taken[name].append(took)
            # Where a busy moment made the first estimate too long, the next bursts are filled better.
            calls[name] = max(calls[name], _filling(pace.seconds, took))
    return {name: Turns(calls[name], taken[name]) for name in names}


def burst(contender: Prepared, calls: int) -> float:
    """Seconds per call: back to the start, one call that is not timed, then `calls` of them; no garbage collection."""
    with contender.around():
        contender.reset()
        contender.finish(contender.step())
        with _no_collection():
            if contender.before is not None:
                return median(_alone(contender, contender.before) for _ in range(calls))
            step, clock = contender.step, contender.clock
            started = clock.start()
            for _ in range(calls):
                handle = step()
            return clock.stop(started, lambda: contender.finish(handle)) / calls


def _alone(contender: Prepared, before: Callable[[], None]) -> float:
    """Seconds of one call, after what has to be done before it."""
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
    """How many calls fill a burst, by the quickest of a few."""
    took = burst(contender, 1)
    for _ in range(3):
        if took < seconds:
            took = min(took, burst(contender, max(1, min(20, int(seconds / 8 / took)))))
    return _filling(seconds, took)


def _filling(seconds: float, took: float) -> int:
    """So many calls of that length fill a burst."""
    return max(1, min(MOST_CALLS, round(seconds / took)))
