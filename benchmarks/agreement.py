"""Checks before timing that contenders compute the same: their losses from the same start must agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .contenders.handwritten import Handwritten
from .problem import Problem
from .timing import Prepared

STEPS = 3

TOLERANCES = {"float32": 1e-3, "float64": 1e-6, "tf32": 1e-2, "bfloat16": 3e-2, "float16": 1e-2}
"""Relative tolerances of the losses. Adam's first steps are nearly the signs of the gradients, so rounding errors of tiny
gradients matter."""


def losses(prepared: Prepared, steps: int = STEPS) -> list[float]:
    """The losses of the first steps from the common start: at least that many, and all steps of a call."""
    with prepared.around():
        prepared.reset()
        found: list[float] = []
        while len(found) < steps:
            found += prepared.losses(prepared.step())
        return found


def reference(problem: Problem, xp: Any = np) -> list[float]:
    """The reference losses: from a step written directly in NumPy, in float64, without dropout.

    Args: problem; xp – CuPy to compute on a GPU, for the plain variant.
    """
    start = replace(problem.without_dropout(), precision="float64")
    # The same numbers, not the same random seed at another precision.
    start.__dict__["start"] = [(w.astype("float64"), b.astype("float64")) for w, b in problem.start]
    start.__dict__["minibatches"] = [(x.astype("float64"), y) for x, y in problem.minibatches[:STEPS]]
    return losses(Handwritten(xp).prepare(start))


def agree(found: Sequence[float], wanted: Sequence[float], tolerance: float) -> bool:
    """Whether all losses are within the relative tolerance."""
    return len(found) == len(wanted) and all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=0.0) for a, b in zip(found, wanted, strict=True)
    )


def objection(found: Sequence[float], wanted: Sequence[float], precision: str) -> str | None:
    """The reason if the losses differ, or None if they agree."""
    if agree(found, wanted, TOLERANCES[precision]):
        return None
    return f"computes something else: its losses are {_listed(found)} instead of {_listed(wanted)}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.6g}" for v in values)
