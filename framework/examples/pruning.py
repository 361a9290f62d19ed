"""E7: on digits, weights decay, the smallest are removed step by step, and the others are trained on after each removal."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .tasks import SEEDS, digits

TARGET = 0.8
EPOCHS = 40


def run(backend: str | None = None) -> Result:
    """For each of five seeds: trains whole; removes the same share at once; and trains again with pruning on the way."""
    whole, pruned, at_once, zeros, sizes = [], [], [], [], []
    for seed in SEEDS:
        (x, y), test = digits(seed=seed)
        step = _step(seed, backend)
        history = fs.Trainer(step).fit(x, y, validation=test, epochs=EPOCHS, batch_size=64)
        whole.append([100.0 * fraction for fraction in history["val_accuracy"]])
        fs.prune(step, TARGET)
        at_once.append(100.0 * step.evaluate(*test)["accuracy"])

        step = _step(seed, backend)
        pruning = fs.Pruning(TARGET, start=10, stop=25)
        fs.Trainer(step, [pruning]).fit(x, y, validation=test, epochs=EPOCHS, batch_size=64)
        pruned.append([100.0 * row["val_accuracy"] for row in pruning.report])
        counted = fs.sparsity(step.model)
        zeros.append(100.0 * counted["sparsity"])
        sizes.append(100.0 * counted["sparse_bytes"] / counted["dense_bytes"])

    before, after = np.array(whole)[:, -1], np.array(pruned)[:, -1]
    lost, lost_at_once = before - after, float(np.mean(before - at_once))
    size = float(np.mean(sizes))
    means = {"all weights": np.mean(whole, axis=0), "pruned on the way": np.mean(pruned, axis=0)}
    fractions = [100.0 * row["sparsity"] for row in pruning.report]
    return Result(
        [
            Finding("accuracy in % with all weights", before.mean(), "above 95", before.mean() > 95.0, ".1f"),
            Finding(f"points lost, {TARGET:.0%} removed at once", lost_at_once, "several", lost_at_once > 3.0, ".1f"),
            Finding("points lost, pruned on the way", lost.mean(), "at most 1", lost.mean() <= 1.0, ".2f"),
            Finding("points lost, the worst of 5 seeds", lost.max(), "at most 2", lost.max() <= 2.0, ".2f"),
            Finding("weights in % that are exactly zero", min(zeros), f"{100 * TARGET:.0f}",
                    abs(min(zeros) - 100.0 * TARGET) < 0.1, ".1f"),
            Finding("size in % as compressed rows", size, "well below 100", size < 60.0, ".0f"),
        ],
        "Means of 5 seeds, each with its own weights and test part. Most weights are not needed: removing them in small "
        "portions, with training in between, hardly changes the accuracy; removing them all at once does.",
        lambda path: _draw(means, fractions, float(np.mean(at_once)), path),
    )  # fmt: skip


def _step(seed: int, backend: str | None) -> fs.TrainStep:
    model = fs.mlp([64, 128, 10])
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.AdamW(3e-3, weight_decay=0.05), seed=seed, backend=backend)


def _draw(means: dict[str, Any], fractions: list[float], at_once: float, path: Any) -> Any:
    from ..diagnostics.plots.style import BLUE, GREEN, VERMILION, canvas, whole_ticks

    epochs = np.arange(1, EPOCHS + 1)
    looks = ((BLUE, "o", "-"), (VERMILION, "s", "--"))
    with canvas(path, 7.4, 3.5) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(epochs, fractions, color=GREEN, drawstyle="steps-mid")
        left.set(xlabel="epoch", ylabel="weights that are zero in %", title="Pruned in epochs 10 to 25", ylim=(0.0, 100.0))
        for (name, curve), (colour, mark, line) in zip(means.items(), looks, strict=True):
            right.plot(epochs, curve, color=colour, marker=mark, markersize=3, linestyle=line, label=name)
        right.plot(epochs[-1:], [at_once], "X", color=VERMILION, markersize=8, label="pruned at once, in the end")
        right.set(xlabel="epoch", ylabel="accuracy on test images in %", title="Accuracy, mean of 5 seeds")
        for axes in (left, right):
            whole_ticks(axes.xaxis)
        figure.legend(loc="outside lower center", ncols=3)
    return figure
