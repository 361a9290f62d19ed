"""E8: for a linear model, noise on the inputs adds sigma^2 ||w||^2 to the mean squared error, just as an L2 penalty does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fusedstep as fs

from .findings import Finding, Result

SIGMAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
ROWS, COLUMNS, DRAWS = 500, 5, 100


def run(backend: str | None = None) -> Result:
    """Measures E[(y~ - y)^2] for eight strengths of noise, 100 times over the same 500 rows each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, COLUMNS))
    w = rng.standard_normal((COLUMNS, 1))
    y = x @ w + 0.3 * rng.standard_normal((ROWS, 1))

    measured, errors, theory = [], [], []
    for seed, sigma in enumerate(SIGMAS):
        model = fs.Sequential(fs.GaussianNoise(sigma), fs.Linear(COLUMNS, 1))
        model.initialize(backend=backend, dtype="float64")
        model.load_parameters({"1.Linear.weight": w, "1.Linear.bias": np.zeros(1)})
        # A learning rate so small that no bit of w changes: the losses of all steps are then those of one and the same w.
        step = fs.TrainStep(model, fs.MSE(), fs.SGD(lr=1e-30), seed=seed)
        losses = np.array(fs.Trainer(step).fit(x, y, epochs=DRAWS, batch_size=None).step_losses)
        clean = step.evaluate(x, y)["loss"]
        measured.append(float(losses.mean()))
        errors.append(float(losses.std(ddof=1)) / math.sqrt(DRAWS))
        theory.append(clean + sigma**2 * float(np.sum(w**2)))

    away = (np.array(measured) - theory) / errors
    typical, largest = float(np.sqrt(np.mean(away**2))), float(np.abs(away).max())
    rows = [
        Finding(f"sigma = {sigma}: mean squared error", m, f"{t:.5f} +- {e:.5f}", abs(m - t) < 3.0 * e, ".5f")
        for sigma, m, t, e in zip(SIGMAS, measured, theory, errors, strict=True)
    ]
    return Result(
        [
            *rows,
            Finding("typical distance from theory, in standard errors", typical, "about 1", typical < 1.5, ".2f"),
            Finding("largest distance from theory, in standard errors", largest, "below 3", largest < 3.0, ".2f"),
        ],
        "E[(y~ - y)^2] = E[(y^ - y)^2] + sigma^2 ||w||^2 within the standard error of the measurement: for a linear model, "
        "input noise is equivalent to an L2 penalty with alpha = 2 sigma^2.",
        lambda path: _draw(clean, measured, errors, theory, path),
    )


def _draw(clean: float, measured: list[float], errors: list[float], theory: list[float], path: Any) -> Any:
    from ..diagnostics.plots.style import BLUE, GREY, VERMILION, canvas

    squared = np.square(SIGMAS)
    with canvas(path, 7.4, 3.4) as figure:
        left, right = figure.subplots(1, 2)
        left.axhline(clean, color=GREY, linestyle=":", label="without noise")
        left.plot([0.0, *squared], [clean, *theory], color=BLUE, label="theory: + sigma² ||w||²")
        left.plot(squared, measured, "s", color=VERMILION, label="measured")
        left.set(xlabel="variance of the noise, sigma²", ylabel="mean squared error", title="Noise adds a straight line")
        right.axhline(0.0, color=BLUE)
        right.errorbar(squared, np.subtract(measured, theory), yerr=errors, fmt="s", color=VERMILION, capsize=3,
                       label="measured, with its standard error")  # fmt: skip
        right.set(xlabel="variance of the noise, sigma²", ylabel="measured minus theory", title="Differences are random")
        figure.legend(loc="outside lower center", ncols=4)
    return figure
