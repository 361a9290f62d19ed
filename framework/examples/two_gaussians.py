"""E4: a 2-3-5-3-1 sigmoid network on two Gaussians, with squared error and with hinge loss; gradients in matrix form."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import gradients, host
from .tasks import BEST_ACCURACY, accuracy, two_gaussians

LOSSES: dict[str, fs.Loss] = {"squared error": fs.MSE(), "hinge": fs.Hinge()}


def run(backend: str | None = None) -> Result:
    """Trains once with each loss, from the same weights."""
    x, y = two_gaussians(800)
    unseen = two_gaussians(4000, seed=1)
    histories: dict[str, fs.History] = {}
    rows: list[Finding] = []
    for name, loss in LOSSES.items():
        model = fs.mlp([2, 3, 5, 3, 1], activation="sigmoid").initialize(seed=0, backend=backend, dtype="float64")
        apart = _apart(gradients(model, loss, x, y), by_matrices(host(model), name, x, y))
        history = fs.Trainer(fs.TrainStep(model, loss, fs.Adam(0.01))).fit(x, y, epochs=40, batch_size=32)
        reached = accuracy(model, *unseen)
        first, last = history["loss"][0], history["loss"][-1]
        rows += [
            Finding(f"{name}: gradients against the matrix form", apart, "0 up to rounding", apart < 1e-12, ".1e"),
            Finding(f"{name}: loss in the last epoch", last, f"far below {first:.2f}, that of the first", last < 0.5 * first),
            Finding(
                f"{name}: accuracy on 4000 new points", reached, f"{BEST_ACCURACY:.1%}, the best possible mean",
                reached > BEST_ACCURACY - 0.01,
                ".1%",
            ),
        ]  # fmt: skip
        histories[name] = history
    return Result(
        rows,
        "Both losses decrease, and both networks separate the clouds almost optimally; the hinge loss ignores points beyond "
        "the margin, the squared error does not.",
        lambda path: _draw(histories, path),
    )


def by_matrices(parameters: dict[str, Any], loss: str, x: Any, y: Any) -> dict[str, Any]:
    """The backward pass as the notes derive it: H = s(H W + b) forward, D <- (D W^T) * H (1 - H) backward."""
    names = [name.removesuffix("weight") for name in parameters if name.endswith("weight")]
    outputs = [x]
    for name in names:
        z = outputs[-1] @ parameters[f"{name}weight"] + parameters[f"{name}bias"]
        outputs.append(z if name == names[-1] else 1.0 / (1.0 + np.exp(-z)))
    output = outputs.pop()
    delta = (2.0 * (output - y) if loss == "squared error" else np.where(y * output < 1.0, -y, 0.0)) / len(x)
    found = {}
    for name, inputs in zip(reversed(names), reversed(outputs), strict=True):
        found[f"{name}weight"], found[f"{name}bias"] = inputs.T @ delta, delta.sum(axis=0)
        delta = (delta @ parameters[f"{name}weight"].T) * inputs * (1.0 - inputs)
    return found


def _apart(found: dict[str, Any], expected: dict[str, Any]) -> float:
    return max(float(np.abs(found[name] - expected[name]).max()) for name in expected)


def _draw(histories: dict[str, fs.History], path: Any) -> Any:
    from ..diagnostics.plots.style import canvas, look

    with canvas(path, 5.2, 3.4) as figure:
        axes = figure.subplots()
        for position, (name, history) in enumerate(histories.items()):
            colour, _ = look(position)
            losses, each = np.array(history.step_losses), history.steps_per_epoch
            axes.plot(np.arange(1, len(losses) + 1), losses, color=colour, linewidth=0.5, alpha=0.4)
            ends = each * np.arange(1, len(history) + 1)
            axes.plot(ends, history["loss"], color=colour, linestyle=("-", "--")[position], label=f"{name}, mean of an epoch")
        axes.set(xlabel="iteration (minibatch of 32)", ylabel="training loss", ylim=(0.0, None))
        axes.set_title("2-3-5-3-1 sigmoid network on two Gaussians")
        axes.legend()
    return figure
