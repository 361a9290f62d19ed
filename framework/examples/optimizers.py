"""E11: six optimisers on digits, from the same weights and with the same minibatches, each with a learning rate of its own."""

from __future__ import annotations

from typing import Any

import fusedstep as fs

from .findings import Finding, Result
from .tasks import digits

OPTIMIZERS: dict[str, type[fs.Optimizer]] = {
    "SGD": fs.SGD,
    "Momentum": fs.Momentum,
    "Nesterov": fs.Nesterov,
    "AdaGrad": fs.AdaGrad,
    "RMSProp": fs.RMSProp,
    "Adam": fs.Adam,
}
RATES = (0.001, 0.01, 0.1)
EPOCHS = 12


def run(backend: str | None = None) -> Result:
    """Searches a learning rate for each of them, as the best one for SGD is not the best one for Adam; then trains."""
    (x, y), test = digits()
    histories, rates, accuracies = {}, {}, {}
    for name, optimizer in OPTIMIZERS.items():
        model = fs.mlp([64, 64, 10])
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer(0.01), seed=0, backend=backend)
        rates[name] = step.lr = fs.find_learning_rate(step, x, y, rates=RATES, finer=(), epochs=5, batch_size=64).suggestion
        histories[name] = fs.Trainer(step).fit(x, y, epochs=EPOCHS, batch_size=64)
        accuracies[name] = step.evaluate(*test)["accuracy"]
    rows = [
        Finding(f"{name} with lr = {rates[name]:g}: accuracy on test images", accuracy, "above 90%", accuracy > 0.9, ".1%")
        for name, accuracy in accuracies.items()
    ]
    losses = {name: history["loss"][-1] for name, history in histories.items()}
    slowest, fastest = max(losses, key=losses.__getitem__), min(losses, key=losses.__getitem__)
    ratio = losses["SGD"] / losses[fastest]
    rows.append(Finding(f"final loss of SGD / of {fastest}, the lowest", ratio, "at least 1", ratio >= 1.0))
    return Result(
        rows,
        f"With a learning rate that suits it, each of them learns this task; the loss fell furthest with {fastest} and least "
        f"with {slowest}. Which one is best depends on the task, and the rates differ by powers of ten.",
        lambda path: _draw(histories, rates, path),
    )


def _draw(histories: dict[str, fs.History], rates: dict[str, float], path: Any) -> Any:
    from ..plots.style import canvas, look, plain_logarithm, whole_ticks

    with canvas(path, 5.2, 3.8) as figure:
        axes = figure.subplots()
        for position, (name, history) in enumerate(histories.items()):
            colour, mark = look(position)
            label = f"{name}, {rates[name]:g}"
            axes.plot(history["epoch"], history["loss"], color=colour, marker=mark, markersize=4.5, label=label)
        plain_logarithm(axes.yaxis)
        whole_ticks(axes.xaxis)
        axes.set(xlabel="epoch", ylabel="training loss", title="Six optimisers on digits")
        figure.legend(loc="outside lower center", ncols=3, title="optimiser and its learning rate")
    return figure
