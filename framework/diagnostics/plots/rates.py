"""The figure of a learning-rate search: loss against rate on a logarithmic axis, with the suggestion."""

from __future__ import annotations

import math
from typing import Any

from ...export.output_paths import PathLike
from .style import BLUE, DARK, GREY, VERMILION, Figure, canvas, plain_logarithm

LOGARITHMIC = 20.0
"""The axis of losses is logarithmic if the ratio of the largest to the smallest one is above this."""


def plot_rates(found: Any, path: PathLike | None = None) -> Figure:
    """See RateSearch.plot."""
    with canvas(path, 5.4, 3.5) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        swept = any(not math.isnan(trial.smoothed) for trial in found.trials)
        (_sweep if swept else _stages)(axes, found)
        axes.axvline(found.suggestion, color=DARK, linestyle="--", linewidth=1.2, label=f"suggestion: {found.suggestion:.3g}")
        axes.set_xlabel("learning rate")
        axes.set_ylabel(found.measured)
        axes.set_title("Range test of the learning rate" if swept else "Search for the learning rate")
        axes.legend()
    return figure


def _sweep(axes: Any, found: Any) -> None:
    rates, losses, smoothed = zip(*((t.rate, t.loss, t.smoothed) for t in found.trials), strict=True)
    axes.plot(rates, losses, ".", color=VERMILION, markersize=4, label="each minibatch")
    axes.plot(rates, smoothed, "-", color=BLUE, linewidth=1.8, label="smoothed")
    # Losses at the end of the sweep may be huge, so the range of the axis follows the earlier ones.
    low, high = min(*smoothed, *losses), min(max(smoothed), 2.0 * smoothed[0])
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _stages(axes: Any, found: Any) -> None:
    finite = sorted((t.rate, t.loss) for t in found.trials if math.isfinite(t.loss))
    axes.plot(*zip(*finite, strict=True), "-", color=GREY, linewidth=1.0)
    for stage, marker, colour, label in (("decades", "o", BLUE, "powers of ten"), ("finer", "s", VERMILION, "finer search")):
        part = [(t.rate, t.loss) for t in found.trials if t.stage == stage and math.isfinite(t.loss)]
        if part:
            axes.plot(*zip(*part, strict=True), marker, color=colour, markersize=6, label=label)
    losses = [loss for _, loss in finite]
    if 0.0 < LOGARITHMIC * min(losses) < max(losses):
        plain_logarithm(axes.yaxis)
    diverged = [t.rate for t in found.trials if math.isinf(t.loss)]
    if diverged:
        top = axes.get_ylim()[1]
        axes.plot(diverged, [top] * len(diverged), "x", color=DARK, markersize=8, clip_on=False, label="diverged")
