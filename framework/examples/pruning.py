"""E7: on digits, weights decay, the smallest are removed step by step, and the others are trained on after each removal."""

from __future__ import annotations

from typing import Any

import fusedstep as fs

from .findings import Finding, Result
from .tasks import digits

TARGET = 0.8
EPOCHS = 40


def run(backend: str | None = None) -> Result:
    """Trains whole; removes the same share at once; and trains again with pruning on the way."""
    (x, y), test = digits()
    whole = _step(backend)
    plain = fs.Trainer(whole).fit(x, y, validation=test, epochs=EPOCHS, batch_size=64)
    before = whole.evaluate(*test)["accuracy"]
    fs.prune(whole, TARGET)
    at_once = whole.evaluate(*test)["accuracy"]

    step = _step(backend)
    pruning = fs.Pruning(TARGET, start=10, stop=25)
    fs.Trainer(step, [pruning]).fit(x, y, validation=test, epochs=EPOCHS, batch_size=64)
    after = step.evaluate(*test)["accuracy"]
    counted = fs.sparsity(step.model)
    zeros, size = counted["sparsity"], counted["sparse_bytes"] / counted["dense_bytes"]
    return Result(
        [
            Finding("accuracy with all weights", before, "above 95%", before > 0.95, ".1%"),
            Finding(f"accuracy, {TARGET:.0%} removed at once", at_once, "clearly lower", at_once < before - 0.01, ".1%"),
            Finding("weights that are exactly zero", zeros, f"{TARGET:.0%}", abs(zeros - TARGET) < 1e-3, ".1%"),
            Finding("accuracy, pruned on the way", after, "at most 1 point less", after >= before - 0.01, ".1%"),
            Finding("size as compressed rows", size, "well below 100%", size < 0.6, ".0%"),
        ],
        "Most weights are not needed: removed a few at a time, with training in between, they are hardly missed; removed all "
        "at once, they are.",
        lambda path: _draw(plain, pruning.report, at_once, path),
    )


def _step(backend: str | None) -> fs.TrainStep:
    model = fs.mlp([64, 128, 10])
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.AdamW(3e-3, weight_decay=0.05), seed=0, backend=backend)


def _draw(plain: fs.History, report: list[dict[str, float]], at_once: float, path: Any) -> Any:
    from ..plots.style import BLUE, GREEN, VERMILION, canvas, whole_ticks

    epochs = [row["epoch"] for row in report]
    with canvas(path, 7.4, 3.5) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(epochs, [100.0 * row["sparsity"] for row in report], color=GREEN, drawstyle="steps-mid")
        left.set(xlabel="epoch", ylabel="weights that are zero in %", title="Pruned in epochs 10 to 25", ylim=(0.0, 100.0))
        right.plot(epochs, [100.0 * a for a in plain["val_accuracy"]], color=BLUE, marker="o", markersize=3,
                   label="all weights")
        right.plot(epochs, [100.0 * row["val_accuracy"] for row in report], color=VERMILION, marker="s", markersize=3,
                   linestyle="--", label="pruned on the way")  # fmt: skip
        right.plot(epochs[-1:], [100.0 * at_once], "X", color=VERMILION, markersize=8, label="pruned at once, in the end")
        right.set(xlabel="epoch", ylabel="accuracy on test images in %", title="Accuracy")
        for axes in (left, right):
            whole_ticks(axes.xaxis)
        figure.legend(loc="outside lower center", ncols=3)
    return figure
