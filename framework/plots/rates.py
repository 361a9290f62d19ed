"""The figure of a learning-rate search: loss against rate on a logarithmic axis, with the suggestion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..persistence import PathLike
from .style import BLUE, GREEN, GREY, VERMILION, Figure, canvas

if TYPE_CHECKING:
    from ..rate_search import RateSearch


def plot_rates(found: RateSearch, path: PathLike | None = None) -> Figure:
    """See RateSearch.plot."""
    with canvas(path, 5.6, 3.6) as figure:
        axes = figure.subplots()
        swept = any(not math.isnan(trial.smoothed) for trial in found.trials)
        (_sweep if swept else _stages)(axes, found)
        axes.axvline(found.suggestion, color=GREY, linestyle="--", linewidth=1.2, label=f"suggestion: {found.suggestion:.3g}")
        title = "Range test of the learning rate" if swept else "Search for the learning rate"
        axes.set(xscale="log", xlabel="learning rate", ylabel=found.measured, title=title)
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def _sweep(axes: Any, found: RateSearch) -> None:
    rates = [trial.rate for trial in found.trials]
    axes.plot(rates, [t.loss for t in found.trials], ".", color=VERMILION, markersize=4, label="each minibatch")
    axes.plot(rates, [t.smoothed for t in found.trials], "-", color=BLUE, linewidth=1.8, label="smoothed")
    # Where the sweep ends, single losses may be huge; the smoothed ones set the scale.
    smoothed = [t.smoothed for t in found.trials]
    low, high = min(*smoothed, *(t.loss for t in found.trials)), min(max(smoothed), 2.0 * smoothed[0])
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _stages(axes: Any, found: RateSearch) -> None:
    for stage, marker, colour, label in (("decades", "o", BLUE, "powers of ten"), ("finer", "s", VERMILION, "finer search")):
        part = sorted((t.rate, t.loss) for t in found.trials if t.stage == stage and math.isfinite(t.loss))
        if part:
            axes.plot(*zip(*part, strict=True), marker, color=colour, markersize=6, label=label)
    finite = sorted((t.rate, t.loss) for t in found.trials if math.isfinite(t.loss))
    axes.plot(*zip(*finite, strict=True), "-", color=GREY, linewidth=1.0, zorder=0)
    losses = [loss for _, loss in finite]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        axes.set_yscale("log")
    diverged = [t.rate for t in found.trials if math.isinf(t.loss)]
    if diverged:
        top = axes.get_ylim()[1]
        axes.plot(diverged, [top] * len(diverged), "x", color=GREEN, markersize=8, clip_on=False, label="diverged")
