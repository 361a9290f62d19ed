"""Profiles of steps from `TrainStep.profile`: rows of place, stage, operation, seconds, flop, bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .contenders.ours import make_step, on_backend
from .problem import Problem
from .results import Profile

FIELDS = ("place", "stage", "operation", "seconds", "flop", "bytes")
REPEATS, LEAST, SECONDS = 20, 3, 4.0
"""Number of steps for the median: that many, or as many as fit into the given seconds, but at least a few."""


def rows_of(entries: Iterable[Any]) -> list[dict[str, Any]]:
    """The entries that a profile gives, as plain values."""
    return [{name: getattr(entry, name) for name in FIELDS} for entry in entries]


def profile(problem: Problem, backend: Any, repeats: int | None = None) -> Profile:
    """The profile of one step.

    Args: problem; backend; repeats – the seconds are medians over so many steps; by default as REPEATS, LEAST and SECONDS say.
    """
    from .contenders.ours import Threads

    step = make_step(problem, backend)
    x, y = on_backend(problem, backend)[0]
    with Threads(problem.threads):
        step(x, y)
        start = time.perf_counter()
        float(step(x, y))
        fitting = int(SECONDS / max(time.perf_counter() - start, 1e-9))
        entries = step.profile(x, y, repeats=repeats or min(REPEATS, max(LEAST, fitting)))
    return Profile(str(problem.network), backend.name, rows_of(entries))


def profiles(
    problems: Sequence[tuple[str, Problem]], backends: Sequence[Any], progress: Callable[[str], None]
) -> list[Profile]:
    """Of each problem that belongs to no sweep, on each backend."""
    found = []
    for sweep, problem in problems:
        for backend in backends if not sweep else ():
            progress(f"profile of {problem.network} on {backend.name}")
            found.append(profile(problem, backend))
    return found
