"""E5: the same network with all weights zero, all weights one, and random weights, on a problem that needs its hidden units."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result
from .gradients import host
from .tasks import four_clouds

UNITS = 8
STARTS: dict[str, fs.Initializer] = {"zero": fs.Constant(0.0), "one": fs.Constant(1.0), "random": fs.Normal(1.0)}


def run(backend: str | None = None) -> Result:
    """Trains three times; after it, compares the hidden units of each network with one another."""
    x, y = four_clouds(800)
    models: dict[str, fs.Sequential] = {}
    histories: dict[str, fs.History] = {}
    rows: list[Finding] = []
    for name, start in STARTS.items():
        model = fs.mlp([2, UNITS, 1], activation="sigmoid", weight_init=start)
        step = fs.TrainStep(model, fs.BinaryCrossEntropy(), fs.Momentum(0.2), seed=0, backend=backend, precision="float64")
        histories[name] = fs.Trainer(step, evaluate_training=True).fit(x, y, epochs=30, batch_size=32)
        models[name] = model
        weights = host(model)["0.Linear.weight"]  # [2, units]: one column a hidden unit
        apart = float(np.abs(weights - weights[:, :1]).max())
        reached = histories[name]["accuracy"][-1]
        same = name != "random"
        rows += [
            Finding(
                f"{name}: largest difference between hidden units", apart, "0: all the same" if same else "they differ",
                apart < 1e-9 if same else apart > 0.1,
            ),
            Finding(
                f"{name}: accuracy", reached, "at most 3 of 4 clouds: 75%" if same else "nearly 100%",
                reached < 0.8 if same else reached > 0.98, ".1%",
            ),
        ]  # fmt: skip
    return Result(
        rows,
        "Units that start equal get equal gradients and stay equal, so eight of them are no better than one; random "
        "weights break the symmetry, and the network learns.",
        lambda path: _draw(models, histories, path),
    )


def _draw(models: dict[str, fs.Sequential], histories: dict[str, fs.History], path: Any) -> Any:
    from ..diagnostics.plots.style import canvas, look, whole_ticks

    with canvas(path, 7.4, 3.5) as figure:
        left, right = figure.subplots(1, 2)
        for position, (name, history) in enumerate(histories.items()):
            colour, mark = look(position)
            looks = {"color": colour, "marker": mark}
            percent = [100.0 * fraction for fraction in history["accuracy"]]
            left.plot(history["epoch"], percent, markevery=4, markersize=4.5, label=name, **looks)
            weights = host(models[name])["0.Linear.weight"]
            right.plot(weights[0], weights[1], linestyle="", markersize=7, alpha=0.8, **looks)
        left.set(xlabel="epoch", ylabel="accuracy in %", title="Only random weights learn all", ylim=(0.0, 103.0))
        whole_ticks(left.xaxis)
        right.set(xlabel="weight from x1", ylabel="weight from x2", title=f"The {UNITS} hidden units after training")
        figure.legend(loc="outside lower center", ncols=3, title="all weights at the start")
    return figure
