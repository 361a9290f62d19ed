"""E11: six optimisers on digits, from the same weights and with the same minibatches, each with its own learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .tasks import SEEDS, digits

OPTIMIZERS: dict[str, type[fs.Optimizer]] = {
    cls.__name__: cls for cls in (fs.SGD, fs.Momentum, fs.Nesterov, fs.AdaGrad, fs.RMSProp, fs.Adam)
}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
EPOCHS = 12


def run(backend: str | None = None) -> Result:
    """Searches a learning rate for each of them, as the best one for SGD is not the best one for Adam; then trains 5 times."""
    rates = {name: search(optimizer, backend) for name, optimizer in OPTIMIZERS.items()}
    losses: dict[str, Any] = {name: [] for name in OPTIMIZERS}
    accuracies: dict[str, list[float]] = {name: [] for name in OPTIMIZERS}
    for seed in SEEDS:
        (x, y), test = digits(seed=seed)
        for name, optimizer in OPTIMIZERS.items():
            step = _step(optimizer(rates[name]), seed, backend)
            losses[name].append(fs.Trainer(step).fit(x, y, epochs=EPOCHS, batch_size=64)["loss"])
            accuracies[name].append(step.evaluate(*test)["accuracy"])
    losses = {name: np.array(each) for name, each in losses.items()}
    last = {name: each[:, -1] for name, each in losses.items()}
    plain = last["SGD"]
    rows = [Finding(f"SGD at {rates['SGD']:g}: training loss", plain.mean(), "below 0.2", plain.mean() < 0.2, ".3f")]
    for name in list(OPTIMIZERS)[1:]:
        below = int(np.sum(last[name] < plain))
        rows.append(
            Finding(f"{name} at {rates[name]:g}: training loss", last[name].mean(), "below SGD's, every seed",
                    below == len(SEEDS), ".3f")
        )  # fmt: skip
    fastest = min(last, key=lambda name: float(last[name].mean()))
    best = max(accuracies, key=lambda name: float(np.mean(accuracies[name])))
    reached = float(np.mean(accuracies[best]))
    return Result(
        [
            *rows,
            Finding(f"loss of SGD / loss of {fastest}", plain.mean() / last[fastest].mean(), "above 2",
                    plain.mean() > 2.0 * last[fastest].mean(), ".1f"),
            Finding(f"test accuracy of {best}, the best", reached, "above 94%", reached > 0.94, ".1%"),
        ],
        f"Means of {len(SEEDS)} seeds after {EPOCHS} epochs. Suitable rates differ by more than a power of ten. With these "
        "rates, all five optimisers with momentum or a rate per parameter beat plain SGD with every seed, "
        f"{fastest} by the largest margin. The best accuracy on new images, that of {best}, need not go with the lowest loss.",
        lambda path: _draw(losses, rates, path),
    )  # fmt: skip


def search(optimizer: type[fs.Optimizer], backend: str | None) -> float:
    """The rate with the lowest training loss after as many epochs as the comparison has."""
    (x, y), _ = digits()
    losses = {}
    for rate in RATES:
        step = _step(optimizer(rate), 0, backend)
        losses[rate] = fs.Trainer(step).fit(x, y, epochs=EPOCHS, batch_size=64)["loss"][-1]
    return min(losses, key=losses.__getitem__)


def _step(optimizer: fs.Optimizer, seed: int, backend: str | None) -> fs.TrainStep:
    return fs.TrainStep(fs.mlp([64, 64, 10]), fs.SoftmaxCrossEntropy(), optimizer, seed=seed, backend=backend)


def _draw(losses: dict[str, Any], rates: dict[str, float], path: Any) -> Any:
    from ..diagnostics.plots.style import canvas, look, plain_logarithm, whole_ticks

    epochs = np.arange(1, EPOCHS + 1)
    with canvas(path, 5.2, 3.8) as figure:
        axes = figure.subplots()
        for position, (name, each) in enumerate(losses.items()):
            colour, mark = look(position)
            axes.fill_between(epochs, each.min(axis=0), each.max(axis=0), color=colour, alpha=0.12, linewidth=0.0)
            label = f"{name}, {rates[name]:g}"
            axes.plot(epochs, each.mean(axis=0), color=colour, marker=mark, markersize=4.5, label=label)
        plain_logarithm(axes.yaxis)
        whole_ticks(axes.xaxis)
        axes.set(xlabel="epoch", ylabel="training loss", title="Six optimisers on digits: mean and range of 5 seeds")
        figure.legend(loc="outside lower center", ncols=3, title="optimiser and its learning rate")
    return figure
