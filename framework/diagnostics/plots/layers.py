"""The figure of LayerStatistics: activations and gradients of the layers, over depth and over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.output_paths import PathLike
from .style import BLUE, GREEN, LOOKS, VERMILION, Figure, canvas, plain_logarithm, shades, whole_ticks

MOST_NAMES = 6
"""Largest number of layers in the legend; if there are more, some of them are selected evenly."""

MOST_TICKS = 10
"""Largest number of tick labels on the axis of layers."""

COLUMNS = (("activation", "Activations", "outputs"), ("gradient", "Gradients", "∂J/∂output"))


def plot_statistics(statistics: Any, path: PathLike | None = None) -> Figure:
    """See LayerStatistics.plot."""
    shown = statistics.shown
    names = [statistics.layers[k] for k in shown]
    fractions = [q for q in ("saturated", "dead") if not np.isnan(statistics[q][:, shown]).all()]
    with canvas(path, 7.4, 8.4 if fractions else 6.4) as figure:
        panels = figure.subplots(4 if fractions else 3, 2)
        for column, (quantity, title, what) in zip(panels.T, COLUMNS, strict=True):
            means = statistics[f"{quantity}_mean"][:, shown]
            deviations = statistics[f"{quantity}_std"][:, shown]
            _over_depth(column[0], names, statistics.steps, means, f"{title}: mean over depth", f"mean of {what}")
            _over_depth(column[1], names, statistics.steps, deviations, f"{title}: spread over depth", f"std of {what}")
            _over_time(column[2], names, statistics.steps, deviations, f"{title}: spread over time", f"std of {what}")
            for axes, values in ((column[1], deviations), (column[2], deviations)):
                if (values > 0.0).any():
                    plain_logarithm(axes.yaxis)
        for axes, quantity in zip(panels[3] if fractions else (), fractions, strict=False):
            _fractions(axes, names, statistics.steps, statistics[quantity][:, shown], quantity, statistics.threshold)
        if len(fractions) == 1:
            panels[3, 1].set_visible(False)
        looks = panels[0, 0].get_legend_handles_labels()
        figure.legend(*looks, loc="outside upper center", ncols=3, fontsize=8, title="over depth")
        named = panels[2, 0].get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=min(MOST_NAMES, len(names)), fontsize=8, title="over time")
    return figure


def _over_depth(axes: Any, names: Sequence[str], steps: Sequence[int], values: NDArray[Any], title: str, what: str) -> None:
    """One line for each of the first, the middle and the last sample."""
    from matplotlib.ticker import FuncFormatter

    looks = sorted({0, len(steps) // 2, len(steps) - 1})
    styles = ((BLUE, "o", "-"), (GREEN, "^", ":"), (VERMILION, "s", "--"))
    at = np.arange(len(names))
    for look, (colour, mark, line) in zip(looks, (styles[0], *styles[3 - len(looks) + 1 :]), strict=True):
        axes.plot(
            at, values[look], color=colour, marker=mark, linestyle=line, markersize=4, linewidth=1.3,
            markevery=max(1, len(names) // 12), label=f"step {steps[look]:,}",
        )  # fmt: skip
    each = -(-len(names) // MOST_TICKS)
    axes.set_xticks(at[::each], [_number(name) for name in names[::each]])
    axes.set(xlabel="layer (its number in the model)", ylabel=what, title=title)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _over_time(axes: Any, names: Sequence[str], steps: Sequence[int], values: NDArray[Any], title: str, what: str) -> None:
    """One line per layer, dark for the first and light for the last."""
    colours = shades(len(names))
    named = set(np.linspace(0, len(names) - 1, min(MOST_NAMES, len(names))).round().astype(int).tolist())
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        looks = {"marker": LOOKS[sorted(named).index(k) % len(LOOKS)][1], "label": name} if k in named else {}
        axes.plot(
            steps, values[:, k], color=colour, linewidth=1.3, markersize=4, markevery=(0, max(1, len(steps) // 8)), **looks
        )
    axes.set(xlabel="iteration", ylabel=what, title=title)
    axes.set_xlim(left=0)
    whole_ticks(axes.xaxis)


def _fractions(
    axes: Any, names: Sequence[str], steps: Sequence[int], values: NDArray[Any], quantity: str, threshold: float
) -> None:
    """Saturated outputs or dead units in per cent, for the layers that have them."""
    title, what = f"Saturated: within {100 * threshold:g} % of a limit", "saturated outputs in %"
    if quantity == "dead":
        title, what = "Dead: active for no row", "dead units in %"
    _over_time(axes, names, steps, 100.0 * values, title, what)
    top = max(1.0, 1.05 * np.nanmax(100.0 * values))
    axes.set_ylim(-0.03 * top, top)


def _number(name: str) -> str:
    """"3.1" for "3.Residual.1.ReLU"."""
    return ".".join(part for part in name.split(".") if part.isdigit())
