"""E6: the 2-3-5-3-1 network of E4 with squared error, with and without an L2 penalty on its weights."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import host
from .tasks import accuracy, two_gaussians

ALPHA = 0.005
"""With 0.01, one of thirty seeds ended with all weights near 0 and the accuracy of guessing; with 0.005 none did."""


class Watch(fs.Callback):
    """Notes the size of the weights and the accuracy on other data at the start and after every epoch."""

    def __init__(self, model: fs.Sequential, x: Any, y: Any) -> None:
        self.model, self.x, self.y = model, x, y
        self.norms: list[float] = []
        self.accuracies: list[float] = []

    def look(self) -> None:
        """One look."""
        weights = [values for name, values in host(self.model).items() if name.endswith("weight")]
        self.norms.append(float(np.sqrt(sum(np.sum(values**2) for values in weights))))
        self.accuracies.append(accuracy(self.model, self.x, self.y))

    def on_fit_begin(self, trainer: fs.Trainer) -> None:  # noqa: ARG002
        """Before the first step."""
        self.look()

    def on_epoch_end(self, trainer: fs.Trainer, row: dict[str, float]) -> None:  # noqa: ARG002
        """After each epoch."""
        self.look()


def run(backend: str | None = None) -> Result:
    """Trains twice from the same weights."""
    x, y = two_gaussians(200)
    seen = {}
    for name, alpha in (("without", 0.0), ("with", ALPHA)):
        model = fs.mlp([2, 3, 5, 3, 1], activation="sigmoid").initialize(seed=0, backend=backend)
        seen[name] = watch = Watch(model, *two_gaussians(4000, seed=1))
        fs.Trainer(fs.TrainStep(model, fs.MSE(), fs.Adam(0.01, l2=alpha)), [watch]).fit(x, y, epochs=150, batch_size=32)
    free, held = seen["without"], seen["with"]
    better = held.accuracies[-1] - free.accuracies[-1]
    return Result(
        [
            Finding("without: norm of the weights", free.norms[-1], f"above {free.norms[0]:.2f}, the start",
                    free.norms[-1] > free.norms[0]),
            Finding("with L2: norm of the weights", held.norms[-1], "clearly smaller", held.norms[-1] < 0.8 * free.norms[-1]),
            Finding("without: accuracy on new points", free.accuracies[-1], "above 95%", free.accuracies[-1] > 0.95, ".2%"),
            Finding("with L2: accuracy on new points", held.accuracies[-1], "no worse", better > -0.005, ".2%"),
        ],
        f"The penalty ({ALPHA:g} / 2) ||W||^2 keeps the weights small, without reducing the accuracy on new points.",
        lambda path: _draw(seen, path),
    )  # fmt: skip


def _draw(seen: dict[str, Watch], path: Any) -> Any:
    from ..diagnostics.plots.style import canvas, look

    with canvas(path, 7.4, 3.5) as figure:
        left, right = figure.subplots(1, 2)
        for position, (name, watch) in enumerate(seen.items()):
            colour, mark = look(position)
            iterations = 7 * np.arange(len(watch.norms))  # 200 rows are 7 minibatches
            looks = {"color": colour, "marker": mark, "markevery": 20, "markersize": 4.5, "label": f"{name} L2"}
            left.plot(iterations, watch.norms, **looks)
            right.plot(iterations, [100.0 * a for a in watch.accuracies], **looks)
        left.set(xlabel="iteration", ylabel="norm of all weights", title="Weights", ylim=(0.0, None))
        right.set(xlabel="iteration", ylabel="accuracy on new points in %", title="Accuracy", ylim=(94.0, 100.0))
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
