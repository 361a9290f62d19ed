"""Loss and accuracy against epoch and iteration: of one training run, or of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

from ....errors import HyperparameterError, StateError
from ...export.output_paths import PathLike
from ...settings import choice
from ...suggestions import suggests_arguments
from .style import BLUE, GREY, VERMILION, Figure, canvas, legend_below, look, plain_logarithm, whole_ticks

METRICS = {"accuracy": "accuracy", "r2": "R²"}
"""Column of the history -> its name in the figure."""

MOST_POINTS = 2000
"""Largest number of points for single minibatches; if there are more, adjacent ones are averaged."""

LOGARITHMIC = 30.0
"""The axis of losses is logarithmic if the ratio of the largest to the smallest one is above this."""


@runtime_checkable
class Curves(Protocol):
    """The part of a History that is drawn; see training/history.py."""

    step_losses: Any
    steps_per_epoch: int

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""

    def __getitem__(self, key: Any) -> Any: ...

    def __len__(self) -> int: ...


def plot_history(history: Curves, path: PathLike | None = None) -> Figure:
    """See History.plot."""
    metric = _metric([history])
    _require_epochs({"this history": history})
    with canvas(path, 7.4 if metric else 4.6, 3.3) as figure:
        panels = figure.subplots(1, 2 if metric else 1, squeeze=False)[0]
        epochs = _places(history, "epoch")
        _draw_steps(panels[0], history)
        for axes, name in zip(panels, ("loss", *([metric] if metric else [])), strict=True):
            for column, colour, mark, line, label in (
                (name, BLUE, "o", "-", "training"),
                (f"val_{name}", VERMILION, "s", "--", "validation"),
            ):
                if column in history.columns:
                    _line(axes, epochs, history[column], color=colour, marker=mark, linestyle=line, label=label)
            _finish(axes, name, "epoch")
            _iterations_above(axes, history)
        _scale(panels[0], [history])
        legend_below(figure, panels, 4)
    return figure


@suggests_arguments
def plot_runs(runs: Mapping[str, Curves], path: PathLike | None = None, against: str = "epoch") -> Figure:
    """Plots loss, and accuracy or R² if available, of several training runs in one figure.

    Training is a solid line, validation a dashed one; each run has its own colour and marker.

    Args: runs – name -> history; path – of a .png, .svg or .pdf file to write, None for none; against – "epoch" (default),
        "iteration" or "seconds" (of training).
    Returns: the matplotlib Figure; it is not shown.
    Raises: HyperparameterError, StateError for a history without an epoch, MissingDependency without matplotlib,
        OutputPathError.

        fs.plot_runs({"Adam": first, "SGD": second}, "runs.png")
    """
    choice(against, "against", ("epoch", "iteration", "seconds"))
    if not isinstance(runs, Mapping) or not runs or not all(isinstance(h, Curves) for h in runs.values()):
        raise HyperparameterError(f'expected a dict of names and histories, such as {{"Adam": history}}; got {runs!r}')
    _require_epochs({repr(name): history for name, history in runs.items()})
    metric = _metric(runs.values())
    with canvas(path, 7.4 if metric else 4.6, 3.5) as figure:
        panels = figure.subplots(1, 2 if metric else 1, squeeze=False)[0]
        for axes, name in zip(panels, ("loss", *([metric] if metric else [])), strict=True):
            for position, (run, history) in enumerate(runs.items()):
                colour, mark = look(position)
                at = _places(history, against)
                for column, line in ((name, "-"), (f"val_{name}", "--")):
                    if column in history.columns:
                        label = f"{run}, {'validation' if line == '--' else 'training'}"
                        _line(axes, at, history[column], color=colour, marker=mark, linestyle=line, label=label)
            _finish(axes, name, {"seconds": "training time in s"}.get(against, against))
            if against == "seconds":
                axes.xaxis.get_major_locator().set_params(integer=False)
        _scale(panels[0], runs.values())
        legend_below(figure, panels, 4)
    return figure


def _require_epochs(histories: Mapping[str, Curves]) -> None:
    for name, history in histories.items():
        if not len(history):
            raise StateError(f"expected at least one trained epoch; got none in {name}; call fit first")


def _metric(histories: Iterable[Curves]) -> str:
    """The first column of METRICS that any of the histories has, or ""."""
    columns = {column.removeprefix("val_") for history in histories for column in history.columns}
    return next((name for name in METRICS if name in columns), "")


def _line(axes: Any, at: Sequence[float], values: Sequence[float], **looks: Any) -> None:
    axes.plot(at, values, markersize=4.5, linewidth=1.5, markevery=max(1, len(values) // 8), **looks)


def _draw_steps(axes: Any, history: Curves) -> None:
    """Draws the losses of single minibatches, behind the means of the epochs."""
    losses = history.step_losses
    if len(losses) < 2 or history.steps_per_epoch < 2:
        return
    together = -(-len(losses) // MOST_POINTS)
    at, values = [], []
    for start in range(0, len(losses), together):
        part = losses[start : start + together]
        at.append((start + (len(part) + 1) / 2) / history.steps_per_epoch)
        values.append(sum(part) / len(part))
    label = "single minibatches" if together == 1 else f"means of {together} minibatches"
    axes.plot(at, values, color=GREY, linewidth=0.7, alpha=0.6, label=label, zorder=1)


def _places(history: Curves, against: str) -> list[float]:
    """The x coordinates of the rows of a history; the last epoch may be incomplete."""
    if against == "seconds":
        return list(accumulate(history["seconds"]))
    each = history.steps_per_epoch
    ends = [min(epoch * each, len(history.step_losses)) for epoch in history["epoch"]]
    return ends if against == "iteration" else [end / each for end in ends]


def _finish(axes: Any, name: str, below: str) -> None:
    from matplotlib.ticker import FuncFormatter

    shown = METRICS.get(name, name)
    axes.set(xlabel=below, ylabel=shown, title=shown[0].upper() + shown[1:])
    axes.set_xlim(left=0.0)
    whole_ticks(axes.xaxis)
    if name == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{100.0 * fraction:.4g} %"))


def _iterations_above(axes: Any, history: Curves) -> None:
    """A second x axis, above, that counts minibatches."""
    each = history.steps_per_epoch
    if each < 2:
        return
    above = axes.secondary_xaxis("top", functions=(lambda epoch: epoch * each, lambda iteration: iteration / each))
    above.set_xlabel("iteration")
    above.spines["top"].set_visible(True)
    whole_ticks(above.xaxis)


def _scale(axes: Any, histories: Iterable[Curves]) -> None:
    """A logarithmic axis for losses with a large range."""
    names = ("loss", "val_loss")
    losses = [value for h in histories for name in names if name in h.columns for value in h[name]]
    if min(losses) > 0.0 and max(losses) > LOGARITHMIC * min(losses):
        plain_logarithm(axes.yaxis)
