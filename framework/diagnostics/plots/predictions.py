"""Figures of predictions: confusion matrix, calibration curve, predicted against true numbers.

The numbers are computed in framework/metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.output_paths import PathLike
from ...metrics.probabilities import Calibration
from .style import BLUE, DARK, GREY, Figure, canvas, whole_ticks

WRITTEN = 20
"""Classes up to which each number is written into a confusion matrix."""
NAMED = 40
"""Classes up to which each is named at the axes."""
POINTS = 2000
"""Largest number of points of predicted against true numbers; further rows are thinned out evenly."""

Numbers = NDArray[Any]


def plot_confusion(
    matrix: Numbers, classes: Sequence[str], path: PathLike | None = None, part: str = "test", unit: str = "rows"
) -> Figure:
    """Plots a confusion matrix: each row a class, whose colours are the fractions of its rows.

    Args: matrix – [K, K] numbers of rows by class (row) and prediction (column), or their weights; classes – K names; path – of
        a .png, .svg or .pdf file, None for none; part – of the data, for the title.
    Returns: the matplotlib Figure. Raises: MissingDependency, OutputPathError.
    """
    count = len(classes)
    totals = matrix.sum(axis=1, keepdims=True)
    fractions = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0.0)
    side = min(max(3.6, 0.42 * count + 1.8), 9.0)
    with canvas(path, side + 0.8, side) as figure:
        axes = figure.subplots()
        shown = axes.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.0)
        if count <= NAMED:
            names = [_plain(name if len(name) <= 18 else f"{name[:17]}…") for name in classes]
            slanted = max(map(len, names)) > 3
            axes.set_xticks(range(count), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
            axes.set_yticks(range(count), names)
        if count <= WRITTEN:
            for row, column in np.argwhere(matrix > 0.0).tolist():
                colour = "white" if fractions[row, column] > 0.5 else DARK
                axes.text(
                    column, row, f"{matrix[row, column]:.4g}", ha="center", va="center", color=colour,
                    fontsize=9 if count <= 12 else 6,
                )  # fmt: skip
        title = f"Confusion matrix, {part} part ({100.0 * float(np.trace(matrix) / matrix.sum()):.1f} % right)"
        numbers = "" if unit == "rows" else f" (numbers: {unit})"
        axes.set(xlabel=f"predicted class{numbers}", ylabel="true class", title=title)
        axes.grid(False)
        figure.colorbar(shown, ax=axes, label="fraction of the true class", shrink=0.8)
    return figure


def plot_calibration(
    curve: Calibration, what: str, path: PathLike | None = None, part: str = "test", unit: str = "rows"
) -> Figure:
    """Plots how often what was predicted with a probability came true, and how often each probability was predicted.

    Args: curve – its points; what – was predicted, such as "probability of yes"; path, part – as of `plot_confusion`;
        unit – of the weights of the curve.
    Returns: the matplotlib Figure. Raises: MissingDependency, OutputPathError.
    """
    with canvas(path, 4.4, 4.8) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.0, label="perfectly calibrated")
        above.plot(curve.predicted, curve.observed, color=BLUE, marker="o", markersize=5, label="this model")
        above.set(ylabel="observed frequency", ylim=(-0.03, 1.03), xlim=(-0.03, 1.03), title=f"Calibration, {part} part")
        above.legend(loc="best")
        below.bar(curve.predicted, curve.weight, width=0.05, color=BLUE)
        below.set(xlabel=_plain(what), ylabel=unit)
        whole_ticks(below.yaxis)
    return figure


def plot_predicted(
    targets: Numbers, predictions: Numbers, name: str, path: PathLike | None = None, part: str = "test", r2: float | None = None
) -> Figure:
    """Plots predicted against true numbers, with the line on which predictions are right.

    Args: targets, predictions – [N] in the units of the target; name – of the target; path, part – as of `plot_confusion`; r2 –
        for the title.
    Returns: the matplotlib Figure. Raises: MissingDependency, OutputPathError.
    """
    chosen = np.linspace(0, len(targets) - 1, min(len(targets), POINTS)).astype(int)
    low, high = (float(of(np.concatenate([targets, predictions]))) for of in (np.min, np.max))
    with canvas(path, 4.6, 4.4) as figure:
        axes = figure.subplots()
        axes.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1.0, label="right predictions")
        axes.plot(
            targets[chosen], predictions[chosen], color=BLUE, marker="o", linestyle="none", markersize=4,
            markeredgecolor="white", markeredgewidth=0.3, alpha=0.7 if len(chosen) > 300 else 1.0,
            label=f"rows of the {part} part",
        )  # fmt: skip
        figures = "" if r2 is None or np.isnan(r2) else f" (R² {r2:.3f})"
        shown = _plain(name)
        axes.set(xlabel=f"true {shown}", ylabel=f"predicted {shown}", title=f"Predictions, {part} part{figures}")
        axes.locator_params(axis="x", nbins=5)  # numbers of six digits beside each other
        axes.legend(loc="upper left")
    return figure


def _plain(text: str) -> str:
    """A text in which matplotlib takes no part between two dollar signs for a formula."""
    return text.replace("$", r"\$")
