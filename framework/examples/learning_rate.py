"""E12: the same network on digits with a learning rate that is too low, one that is right, and one that is too high."""

from __future__ import annotations

from typing import Any

import fusedstep as fs

from .findings import Finding, Result
from .tasks import digits

RATES = {"too low": 0.001, "right": 0.1, "too high": 10.0}
EPOCHS = 40


def run(backend: str | None = None) -> Result:
    """Trains three times with plain SGD, from the same weights."""
    (x, y), test = digits()
    histories = {}
    for name, rate in RATES.items():
        # tanh keeps the activations within -1 and 1, so that even far too high a rate gives no infinity.
        model = fs.mlp([64, 32, 10], activation="tanh")
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(rate), seed=0, backend=backend)
        histories[name] = fs.Trainer(step).fit(x, y, validation=test, epochs=EPOCHS, batch_size=64)
    low, right, high = (history["val_loss"] for history in histories.values())
    worst = max(high)
    return Result(
        [
            Finding("right: final validation loss", right[-1], "lowest of the three", right[-1] < min(low[-1], high[-1])),
            # 93.3 to 97.3 percent over fifteen seeds.
            Finding("right: accuracy", histories["right"]["val_accuracy"][-1], "above 90%",
                    histories["right"]["val_accuracy"][-1] > 0.9, ".1%"),
            Finding("too low: final validation loss", low[-1], "still decreasing, and high",
                    3.0 * right[-1] < low[-1] < low[-2]),
            Finding("too high: largest validation loss", worst, "above ln 10 = 2.3, that of guessing", worst > 2.303),
        ],
        "Too low: the loss decreases steadily but very slowly. Too high: it oscillates at a high value. Right: it decreases "
        "fast and stays low.",
        lambda path: _draw(histories, path),
    )  # fmt: skip


def _draw(histories: dict[str, fs.History], path: Any) -> Any:
    from ..diagnostics.plots.style import GREY, canvas, look, plain_logarithm, whole_ticks

    with canvas(path, 5.2, 3.6) as figure:
        axes = figure.subplots()
        for position, (name, history) in enumerate(histories.items()):
            colour, mark = look(position)
            label = f"{name}: {RATES[name]:g}"
            axes.plot(history["epoch"], history["val_loss"], color=colour, marker=mark, markersize=4, label=label)
        axes.axhline(2.302585, color=GREY, linestyle=":", label="guessing")
        plain_logarithm(axes.yaxis)
        whole_ticks(axes.xaxis)
        axes.set(xlabel="epoch", ylabel="validation loss", title="Three learning rates")
        figure.legend(loc="outside lower center", ncols=4)
    return figure
