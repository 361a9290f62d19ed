"""Checks before timing that contenders compute the same: their losses from the same start must agree.

For a prediction, the mean of -log p of each class takes the place of the losses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from .contenders.handwritten import Handwritten, NumpyStep
from .problem import Problem
from .timing import Prepared
from .workloads import Fit

Array = Any

STEPS = 3

TOLERANCES = {"float32": 1e-3, "float64": 1e-6, "tf32": 1e-2, "bfloat16": 3e-2, "float16": 1e-2}
"""Relative tolerances of the losses. Adam's first steps are nearly the signs of the gradients, so rounding errors of tiny
gradients matter."""


def losses(prepared: Prepared, steps: int = STEPS) -> list[float]:
    """The losses of the first calls from the common start: at least that many, and all of a call."""
    with prepared.around():
        prepared.reset()
        found: list[float] = []
        while len(found) < steps:
            found += prepared.losses(prepared.step())
        return found


def reference(problem: Problem, xp: Any = np) -> list[float]:
    """The reference losses: from a step written directly in NumPy, in float64, without dropout.

    Args: problem; xp – CuPy to compute on a GPU, for the plain variant.
    Returns: the losses of STEPS steps; for a training the mean loss of the first epoch and the loss of the validation rows
        after it; for a prediction the mean of -log p of each class; nothing for the start of a process.
    """
    if problem.workload == "start":
        return []
    run = cast(NumpyStep, Handwritten(xp).prepare(_in_double(problem)).step)
    if isinstance(problem, Fit):
        x, y = problem.held_out
        trained = [run() for _ in range(problem.steps)]
        held_out = [
            run.loss_of(x[first : first + problem.network.batch].astype("float64"), y[first : first + problem.network.batch])
            for first in range(0, len(x), problem.network.batch)
        ]
        return [float(np.mean(trained)), float(np.mean(held_out))]
    if problem.workload == "predict":
        return surprise(_softmax(run.forward(run.minibatches[0][0])[-1]))
    return [run() for _ in range(STEPS)]


def _in_double(problem: Problem) -> Problem:
    """The same numbers at another precision, not the same random seed."""
    double = problem.but(precision="float64", dropout=0.0)
    double.__dict__["start"] = [(w.astype("float64"), b.astype("float64")) for w, b in problem.start]
    minibatches = problem.minibatches if isinstance(problem, Fit) else problem.minibatches[:STEPS]
    double.__dict__["minibatches"] = [(x.astype("float64"), y) for x, y in minibatches]
    return double


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def surprise(probabilities: Array) -> list[float]:
    """The mean of -log p over the rows [B, K], for each class."""
    return [float(v) for v in -np.log(np.asarray(probabilities, np.float64)).mean(axis=0)]


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
