"""Decision regions: the class that a model predicts for each point of the plane of two inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import HyperparameterError, ShapeError
from ...engine.model import Sequential, require_model
from ...export.output_paths import PathLike
from ...settings import positive, whole
from ...suggestions import suggests_arguments
from .style import DARK, Figure, canvas, look

TINT = 0.32
"""Fraction of the class's colour in its region; the rest is white."""

MANY = 30
"""If there are more misclassified rows, their rings are drawn thinner."""


@suggests_arguments
def plot_decision_regions(
    model: Sequential,
    x: Any,
    y: Any,
    path: PathLike | None = None,
    *,
    points: int = 200,
    margin: float = 0.15,
    features: Sequence[str] = ("x₁", "x₂"),
    classes: Sequence[str] | None = None,
) -> Figure:
    """Plots the plane of two inputs, coloured by the class that a model predicts, with data points.

    Boundaries are where the predicted class changes: the zeros of y_k - max of the other outputs, of the logit, or of the
    score. Misclassified rows have a dark ring.

    Args: model – a classifier with two input columns: its head is "classes", or "binary" or "signs" with one output; x [N, 2];
        y [N] – labels as in training (also one-hot rows, and -1 and 1 for signs); path – of a .png, .svg or .pdf file to write,
        None for none; points – of the grid per axis, >= 2; margin – beyond the data, as a fraction of their extent; features –
        names of the two inputs, with their units; classes – names, default "class 0", "class 1", …
    Returns: the matplotlib Figure; it is not shown.
    Raises: ShapeError for more than two inputs, HyperparameterError for a model that predicts no classes, the errors of the
        model for x, MissingDependency without matplotlib, OutputPathError.

        fs.plot_decision_regions(model, x, y, "regions.png")
    """
    count = whole(points, "points", 2)
    beyond = positive(margin, "margin")
    _require_classes(model)
    rows = model.backend.to_numpy(model.convert_input(x)).astype(np.float64)
    if rows.shape[1] != 2:
        raise ShapeError(
            f"expected a model with 2 inputs; got {rows.shape[1]} columns; train one on two of them"
        )
    labels = _labels(model, y, len(rows))
    given = model.backend.to_numpy(model.predict(x)).reshape(-1)
    low, high = rows.min(axis=0), rows.max(axis=0)
    reach = beyond * np.where(high > low, high - low, 1.0)
    across, up = (np.linspace(a, b, count) for a, b in zip(low - reach, high + reach, strict=True))
    scores = _scores(model, across, up)
    names = [f"class {k}" for k in range(len(scores))] if classes is None else [str(name) for name in classes]
    if len(names) != len(scores):
        raise HyperparameterError(f"expected one name for each of the {len(scores)} classes; got {names}")
    if len(features) != 2:
        raise HyperparameterError(f"expected the names of two features; got {features!r}")
    with canvas(path, 5.6, 4.4) as figure:
        axes = figure.subplots()
        winner = scores.argmax(axis=0)
        axes.imshow(
            _tints(len(scores))[winner], origin="lower", aspect="auto", interpolation="nearest", zorder=0,
            extent=(*_cells(across), *_cells(up)),
        )  # fmt: skip
        for k in range(len(scores)):
            others = np.delete(scores, k, axis=0).max(axis=0)
            if (winner == k).any() and (winner != k).any():
                axes.contour(across, up, scores[k] - others, [0.0], colors=DARK, linewidths=0.8, zorder=1)
        for k, name in enumerate(names):
            colour, mark = look(k)
            chosen = labels == k
            if chosen.any():
                axes.plot(
                    *rows[chosen].T, color=colour, marker=mark, linestyle="none", markersize=5, markeredgecolor="white",
                    markeredgewidth=0.5, label=name, zorder=3,
                )  # fmt: skip
        wrong = given != labels
        if wrong.any():
            width = 1.1 if wrong.sum() <= MANY else 0.5
            axes.plot(
                *rows[wrong].T, marker="o", linestyle="none", markersize=9, markerfacecolor="none", markeredgecolor=DARK,
                markeredgewidth=width, label="misclassified", zorder=4,
            )  # fmt: skip
        axes.set(xlabel=features[0], ylabel=features[1], title=f"{int(wrong.sum())} of {len(rows)} rows misclassified")
        axes.grid(False)
        figure.legend(loc="outside right upper")
    return figure


def _require_classes(model: Any) -> None:
    require_model(model)
    several = model.head in ("binary", "signs") and model.outputs not in (None, 1)
    if model.head not in ("classes", "binary", "signs") or several:
        what = f"head {model.head!r} and {model.outputs} outputs" if several else f"head {model.head!r}"
        raise HyperparameterError(
            f'expected a model that predicts one class per row (head "classes", or "binary" or "signs" with one output); '
            f"got {what}; train it with a loss for classes, such as SoftmaxCrossEntropy"
        )


def _labels(model: Sequential, y: Any, rows: int) -> NDArray[np.int64]:
    """The class of each row, from labels, one-hot rows, or signs."""
    backend = model.backend
    values = backend.to_numpy(backend.asarray(y))
    if values.ndim == 2 and values.shape[1] > 1:
        values = values.argmax(axis=1)
    values = values.reshape(-1)
    if len(values) != rows:
        raise ShapeError(f"expected one label for each of the {rows} rows of x; got {len(values)}")
    return (values > 0.5).astype(np.int64) if model.head != "classes" else values.astype(np.int64)


def _scores(model: Sequential, across: NDArray[Any], up: NDArray[Any]) -> NDArray[Any]:
    """[classes, points, points]: scores on the grid; the class with the largest score is predicted."""
    grid = np.stack([axis.ravel() for axis in np.meshgrid(across, up)], axis=1)
    outputs = model.backend.to_numpy(model(grid.astype(model.dtype))).astype(np.float64)
    if model.head != "classes":
        outputs = np.concatenate([-outputs, outputs], axis=1)
    return outputs.T.reshape(-1, len(up), len(across))


def _cells(axis: NDArray[Any]) -> tuple[float, float]:
    """(low, high): the range of the cells whose centres are the points of the grid."""
    half = (axis[1] - axis[0]) / 2
    return axis[0] - half, axis[-1] + half


def _tints(count: int) -> NDArray[Any]:
    """The colours of the regions."""
    from matplotlib.colors import to_rgb

    return np.array([1.0 - TINT * (1.0 - np.array(to_rgb(look(k)[0]))) for k in range(count)])
