"""D5: decision regions of models with two inputs."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("untouched")
BACKENDS = ["numpy", "numba"]


@pytest.fixture
def plane():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1.0, 1.0, (120, 2)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0.0).astype(np.int64)


def _half(run, loss, outputs):
    """A linear model whose decision is x1 + x2 > 0.25."""
    model = fs.Sequential(fs.Linear(2, outputs))
    fs.TrainStep(model, loss, fs.SGD(0.1), backend=run)
    weight, bias = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0.0, -0.25])
    model.load_parameters({"0.Linear.weight": weight[:, -outputs:], "0.Linear.bias": bias[-outputs:]})
    return model


def _lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


@pytest.mark.parametrize(
    ("loss", "outputs", "code"),
    [
        (fs.SoftmaxCrossEntropy(), 2, lambda y: y),
        (fs.SoftmaxCrossEntropy(), 2, lambda y: np.eye(2)[y]),
        (fs.BinaryCrossEntropy(), 1, lambda y: y.astype(np.float32)),
        (fs.BinaryCrossEntropy(), 1, lambda y: y.reshape(-1, 1).astype(np.float32)),
        (fs.Hinge(), 1, lambda y: 2.0 * y - 1.0),
    ],
)
@pytest.mark.parametrize("run", BACKENDS)
def test_d5_regions_boundary_and_wrong_rows(run, loss, outputs, code, plane, tmp_path):
    x, y = plane
    model = _half(run, loss, outputs)
    path = tmp_path / "regions.png"
    figure = fs.plot_decision_regions(model, x, code(y), path, points=60, features=("width in cm", "height in cm"))
    assert path.read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width in cm", "height in cm")
    drawn = _lines(axes)
    for label in (0, 1):
        np.testing.assert_array_equal(drawn[f"class {label}"], x[y == label])
    wrong = (x[:, 0] + x[:, 1] > 0.25) != (y == 1)
    assert 0 < wrong.sum() < 60
    np.testing.assert_array_equal(drawn["misclassified"], x[wrong])
    assert axes.get_title(loc="left") == f"{wrong.sum()} of 120 rows misclassified"
    boundary = np.concatenate([p.vertices for c in axes.collections for p in c.get_paths()])
    np.testing.assert_allclose(boundary.sum(axis=1), 0.25, atol=1e-5)
    # The colour of a cell is that of the class at its centre.
    (image,) = axes.get_images()
    colours = np.asarray(image.get_array())
    left, right, bottom, top = image.get_extent()
    centres = [low + (np.arange(60) + 0.5) * (high - low) / 60 for low, high in ((left, right), (bottom, top))]
    above = centres[0][None, :] + centres[1][:, None] > 0.25
    clear = np.abs(centres[0][None, :] + centres[1][:, None] - 0.25) > 1e-4
    for side in (above, ~above):
        assert len(np.unique(colours[side & clear].round(6), axis=0)) == 1
    assert not np.allclose(colours[above & clear][0], colours[~above & clear][0])


def test_d5_many_classes_have_looks_of_their_own_and_names(plane):
    x, _ = plane
    y = np.arange(120) % 9
    model = fs.mlp([2, 8, 9])
    fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
    figure = fs.plot_decision_regions(model, x, y, points=20, classes=list("abcdefghi"))
    lines = [line for line in figure.axes[0].get_lines() if line.get_label() in set("abcdefghi")]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(lines) == 9


def test_d5_one_class_only_has_no_boundary(plane):
    x, _ = plane
    model = _half("numpy", fs.BinaryCrossEntropy(), 1)
    figure = fs.plot_decision_regions(model, x * 0.01, np.zeros(120), points=10)
    assert set(_lines(figure.axes[0])) == {"class 0"}
    assert len(figure.axes[0].collections) == 0


def test_d5_bad_input_is_refused(plane, tmp_path):
    x, y = plane
    model = _half("numpy", fs.BinaryCrossEntropy(), 1)
    draw = fs.plot_decision_regions
    wide = fs.mlp([3, 2])
    fs.TrainStep(wide, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
    numbers = fs.mlp([2, 1])
    fs.TrainStep(numbers, fs.MSE(), fs.SGD(0.1), backend="numpy")
    several = fs.mlp([2, 4])
    fs.TrainStep(several, fs.BinaryCrossEntropy(), fs.SGD(0.1), backend="numpy")
    for error, match, call in (
        (fs.ShapeError, "2 inputs", lambda: draw(wide, np.ones((4, 3)), [0, 1, 0, 1])),
        (fs.HyperparameterError, "head 'values'", lambda: draw(numbers, x, y)),
        (fs.HyperparameterError, "4 outputs", lambda: draw(several, x, y)),
        (fs.HyperparameterError, "head None", lambda: draw(fs.mlp([2, 2]).initialize(backend="numpy"), x, y)),
        (fs.HyperparameterError, "expected a model", lambda: draw("model", x, y)),
        (fs.ShapeError, "one label", lambda: draw(model, x, y[1:])),
        (fs.HyperparameterError, "one name for each", lambda: draw(model, x, y, classes=["a"])),
        (fs.HyperparameterError, "two features", lambda: draw(model, x, y, features=("a",))),
        (fs.HyperparameterError, "points", lambda: draw(model, x, y, points=1)),
        (fs.HyperparameterError, "margin", lambda: draw(model, x, y, margin=-1.0)),
        (fs.OutputPathError, r"\.svg", lambda: draw(model, x, y, tmp_path / "regions")),
        (fs.NonFiniteDataError, "NaN", lambda: draw(model, np.full_like(x, np.nan), y)),
    ):
        with pytest.raises(error, match=match):
            call()
    assert list(tmp_path.iterdir()) == []
