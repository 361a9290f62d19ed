"""The clock: bursts of calls, taken in turn, so that all contenders meet the same weather."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import HyperparameterError

MOST_CALLS = 1000
"""In a burst. A longer training from the same start would come to gradients that are no longer realistic numbers."""


def _nothing(*given: Any) -> None:
    del given


@dataclass
class Prepared:
    """Something that is ready to be called again and again.

    Args: step – does the work once, and returns a handle, for a training step one that `float` makes the loss of;
        finish – waits until the work of a handle is done; reset – back to the start: weights, states, order of minibatches;
        around – a context for the calls, such as a limit of threads, entered outside of the timed part.
    """

    step: Callable[[], Any]
    finish: Callable[[Any], None] = _nothing
    reset: Callable[[], None] = _nothing
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    notes: dict[str, Any] = field(default_factory=dict)


class Pace(NamedTuple):
    """How the clock is used.

    Args: rounds – how often each contender has its turn; seconds – length of a burst; pause – seconds of rest before a burst:
        idle threads of one library's pool wait actively for a while, and take cores from whoever comes next.
    """

    rounds: int = 7
    seconds: float = 0.15
    pause: float = 0.05


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
        calls[name] = _calls(contender, pace.seconds)
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(pace.rounds):
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
        collecting = gc.isenabled()
        gc.disable()
        try:
            step = contender.step
            started = time.perf_counter()
            for _ in range(calls):
                handle = step()
            contender.finish(handle)
            return (time.perf_counter() - started) / calls
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
