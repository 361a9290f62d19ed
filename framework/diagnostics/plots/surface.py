"""Contour plots of loss surfaces with the path of training; several surfaces share one colour scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import HyperparameterError
from ...export.output_paths import PathLike
from ...suggestions import suggests_arguments
from .style import DARK, ORANGE, VERMILION, Figure, canvas, legend_below

LEVELS = 15
"""Number of contours."""
LOGARITHMIC = 10.0
"""Contours are at equal ratios instead of differences if the ratio of the largest to the smallest loss is above this."""


@dataclass(frozen=True, eq=False)
class Slice:
    """The part of a LossSurface that is drawn; see there."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    values: NDArray[np.float64]
    origin_loss: float
    labels: tuple[str, str]
    path: NDArray[np.float64] | None = None


@suggests_arguments
def plot_surfaces(surfaces: Mapping[str, Slice], path: PathLike | None = None) -> Figure:
    """Plots loss surfaces side by side with a common colour scale, for example with and without skip connections.

    The surface is white where losses overflow. The star marks the model; a path starts at the circle.

    Args: surfaces – title -> result of fs.loss_surface; path – of a .png, .svg or .pdf file to write, None for none.
    Returns: the matplotlib Figure; it is not shown.
    Raises: HyperparameterError, MissingDependency without matplotlib, OutputPathError.

        fs.plot_surfaces({"plain": plain, "with skip connections": skipping}, "surfaces.png")
    """
    if not isinstance(surfaces, Mapping) or not all(isinstance(s, Slice) for s in surfaces.values()) or not surfaces:
        raise HyperparameterError(f'expected a dict of titles and loss surfaces, such as {{"ReLU": surface}}; got {surfaces!r}')
    finite = np.concatenate([s.values[np.isfinite(s.values)] for s in surfaces.values()])
    with canvas(path, 4.4 * len(surfaces) + 0.6, 4.5) as figure:
        from matplotlib.ticker import MaxNLocator

        levels, norm = _levels(finite)
        panels = figure.subplots(1, len(surfaces), squeeze=False)[0]
        filled = None
        for axes, (title, surface) in zip(panels, surfaces.items(), strict=True):
            values = np.ma.masked_invalid(surface.values)
            filled = axes.contourf(surface.a, surface.b, values, levels, norm=norm, cmap="viridis")
            axes.contour(surface.a, surface.b, values, levels[::2], norm=norm, colors="white", linewidths=0.5, alpha=0.7)
            _draw_path(axes, surface)
            title = f"{title} (star: {surface.origin_loss:.3g})"
            axes.set(xlabel=surface.labels[0], ylabel=surface.labels[1], title=title)
            for axis in (axes.xaxis, axes.yaxis):
                axis.label.set_fontsize(8.5)
                axis.set_major_locator(MaxNLocator(5))
            axes.grid(False)
        _bar(figure, filled, panels, levels)
        legend_below(figure, panels, 3, fontsize=8)
    return figure


def _levels(finite: Any) -> tuple[Any, Any]:
    """(levels of the contours, colour scale)."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(finite.min()), float(finite.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    if low > 0.0 and high / low > LOGARITHMIC:
        return np.geomspace(low, high, LEVELS), LogNorm(low, high)
    return np.linspace(low, high, LEVELS), Normalize(low, high)


def _bar(figure: Figure, filled: Any, panels: Any, levels: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    bar = figure.colorbar(filled, ax=list(panels), label="loss", ticks=levels[::2])
    digits = max(3, 2 - math.floor(math.log10((levels[-1] - levels[0]) / np.abs(levels).max())))
    plain = FuncFormatter(lambda value, _: f"{value:.{digits}g}" if abs(value) < 1e3 or value > 1e7 else f"{value:,.0f}")
    bar.ax.yaxis.set_major_formatter(plain)
    bar.ax.yaxis.set_minor_locator(NullLocator())


def _draw_path(axes: Any, surface: Slice) -> None:
    """Draws the path as a line with dots, its start, and the position of the model."""
    edge = {"markeredgecolor": DARK, "linestyle": "none", "zorder": 5}
    if surface.path is not None:
        a, b = surface.path.T
        axes.plot(a, b, color="white", linewidth=2.6, zorder=3)
        each = max(1, len(a) // 40)
        axes.plot(
            a, b, color=VERMILION, linewidth=1.3, marker=".", markersize=4, markevery=each, zorder=4, label="path of training"
        )
        axes.plot(a[:1], b[:1], marker="o", markersize=7, color="white", label="its start", **edge)
    axes.plot([0.0], [0.0], marker="*", markersize=12, color=ORANGE, label="the model", **edge)
