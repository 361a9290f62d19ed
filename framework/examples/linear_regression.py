"""E9: linear regression by gradient descent and by SGD, against the closed form w = (X^T X)^-1 X^T y."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import host

ROWS, COLUMNS, BATCH = 200, 3, 10


class Distance(fs.Callback):
    """Notes after every epoch how far the parameters are from a given point."""

    def __init__(self, solution: Any) -> None:
        self.solution = solution
        self.seen: list[float] = []

    def on_epoch_end(self, trainer: fs.Trainer, row: dict[str, float]) -> None:  # noqa: ARG002
        """One look."""
        theta = np.concatenate([values.ravel() for values in host(trainer.step.model).values()])
        self.seen.append(float(np.linalg.norm(theta - self.solution)))


def run(backend: str | None = None) -> Result:
    """Four parameters, 200 epochs each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, COLUMNS))
    y = x @ [[2.0], [-1.0], [0.5]] + 3.0 + 0.5 * rng.standard_normal((ROWS, 1))
    with_one = np.hstack([x, np.ones((ROWS, 1))])  # the column of ones carries the bias
    solution = np.linalg.lstsq(with_one, y, rcond=None)[0].ravel()

    runs: dict[str, tuple[int | None, Any]] = {
        "gradient descent": (None, None),
        "SGD, constant rate": (BATCH, None),
        "SGD, decreasing rate": (BATCH, lambda _, step: 0.1 / (1.0 + 0.05 * step)),
    }
    distances = {}
    for name, (size, schedule) in runs.items():
        model = fs.Sequential(fs.Linear(COLUMNS, 1))
        step = fs.TrainStep(model, fs.MSE(), fs.SGD(0.1), seed=0, backend=backend, precision="float64")
        distance = Distance(solution)
        fs.Trainer(step, [distance], schedule=schedule).fit(x, y, epochs=200, batch_size=size)
        distances[name] = distance.seen
    descent, constant, falling = (seen[-1] for seen in distances.values())
    return Result(
        [
            Finding("gradient descent: distance from the closed form", descent, "0 up to rounding", descent < 1e-10, ".1e"),
            Finding("SGD, constant rate: distance", constant, "small, but not zero", 1e-4 < constant < 0.3, ".1e"),
            Finding("SGD, decreasing rate: distance", falling, "much smaller", falling < 0.1 * constant, ".1e"),
        ],
        "Gradient descent reaches the closed form to the last digit. SGD with a constant rate fluctuates around it, because "
        "every minibatch has a different minimum; with a decreasing rate it converges.",
        lambda path: _draw(distances, path),
    )


def _draw(distances: dict[str, list[float]], path: Any) -> Any:
    from ..diagnostics.plots.style import canvas, look

    with canvas(path, 5.2, 3.6) as figure:
        axes = figure.subplots()
        for position, (name, seen) in enumerate(distances.items()):
            colour, mark = look(position)
            axes.semilogy(range(1, len(seen) + 1), seen, color=colour, marker=mark, markevery=25, markersize=4.5, label=name)
        axes.set(xlabel="epoch", ylabel="distance from the closed form", title="Linear regression: three ways to the solution")
        figure.legend(loc="outside lower center", ncols=3)
    return figure
