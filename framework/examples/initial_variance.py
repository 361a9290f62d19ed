"""E10: 50 ReLU layers with initial weights N(0, sigma^2), where n sigma^2 / 2 is below 1, above 1, and exactly 1 (He)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result

DEPTH, WIDTH, ROWS, NETWORKS = 50, 128, 64, 2
GAINS = {"too small": 0.5, "He": 1.0, "too large": 2.0}
"""n sigma^2 / 2: what a layer multiplies the mean square of its inputs by, as ReLU lets half of it pass."""
MEAN_TO_RMS = 1.0 / math.sqrt(math.pi)
"""Of the positive part of a normal variable: mean / root mean square = (1 / sqrt(2 pi)) / sqrt(1 / 2)."""


def run(backend: str | None = None) -> Result:
    """Looks at fresh networks only, two for each variance; nothing is trained."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, WIDTH)), rng.standard_normal((ROWS, WIDTH))
    depth: dict[str, tuple[Any, Any]] = {}
    rows: list[Finding] = []
    for name, gain in GAINS.items():
        squares, means, gradients = [], [], []
        for seed in range(NETWORKS):
            layers: list[fs.Layer] = []
            for _ in range(DEPTH):
                layers += [fs.Linear(WIDTH, WIDTH, weight_init=fs.Normal(math.sqrt(2.0 * gain / WIDTH))), fs.ReLU()]
            model = fs.Sequential(*layers)
            step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e-30), seed=seed, backend=backend, precision="float64")
            statistics = fs.LayerStatistics(data=(x, y))
            fs.Trainer(step, [statistics]).fit(x, y, max_steps=1, batch_size=None)
            relu = [k for k, layer in enumerate(statistics.layers) if layer.endswith("ReLU")]
            mean, deviation = (statistics[f"activation_{which}"][0, relu] for which in ("mean", "std"))
            squares.append(mean**2 + deviation**2)
            means.append(mean / np.sqrt(squares[-1]))
            gradients.append(statistics["gradient_std"][0, relu])
        ratios = np.divide([s[1:] for s in squares], [s[:-1] for s in squares])
        measured, error = float(ratios.mean()), float(ratios.std(ddof=1)) / math.sqrt(ratios.size)
        last = math.sqrt(float(np.exp(np.mean(np.log([s[-1] for s in squares])))))
        first_to_last = float(expected(gain, DEPTH))
        # The spread of a product of 50 layers: each layer's logarithm has a variance of about 5 / n.
        spread = math.exp(3.0 * 0.5 * math.sqrt(5.0 * DEPTH / WIDTH / NETWORKS) + 0.5 * 2.5 * DEPTH / WIDTH)
        skew = float(np.mean(means))
        rows += [
            Finding(f"{name}: mean square, layer to layer", measured, f"x {gain:g} +- {error:.3f}",
                    abs(measured - gain) < 3.0 * error, ".3f"),
            Finding(f"{name}: activations after layer {DEPTH}", last, f"about {first_to_last:.1e}",
                    first_to_last / spread < last < first_to_last * spread, ".1e"),
            Finding(f"{name}: mean / root mean square", skew, f"1 / sqrt(pi) = {MEAN_TO_RMS:.3f}",
                    abs(skew - MEAN_TO_RMS) < 0.02, ".3f"),
        ]  # fmt: skip
        depth[name] = (np.sqrt(np.mean(squares, axis=0)), np.mean(gradients, axis=0))
    return Result(
        rows,
        "A layer multiplies the mean square by n sigma² / 2. Below 1, signals and gradients vanish over 50 layers; above 1, "
        "they explode; with He's sigma² = 2 / n they keep their scale.",
        lambda path: _draw(depth, path),
    )


def expected(gain: float, layers: Any) -> Any:
    """sqrt(gain)^layers, the root mean square behind so many of them, for inputs of 1; layers – a number or an array."""
    return gain ** (0.5 * layers)


def _draw(depth: dict[str, tuple[Any, Any]], path: Any) -> Any:
    from ..diagnostics.plots.style import GREY, canvas, look

    layers = np.arange(1, DEPTH + 1)
    with canvas(path, 7.4, 3.7) as figure:
        left, right = figure.subplots(1, 2)
        for position, (name, (activations, gradients)) in enumerate(depth.items()):
            colour, mark = look(position)
            looks = {"color": colour, "marker": mark, "markevery": 7, "markersize": 4.5}
            left.semilogy(layers, activations, label=f"{name}: n sigma² / 2 = {GAINS[name]:g}", **looks)
            right.semilogy(layers, gradients, **looks)
            theory = expected(GAINS[name], layers)
            left.semilogy(layers, theory, color=GREY, linestyle=":", label="theory" if position == 2 else None)
        left.set(xlabel="layer", ylabel="root mean square", title="Activations, forward")
        right.set(xlabel="layer", ylabel="standard deviation", title="Gradients, backward")
        figure.legend(loc="outside lower center", ncols=4)
    return figure
