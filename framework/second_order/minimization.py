"""`minimize`, the loop of the full-batch methods: stopping rules, history, and a copy of the best point."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...backends import Backend
from ...errors import HyperparameterError, NotDifferentiable
from ..engine.model import Sequential
from ..losses import Loss
from ..optimizers.full_batch import FullBatchMethod
from ..settings import not_negative, whole
from ..suggestions import suggests_arguments
from ..training.history import History
from .objective import Objective
from .walk import Walk

PATIENCE = 5
"""Number of consecutive iterations without progress after which a run ends."""


@dataclass(frozen=True)
class Minimization:
    """The result of `fs.minimize`; the model holds the parameters that were found.

    Attributes: loss, gradient_norm – at the best point, with the l2 penalty: the point with the lowest loss, or, among losses
        that are equal up to rounding, the one with the smallest gradient; iterations; converged – whether the gradient is below
        the tolerance; reason – why it stopped; passes – forward (and backward) passes for values and gradients; products –
        passes for curvature; history – one row per iteration, row 0 is the start: epoch (the iteration), loss, gradient_norm,
        step, evaluations (passes + products so far), seconds, and the columns that the method adds.
    """

    loss: float
    gradient_norm: float
    iterations: int
    converged: bool
    reason: str
    passes: int
    products: int
    history: History = field(repr=False)


@suggests_arguments
def minimize(
    model: Sequential,
    loss: Loss,
    x: Any,
    y: Any,
    method: FullBatchMethod,
    iterations: int = 100,
    *,
    l2: float = 0.0,
    gradient_tolerance: float = 1e-6,
    progress_tolerance: float = 0.0,
    seed: int = 0,
    backend: str | Backend | None = None,
    precision: str | None = None,
    callback: Callable[[History], None] | None = None,
) -> Minimization:
    """Minimises the loss over all of x and y with a full-batch method.

    Vectors stay on the backend; the host reads only scalar products. The model ends at the best accepted point, even if the run
    is interrupted or f becomes NaN.

    Args: model – initialised in float64 if necessary; a float32 model stays in float32 and reaches gradients of about 1e-7
        times the initial ones before rounding hides further progress; loss; x, y – the full batch; method – such as fs.LBFGS();
        iterations – largest number; l2 – alpha of the penalty (alpha / 2) ||theta||^2 on parameters with decay;
        gradient_tolerance – stops if ||g|| is at most this; progress_tolerance – also stops if f decreased by at most this
        fraction of |f| in 5 consecutive iterations, default 0; a step whose effect on f is hidden by rounding counts as
        progress as long as the gradient decreases, unless this tolerance is above the rounding error; seed, backend,
        precision – as in Objective; callback – called with the history after every iteration, with the model at the current
        point.
    Raises: HyperparameterError for another kind of method and for models with dropout or noise; TooLarge for a matrix over the
        method's limit; NotDifferentiable for Newton and HessianFree with a hinge loss, and for layers that compute outside
        their tape's backend; NonFiniteLossError if loss or gradient are not finite at the start; StateError while another
        thread trains the model; the errors of TrainStep for data.

        result = fs.minimize(model, fs.MSE(), x, y, fs.LBFGS(), iterations=100)
        result.loss, result.reason, result.history["loss"]
    """
    if not isinstance(method, FullBatchMethod):
        raise HyperparameterError(
            f"expected a full-batch method such as fs.LBFGS(); got {method!r}; did you forget ()? "
            "First-order optimisers are run by fs.TrainStep"
        )
    if method.needs_curvature and isinstance(loss, Loss) and not loss.curved:
        raise NotDifferentiable(
            f"expected a loss with a second derivative for {type(method).__name__}; got {loss!r}, which is piecewise linear: "
            "its curvature is 0 wherever there is any; use a cross-entropy, or fs.SteepestDescent() or fs.LBFGS()"
        )
    iterations = whole(iterations, "iterations")
    not_negative(gradient_tolerance, "gradient_tolerance")
    not_negative(progress_tolerance, "progress_tolerance")
    objective = Objective(model, loss, x, y, l2, seed, backend, precision)
    walk = Walk(objective)
    run = _Run(objective, walk, History(), callback)
    moves = method.iterations(walk)
    run.record({"step": 0.0})
    idle = 0
    reason = f"the {iterations} iterations are used up"
    try:
        for _ in range(iterations):
            if walk.norm <= gradient_tolerance:
                break
            before = walk.value
            try:
                with objective.arena.training:
                    row = next(moves)
            except StopIteration as end:
                reason = str(end.value)
                break
            run.record(row)
            least = progress_tolerance * abs(before)
            gained = before - walk.value > least or (walk.hidden and least < 2.0 * walk.rounding)
            idle = 0 if gained else idle + 1
            if idle == PATIENCE:
                fall = f"fell by less than {progress_tolerance:g} of itself" if progress_tolerance else "did not fall"
                reason = f"the loss {fall} in {PATIENCE} iterations in a row"
                break
    finally:
        run.keep_best()
    converged = run.best_norm <= gradient_tolerance
    if converged:
        reason = f"the gradient's norm is at most {gradient_tolerance:g}"
    elif walk.broken:
        reason += f"; the loss was NaN or infinite at {walk.broken} points that were tried and given up"
    run.history.stopped_because = reason
    return Minimization(
        run.best, run.best_norm, len(run.history) - 1, converged, reason, objective.passes, objective.products, run.history
    )


class _Run:
    """The history of a run, and a copy of the best point."""

    def __init__(
        self, objective: Objective, walk: Walk, history: History, callback: Callable[[History], None] | None
    ) -> None:
        self.objective, self.walk, self.history, self.callback = objective, walk, history, callback
        self.best, self.best_norm, self._lowest = math.inf, math.inf, math.inf
        self._best = objective.vectors.new()
        self._started = time.perf_counter()

    def record(self, row: dict[str, float]) -> None:
        """Adds a row for the accepted point of the walk, and copies the point if it is the best so far."""
        walk, objective = self.walk, self.objective
        self._lowest = min(self._lowest, walk.value)
        limit = self._lowest + 2.0 * walk.rounding
        if walk.value <= limit and (walk.norm <= self.best_norm or self.best > limit):
            self.best, self.best_norm = walk.value, walk.norm
            objective.backend.copy(walk.theta, self._best)
        rows = self.history.rows
        rows.append({
            "epoch": float(len(rows)), "loss": walk.value, "gradient_norm": walk.norm, "step": row["step"],
            "evaluations": float(objective.passes + objective.products), "seconds": time.perf_counter() - self._started, **row,
        })  # fmt: skip
        for name in row:
            rows[0].setdefault(name, math.nan)
        if self.callback is not None:
            self.callback(self.history)

    def keep_best(self) -> None:
        """Sets the parameters of the model to the best point."""
        self.objective.backend.copy(self._best, self.objective.parameters)
