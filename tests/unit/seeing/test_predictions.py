"""Figures of predictions: what is drawn, and names as they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from fusedstep.framework.diagnostics.plots.predictions import plot_calibration, plot_confusion, plot_predicted
from fusedstep.framework.metrics.probabilities import calibration

RNG = np.random.default_rng(0)


def test_g4_a_confusion_matrix_with_its_numbers(tmp_path):
    matrix = np.array([[3.0, 1.0], [0.0, 0.5]])
    figure = plot_confusion(matrix, ["$5 to $10", "a name that is rather long"], tmp_path / "confusion.png", "validation")
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["0.5", "1", "3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$5 to \$10", "a name that is ra…"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0.0, 1.0]])
    assert axes.get_title(loc="left") == "Confusion matrix, validation part (77.8 % right)"
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert axes.get_xlabel() == "predicted class"
    weighted = plot_confusion(matrix, ["a", "b"], unit="weight of rows")
    assert weighted.axes[0].get_xlabel() == "predicted class (numbers: weight of rows)"


def test_g4_many_classes_have_no_names():
    axes = plot_confusion(RNG.uniform(0, 9, (60, 60)), [f"class {k}" for k in range(60)]).axes[0]
    assert not axes.texts
    assert "class 0" not in [label.get_text() for label in axes.get_xticklabels()]


def test_g4_calibration_shows_points_and_rows(tmp_path):
    chance = RNG.uniform(0, 1, 500)
    curve = calibration(RNG.uniform(0, 1, 500) < chance, chance)
    figure = plot_calibration(curve, "probability of $a_$ or $", tmp_path / "calibration.svg")
    above, below = figure.axes
    np.testing.assert_allclose(above.lines[1].get_xydata(), np.column_stack([curve.predicted, curve.observed]))
    assert sum(bar.get_height() for bar in below.patches) == 500
    assert (tmp_path / "calibration.svg").stat().st_size > 1000


def test_g4_predicted_numbers_are_thinned_out(tmp_path):
    true = RNG.normal(5.0, 2.0, 5000)
    figure = plot_predicted(true, true + 0.1, "price in $ or $", tmp_path / "predicted.pdf", r2=0.9)
    diagonal, points = figure.axes[0].lines
    assert len(points.get_xdata()) == 2000
    np.testing.assert_allclose(points.get_ydata() - points.get_xdata(), 0.1)
    np.testing.assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    assert figure.axes[0].get_title(loc="left") == "Predictions, test part (R² 0.900)"
    assert "R²" not in plot_predicted(true, true, "price", r2=float("nan")).axes[0].get_title(loc="left")


def test_numbers_at_the_axes_do_not_overlap():
    figure = plot_predicted(np.linspace(150_000, 330_000, 50), np.linspace(150_000, 330_000, 50), "price")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    labels = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    boxes = sorted((box.x0, box.x1) for box in (label.get_window_extent() for label in labels))
    assert len(boxes) >= 3
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))
