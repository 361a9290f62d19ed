"""The picture of a learning-rate search: loss against rate on a logarithmic axis, with the suggestion.

Matplotlib is imported here and only when a picture is drawn.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputPathError
from .data.optional import require

if TYPE_CHECKING:
    from .rate_search import RateSearch

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
"""Of the palette of Okabe and Ito, which colour-blind readers can tell apart; shapes and dashes differ as well."""


def draw(found: RateSearch, path: Path) -> Path:
    """Writes the picture and returns its path."""
    figure_type = require("matplotlib.figure", "plot", "drawing a learning-rate search").Figure
    figure = figure_type(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    swept = any(not math.isnan(trial.smoothed) for trial in found.trials)
    (_sweep if swept else _stages)(axes, found)
    axes.axvline(found.suggestion, color=GREY, linestyle="--", linewidth=1.2, label=f"suggestion: {found.suggestion:.3g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel(found.measured)
    axes.set_title("Range test of the learning rate" if swept else "Search for the learning rate")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise OutputPathError(
            f"expected a path for a picture, ending in .png, .svg or .pdf; got {str(path)!r} ({error}); give another one"
        ) from error
    return path


def _sweep(axes: Any, found: RateSearch) -> None:
    rates = [trial.rate for trial in found.trials]
    axes.plot(rates, [t.loss for t in found.trials], ".", color=ORANGE, markersize=4, label="each minibatch")
    axes.plot(rates, [t.smoothed for t in found.trials], "-", color=BLUE, linewidth=1.8, label="smoothed")
    # Where the sweep ends, single losses may be huge; the smoothed ones set the scale.
    smoothed = [t.smoothed for t in found.trials]
    low, high = min(*smoothed, *(t.loss for t in found.trials)), min(max(smoothed), 2.0 * smoothed[0])
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _stages(axes: Any, found: RateSearch) -> None:
    for stage, marker, colour, label in (("decades", "o", BLUE, "powers of ten"), ("finer", "s", ORANGE, "finer search")):
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
